"""How a video is restored: all options, with their types and defaults, for
the command line, the inferencer, and the state of a run on disk."""
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import Any, Optional, Tuple, Type, TypeVar, Union

from dksan_mm.utils.precision import DTYPES
from dksan_mm.video.options import EncoderOptions
from .scene_cuts import DEFAULT_THRESHOLD

# of a tile, pixels
_LEAST_TILE = 8

T = TypeVar('T')


@dataclass(frozen=True)
class NetworkOptions:
    """How the network is run; see :class:`WindowRestorer`.

    Args:
        dtype (str): 'fp32', 'bf16' or 'fp16', of features and convolutions
            (:func:`dksan_mm.utils.precision.short_copy`; of BasicVSR++, by
            autocast). Images stay in float32. Default: 'fp32'.
        compile (bool): Whether to run by ``torch.compile``. Default: False.
        batch (int): Windows at once. Default: 1.
        tile (int, optional): Longest side of tiles, in pixels of the source;
            they are as small as their number and overlap allow.
            Default: None, whole frames unless ``max_memory`` wants tiles.
        tile_overlap (int, optional): What neighbouring tiles share at least,
            at most half a tile; with ``tile`` or ``max_memory``. Default:
            None, 16 or, if less, half of ``tile``.
        max_memory (int, optional): Bytes that the network may take beyond
            its weights; frames are restored whole if they fit, else in the
            largest tiles that do. Not with ``tile``. Default: None, no limit.
        scene_threshold (float, optional): Windows do not reach over a cut,
            where :func:`.scene_cuts.difference` of two frames is larger than
            this. Default: 0.5. None: no cuts are looked for.
        ensemble (bool): Whether to average over eight flipped and transposed
            views (:class:`SelfEnsemble`), which takes eight times as long;
            features are not kept. Default: False.
        device (torch.device or str, optional): Default: None, where the
            model's weights are.

    Raises:
        ValueError: An option breaks the rules above.
    """
    dtype: str = 'fp32'
    compile: bool = False
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
        dtype (str): 'fp32', 'bf16' or 'fp16', of features and convolutions.
            Default: 'auto': what a resumed run was begun with; else 'bf16'
            where a self-test of some tenths of a second finds it 1.3 times
            as fast as 'fp32', and right; else 'fp32'. A line says which.
        codec (str, optional): Default: libx264, libvpx-vp9 for .webm.
        segment (int): Frames of a segment, at least 1. More make a slightly
            smaller file, fewer lose less. Default: 48.
        resume (bool): Whether to go on with what a stopped run left, which
            must have had the same settings. A finished output stays,
            with whatever settings it was made.
        overwrite (bool): Whether to replace an output, and to throw away
            what a stopped run left.
        compare (str, optional): ``'split'`` or ``'side'``: also write a video
            that shows bicubic interpolation at left and the result at right,
            to ``<output>_compare<suffix>``; for a folder,
            ``<output>_compare.mkv``.
        fps (Fraction, float or str, optional): Frames per second of a folder
            of frames, such as ``'24000/1001'``. Default: 25. A video has its
            own.
        start (Fraction or float): Restore a part, from so many seconds on.
            Windows do not reach over its ends. Of sound and subtitles what
            begins in it is copied, of several videos the first.
            Default: 0.
        duration (Fraction or float, optional): Seconds of the part. Default:
            to the end.
        height (int, optional): Reduce the result to this height, in pixels,
            by an antialiased bicubic filter. Default: as restored.
        width (int, optional): The same. With one of the two the shape is
            kept.
        progress (bool): Whether to show frames per second and time left.
        strict (bool): Whether to refuse a video that is damaged, or whose
            frames change their size, instead of restoring what its decoder
            makes of it.
        video_stream (int, optional): Number of the video among the file's
            streams, from 0. Default: as players choose.
        **others: The fields of :class:`NetworkOptions` and
            :class:`EncoderOptions`.

    Raises:
        ValueError: ``segment`` is below 1. The others are checked by
            :meth:`network` and :meth:`encoding`.
    """
    dtype: str = 'auto'
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
        """Return these options with others for some of them.

        Raises:
            TypeError: There is none of that name.
        """
        known = sorted(field.name for field in fields(self))
        for name in settings:
            if name not in known:
                raise TypeError('options of restore_video must be of '
                                f'{known}, got {name!r}')
        return replace(self, **settings)

    def network(self) -> NetworkOptions:
        """Return how the network is run; ``dtype`` must be chosen."""
        return self._part(NetworkOptions)

    def encoding(self, output: str) -> EncoderOptions:
        """Return how an output of this name is encoded."""
        codec = self.codec
        if codec is None:  # WebM holds no H.264
            is_webm = output.lower().endswith('.webm')
            codec = 'libvpx-vp9' if is_webm else EncoderOptions.codec
        return self._part(EncoderOptions, codec=codec)

    def part(self) -> Tuple[Any, Any]:
        """Return where the part to restore begins, and how long it is."""
        return self.start, self.duration

    def size(self) -> Tuple[Optional[int], Optional[int]]:
        """Return the height and width to reduce to, as far as given."""
        return self.height, self.width

    def _part(self, kind: Type[T], **settings: Any) -> T:
        own = {field.name: getattr(self, field.name) for field in fields(kind)}
        return kind(**{**own, **settings})
