"""Options of a restoration, with their types and defaults, for the command
line, the inferencer and the state of a run on disk."""
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import Any, Optional, Tuple, Type, TypeVar, Union

from dksan_mm.utils.precision import DTYPES
from dksan_mm.video.options import EncoderOptions
from .scene_cuts import DEFAULT_THRESHOLD

# smallest side of a tile, in pixels
_LEAST_TILE = 8

T = TypeVar('T')


@dataclass(frozen=True)
class NetworkOptions:
    """How the network is run; see :class:`WindowRestorer`.

    Args:
        dtype (str): 'fp32', 'bf16' or 'fp16', the type of features and
            convolutions (:func:`dksan_mm.utils.precision.short_copy`;
            BasicVSR++ uses autocast). Images stay in float32. Default: 'fp32'.
        compile (bool): Whether to use ``torch.compile``. Default: False.
        cuda_graph (bool): Whether to replay CUDA graphs, one for each size of
            frames, tiles and batches (:class:`.cuda_graphs.CudaGraphs`). Only
            on a GPU, and not with ``compile``, nor with ``max_memory``, as
            graphs keep their memory. Default: False.
        batch (int): Windows restored at once. Default: 1.
        tile (int, optional): Longest side of a tile, in pixels of the source;
            tiles are made as small as their number and overlap allow. Default:
            None, whole frames unless ``max_memory`` requires tiles.
        tile_overlap (int, optional): Pixels that neighbouring tiles share at
            least, at most half a tile; only with ``tile`` or ``max_memory``.
            Default: None, which is 16 or half of ``tile``, whichever is less.
        max_memory (int, optional): Bytes that the network may take beyond
            its weights; frames are restored whole if they fit, else in the
            largest tiles that do. Not with ``tile``. Default: None, no limit.
        scene_threshold (float, optional): A larger
            :func:`.scene_cuts.difference` between two frames is a scene cut,
            which windows do not cross. None disables the search for cuts.
            Default: 0.5.
        ensemble (bool): Whether to average over eight flipped and transposed
            views (:class:`SelfEnsemble`), which takes eight times as long;
            features are not reused then. Default: False.
        device (torch.device or str, optional): Device to run on. Default:
            None, the device of the model's weights.

    Raises:
        ValueError: An option breaks the rules above.
    """
    dtype: str = 'fp32'
    compile: bool = False
    cuda_graph: bool = False
    batch: int = 1
    tile: Optional[int] = None
    tile_overlap: Optional[int] = None
    max_memory: Optional[int] = None
    scene_threshold: Optional[float] = DEFAULT_THRESHOLD
    ensemble: bool = False
    device: Any = None

    def __post_init__(self) -> None:
        tile, limit = self.tile, self.max_memory
        if self.dtype not in DTYPES:
            raise ValueError(f'dtype must be one of {tuple(DTYPES)}, got '
                             f'{self.dtype!r}')
        for name in ('batch', 'tile', 'max_memory'):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f'{name} must be at least 1, got {value}')
        if tile is not None and tile < _LEAST_TILE:
            raise ValueError(
                f'tile (--tile) must be at least {_LEAST_TILE} pixels, else '
                f'the network is called for a few pixels each, got {tile}')
        if self.tile_overlap is not None and tile is None and limit is None:
            raise ValueError(
                'tile_overlap must go with tile or max_memory, got '
                f'{self.tile_overlap} alone')
        if tile is not None and limit is not None:
            raise ValueError('tile (--tile) must not be given with max_memory '
                             f'(--max-memory), got {tile} and {limit}; leave '
                             'one out')
        for name in ('compile', 'max_memory'):
            if self.cuda_graph and getattr(self, name):
                raise ValueError(
                    f'cuda_graph (--cuda-graph) must not be given with {name} '
                    f'(--{name.replace("_", "-")}); leave one out')
        overlap = self.tile_overlap or 0
        if overlap < 0 or tile is not None and 2 * overlap > tile:
            raise ValueError('tile_overlap must be from 0 to half of the '
                             f'tile, {tile or "as chosen"}, got {overlap}')
        threshold = self.scene_threshold
        if threshold is not None and not threshold >= 0:
            raise ValueError('scene_threshold must be at least 0, or None for '
                             f'no cuts, got {threshold}')


@dataclass(frozen=True)
class RestoreOptions(EncoderOptions, NetworkOptions):
    """All options of :func:`dksan_mm.apis.restore_video`.

    Args:
        dtype (str): 'fp32', 'bf16' or 'fp16', the type of features and
            convolutions. Default: 'auto': a resumed run keeps its type; a new
            one takes 'bf16' if a self-test of some tenths of a second finds it
            accurate and 1.3 times as fast as 'fp32', else 'fp32'. The log
            names the choice.
        batch (int, optional): Windows restored at once. Default: None: a
            resumed run keeps its batch; a new one takes 1 or, on a GPU, what
            :meth:`WindowRestorer.choose_batch` finds. The log names the
            choice.
        codec (str, optional): Default: libx264, but libvpx-vp9 for .webm.
        segment (int): Frames of a segment, at least 1. More frames make a
            slightly smaller file; with fewer, an interrupted run loses less.
            Default: 48.
        resume (bool): Whether to continue a stopped run, which must have had
            the same settings. A finished output is kept, whatever its settings
            were.
        overwrite (bool): Whether to replace an output, and to discard what a
            stopped run left.
        compare (str, optional): ``'split'`` or ``'side'``: also write a video
            that shows bicubic interpolation at left and the result at right,
            to ``<output>_compare<suffix>``; for a folder,
            ``<output>_compare.mkv``.
        fps (Fraction, float or str, optional): Frames per second of a folder
            of frames, such as ``'24000/1001'``. Default: 25. Not for a video,
            which has its own.
        start (Fraction or float): Restore only a part, beginning at this time
            in seconds. Windows do not cross its ends. Sound and subtitles that
            begin in it are copied; further videos are not. Default: 0.
        duration (Fraction or float, optional): Length of the part in seconds.
            Default: to the end.
        height (int, optional): Reduce the result to this height, in pixels,
            by an antialiased bicubic filter. Default: as restored.
        width (int, optional): Likewise for the width. If only one of the two
            is given, the aspect ratio is kept.
        progress (bool): Whether to show frames per second and time left.
        strict (bool): Whether to refuse a video that is damaged or whose
            frames change size. Otherwise the frames are restored as the
            decoder gives them.
        video_stream (int, optional): Number of the video among the file's
            streams, from 0. Default: the one that players choose.
        **others: The fields of :class:`NetworkOptions` and
            :class:`EncoderOptions`.

    Raises:
        ValueError: ``segment`` is below 1. The others are checked by
            :meth:`network` and :meth:`encoding`.
    """
    dtype: str = 'auto'
    batch: Optional[int] = None
    codec: Optional[str] = None
    segment: int = 48
    resume: bool = False
    overwrite: bool = False
    compare: Optional[str] = None
    fps: Union[Fraction, float, str, None] = None
    start: Union[Fraction, float] = 0
    duration: Union[Fraction, float, None] = None
    height: Optional[int] = None
    width: Optional[int] = None
    progress: bool = True
    strict: bool = False
    video_stream: Optional[int] = None

    def __post_init__(self) -> None:
        if self.segment < 1:
            raise ValueError(
                f'segment (--segment) must be at least 1, got {self.segment}')

    def updated(self, **settings: Any) -> 'RestoreOptions':
        """Return a copy of these options with some replaced.

        Raises:
            TypeError: There is no option of that name.
        """
        known = sorted(field.name for field in fields(self))
        for name in settings:
            if name not in known:
                raise TypeError('options of restore_video must be of '
                                f'{known}, got {name!r}')
        return replace(self, **settings)

    def network(self) -> NetworkOptions:
        """Return the options of the network, with batches of 1 unless
        ``batch`` is given; ``dtype`` must not be ``'auto'``."""
        batch = 1 if self.batch is None else self.batch
        return self._part(NetworkOptions, batch=batch)

    def encoding(self, output: str) -> EncoderOptions:
        """Return the encoder options for an output of this name."""
        codec = self.codec
        if codec is None:  # WebM holds no H.264
            is_webm = output.lower().endswith('.webm')
            codec = 'libvpx-vp9' if is_webm else EncoderOptions.codec
        return self._part(EncoderOptions, codec=codec)

    def part(self) -> Tuple[Any, Any]:
        """Return the start and the duration of the part to restore."""
        return self.start, self.duration

    def size(self) -> Tuple[Optional[int], Optional[int]]:
        """Return the height and width to reduce to, None where not given."""
        return self.height, self.width

    def _part(self, kind: Type[T], **settings: Any) -> T:
        own = {field.name: getattr(self, field.name) for field in fields(kind)}
        return kind(**{**own, **settings})
