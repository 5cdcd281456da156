"""Runs a network on windows of frames, whole or tiled, at any precision.
"""
from contextlib import ExitStack, contextmanager
from typing import Any, Callable, Dict, Iterator, List, Optional

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from dksan_mm.models.strips import strip_bytes
from dksan_mm.utils.precision import DTYPES, has_short_copy, short_copy
from . import scene_cuts, tiles
from .cuda_graphs import CudaGraphs, each
from .windows import Frame

# most strips of features that exist at once
STRIPS = 6
# rows of a result that are converted to integers at a time
_ROWS = 128
# types that frames are uploaded as; PyTorch hardly supports uint16, whose
# values here are at most 1023
_KINDS = dict(uint8=torch.uint8, uint16=torch.int16, float32=torch.float32)
# sizes of frames that memory is measured with; the second pair is for networks
# that enlarge small frames
_PROBES = (((16, 16), (32, 32)), ((64, 64), (64, 96)))


class WindowNetwork:
    """Restores the middle frames of windows.

    Args:
        generator (nn.Module): The network, from :func:`find_generator`; it is
            moved to ``device`` and set to evaluation mode. If it has
            ``extract_features`` and ``restore_features``, the features of
            frames are kept.
        device (torch.device): Where to run.
        dtype (str): A key of ``DTYPES``. Unless it is 'fp32', a copy of the
            network with convolutions in that dtype is run
            (:func:`dksan_mm.utils.precision.short_copy`), or else autocast is
            used.
        compile (bool): Whether to use ``torch.compile``.
        cuda_graph (bool): Whether to use CUDA graphs (:class:`CudaGraphs`).
        strip (int): Bytes that a strip of large features may have
            (:func:`dksan_mm.models.strips.strip_bytes`).
        time_algorithms (bool): Whether cuDNN first times its algorithms and
            then uses the fastest, unless PyTorch is set to be deterministic;
            the trials take memory.

    Attributes:
        scale (int): The result's size divided by the source's.
        num_frames (int): Frames of a window.
        multiple (int): Divides the positions of tiles.

    Raises:
        ValueError: CUDA graphs are requested without a GPU.
    """

    def __init__(self, generator: nn.Module, device: torch.device, dtype: str,
                 compile: bool, cuda_graph: bool, strip: int,
                 time_algorithms: bool) -> None:
        inner = unwrap(generator)
        self.scale: int = inner.scale
        self.num_frames: int = getattr(inner, 'num_frames', 1)
        self.multiple: int = getattr(inner, 'feature_stride', 1)
        self._generator = generator.to(device).eval()
        self._autocast = DTYPES[dtype]
        if self._autocast is not None and has_short_copy(generator):
            self._generator = short_copy(generator, self._autocast)
            self._autocast = None
        self._keeps_features = hasattr(generator, 'extract_features')
        self._probes = _PROBES[not hasattr(inner, 'extract_features')]
        self._device = device
        self._compiled: Optional[Dict[str, Callable]] = {} if compile else None
        self._graphs = CudaGraphs(device) if cuda_graph else None
        self._strip = strip
        self._time_algorithms = time_algorithms

    def prepare(self, array: np.ndarray, number: int) -> Frame:
        """Return a frame as the network needs it, with its features.

        Args:
            array (np.ndarray): RGB, (H, W, 3), of a dtype and range of
                :func:`.scene_cuts.full_scale`.
            number (int): Number of the frame.
        """
        frame = Frame(number, to_image(array, self._device), array.dtype)
        if self._keeps_features:
            with self._settings():
                frame.features = self._call('extract_features', frame.image)
        return frame

    def restore(self,
                windows: List[List[Frame]],
                tile: Optional[int] = None,
                overlap: int = 0) -> List[np.ndarray]:
        """Return the restored middle frames of windows.

        Args:
            windows (list[list[Frame]]): N windows of ``num_frames`` frames.
            tile (int, optional): Side of tiles. Default: None, whole frames.
            overlap (int): Pixels that neighbouring tiles share. Default: 0.

        Returns:
            list[np.ndarray]: (scale * H, scale * W, 3) each, in the source's
            dtype and range, integers rounded.

        Raises:
            ValueError: A result is not finite.
        """
        middle = self.num_frames // 2
        with self._settings():
            out = self._run(windows, tile, overlap)
            return [
                to_array(image, window[middle])
                for image, window in zip(out, windows)
            ]

    def frame_bytes(self, height: int, width: int) -> int:
        """Return the bytes that a frame and its kept features take.

        Args:
            height (int): Height of a source frame.
            width (int): Width of a source frame.
        """
        side = self._probes[0][0]
        with self._without_graphs():
            frame = self.prepare(np.zeros((side, side, 3), np.uint8), 0)
        maps = [frame.image]
        if self._keeps_features:
            each(frame.features, maps.append)
        held = sum(x.numel() * x.element_size() for x in maps)
        return -(-held * height * width // side**2)

    def measure_memory(self, batch: int) -> tiles.MemoryModel:
        """Return a model of the memory that whole frames take, from
        measurements on small frames in the smallest strips.

        Args:
            batch (int): Windows restored at once.
        """

        count = self.num_frames

        def run(*size: int) -> Tensor:
            grey = np.full((*size, 3), 128, np.uint8)
            with self._without_graphs(), self._settings(1):
                frames = [self.prepare(grey, 0) for _ in range(count)]
                return self._run([frames] * batch, None, 0)

        # the memory of larger strips is known, and added
        return tiles.MemoryModel(run, self._device, self._probes,
                                 STRIPS * self._strip)

    def forget_graphs(self) -> None:
        """Free the memory of all CUDA graphs."""
        if self._graphs is not None:
            self._graphs.clear()

    def _run(self, windows: List[List[Frame]], tile: Optional[int],
             overlap: int) -> Tensor:
        """Return the restored middle frames, (N, 3, scale * H, scale * W)."""
        images = [
            torch.cat([frame.image for frame in frames])
            for frames in zip(*windows)
        ]
        size = tuple(images[0].shape[2:])
        features = None
        if self._keeps_features:
            features = [
                _join([frame.features for frame in frames])
                for frames in zip(*windows)
            ]
        if tile is None or tile >= max(size):
            return self._run_part(images, features)
        grid = tiles.plan(size, tile, overlap, self.scale, self.multiple)

        def run(part: tiles.Tile) -> Tensor:
            cut = [tiles.crop(image, part, size) for image in images]
            if features is None:
                return self._run_part(cut, None)
            return self._run_part(cut, [
                each(maps, lambda x: tiles.crop(x, part, size, self.multiple))
                for maps in features
            ])

        return tiles.assemble(grid, size, self.scale, run)

    def _run_part(self, images: List[Tensor],
                  features: Optional[List[Any]]) -> Tensor:
        """Run the network on T images, (N, 3, H, W), and their features."""
        if features is None:
            return self._call('forward', torch.stack(images, 1))
        return self._call('restore_features', features,
                          images[self.num_frames // 2])

    def _call(self, name: str, *args: Any) -> Any:
        """Call a method of the network, compiled or as a CUDA graph if
        requested."""
        if name == 'forward':
            method = self._generator
        else:
            method = getattr(self._generator, name)
        if self._graphs is not None:
            return self._graphs.call(name, method, *args)
        if self._compiled is None:
            return method(*args)
        if name not in self._compiled:
            self._compiled[name] = torch.compile(method)
        return self._compiled[name](*args)

    @contextmanager
    def _settings(self, strip: Optional[int] = None) -> Iterator[None]:
        """Apply the settings that the network runs with."""
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            stack.enter_context(strip_bytes(strip or self._strip))
            if self._time_algorithms and strip is None:
                stack.enter_context(_timed_algorithms(self._device))
            if self._autocast is not None:
                stack.enter_context(
                    torch.autocast(
                        self._device.type,
                        dtype=self._autocast,
                        cache_enabled=self._graphs is None))
            yield

    @contextmanager
    def _without_graphs(self) -> Iterator[None]:
        """Capture nothing: for measurements."""
        graphs, self._graphs = self._graphs, None
        try:
            yield
        finally:
            self._graphs = graphs


def is_deterministic() -> bool:
    """Whether PyTorch is set to give the same bits in every run."""
    return (torch.backends.cudnn.deterministic
            or torch.are_deterministic_algorithms_enabled())


@contextmanager
def _timed_algorithms(device: torch.device) -> Iterator[None]:
    """Let cuDNN choose its algorithms by timing them."""
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark
    if device.type == 'cuda' and not is_deterministic():
        cudnn.benchmark = True
    try:
        yield
    finally:
        cudnn.benchmark = before


def _join(features: List[Any]) -> Any:
    """Return the features of N frames as one batch."""
    if isinstance(features[0], Tensor):
        return torch.cat(features)
    return [torch.cat(maps) for maps in zip(*features)]


def to_image(array: np.ndarray, device: torch.device) -> Tensor:
    """Convert an (H, W, 3) array, of any dtype that
    :func:`.scene_cuts.full_scale` accepts, to a float32 tensor, (1, 3, H, W)
    in [0, 1]."""
    if device.type == 'cuda':
        image = _upload(array, device).float()
    else:
        image = torch.from_numpy(array.astype(np.float32)).to(device)
    image = image.div_(scene_cuts.full_scale(array)).permute(2, 0, 1)
    return image[None].contiguous()


def _upload(array: np.ndarray, device: torch.device) -> Tensor:
    """Copy an array to a GPU from pinned memory, which PyTorch keeps until the
    copy is done; the host does not wait."""
    host = torch.empty(
        array.shape, dtype=_KINDS[array.dtype.name], pin_memory=True)
    np.copyto(host.numpy(), array, casting='unsafe')
    return host.to(device, non_blocking=True)


def to_array(image: Tensor, source: Frame) -> np.ndarray:
    """Convert a tensor, (3, H, W) in [0, 1], to an (H, W, 3) array of its
    source's dtype.

    Raises:
        ValueError: A value is not finite.
    """
    white = scene_cuts.full_scale(np.empty(0, source.dtype))
    # PyTorch hardly supports uint16
    kind = torch.uint8 if white == 255 else torch.int16
    _, height, width = image.shape
    out = np.empty((height, width, 3), source.dtype)
    # a few rows at a time stay in the cache
    rows = _ROWS if image.device.type == 'cpu' else height
    for top in range(0, height, rows):
        part = image[:, top:top + rows].float()
        if not part.sum().isfinite():
            raise ValueError(
                'the result must be finite, found NaN or infinity in frame '
                f'{source.number}: weights are damaged, or too large for '
                'float16; with --dtype fp16 use fp32 or bf16 instead')
        levels = part.clamp(0, 1)
        if white > 1:
            levels = levels.mul_(white).round_().to(kind)
        cv2.merge([*levels.cpu().numpy().view(source.dtype)],
                  out[top:top + rows])
    return out


def unwrap(generator: nn.Module) -> nn.Module:
    """Return the network itself, without self-ensemble around it."""
    return getattr(generator, 'generator', generator)


def find_generator(model: nn.Module) -> nn.Module:
    """Return the network of a restorer.

    Raises:
        ValueError: The model has no generator with a scale.
    """
    generator = getattr(model, 'generator', None)
    if not hasattr(unwrap(generator), 'scale'):
        raise ValueError(
            'model must have a generator with the attribute scale, as the '
            f'restorers of dksan_mm have, got {type(model).__name__} with '
            f'{type(generator).__name__}')
    return generator
