"""Encoder options of a restored video."""
from dataclasses import dataclass
from typing import Dict, NamedTuple, Optional, Tuple

from av.codec import Codec
from av.codec.codec import UnknownCodecError
from av.video.format import VideoFormat

from . import check_av

check_av()


class _Coder(NamedTuple):
    """How our options translate to an encoder's own."""
    options: Dict[str, str]  # always set
    crf: Optional[Tuple[str, float, float]] = None  # name, default, maximum
    preset: Optional[Tuple[str, str]] = None
    lossless: Optional[Dict[str, str]] = None  # options for bit-exact RGB ...
    rgb8: str = 'gbrp'  # ... and its pixel formats
    rgb10: Optional[str] = 'gbrp10le'


# Groups of pictures are closed, and the bits depend neither on the number of
# CPUs nor on their kind. (On CPUs with AVX-512, x264's macroblock tree reads
# uninitialised memory, so that now and then a file differs, unless
# cpu-independent is set. x265 would write the kind of CPU into each file.)
SAME_BITS = {'x264-params': 'cpu-independent=1'}
_X265 = 'open-gop=0:info=0:log-level=error'
_CODERS = {
    'libx264':
    _Coder(SAME_BITS, ('crf', 17, 51), ('preset', 'medium'), dict(qp='0'),
           'rgb24', None),
    'libx264rgb':
    _Coder(SAME_BITS),
    'libx265':
    _Coder({'x265-params': _X265}, ('crf', 19, 51), ('preset', 'medium'),
           {'x265-params': f'{_X265}:lossless=1'}),
    'libsvtav1':
    _Coder({'svtav1-params': 'lp=2'}, ('crf', 23, 63), ('preset', '8')),
    'libvpx-vp9':
    _Coder(
        dict(b='0', deadline='good'), ('crf', 20, 63), ('cpu-used', '4'),
        dict(lossless='1'), 'gbrp', None),
    'ffv1':
    _Coder(
        dict(level='3', g='1', slices='4', slicecrc='1'),
        lossless={},
        rgb8='bgr0'),
}
SOUND_CODINGS = ('copy', 'aac', 'flac', 'none')
STREAM_KINDS = ('audio', 'subtitle', 'video', 'attachment', 'data')


@dataclass(frozen=True)
class EncoderOptions:
    """Codec and quality of a restored video.

    Args:
        codec (str): One of PyAV's encoders. ``'libx264'``, ``'libx265'``,
            ``'libsvtav1'``, ``'libvpx-vp9'`` and ``'ffv1'`` have all options
            below, others only ``extra``. The name of a coding, such as
            ``'h264'``, stands for PyAV's encoder for it.
        crf (float, optional): Constant quality, lower is better: from 0 to 51,
            51, 63 and 63 for the first four codecs. Default: 17, 19, 23 and
            20.
        preset (str, optional): Speed, from fast to slow: libx264 and libx265
            take ``'ultrafast'`` to ``'veryslow'``, default ``'medium'``;
            libsvtav1 takes 13 to 0, default 8; libvpx-vp9 takes 8 to 0,
            default 4.
        pix_fmt (str, optional): Pixel format. Default: yuv420p, or yuv420p10le
            for a source of more than 8 bits; the nearest one if the encoder
            lacks that. With ``lossless`` it is RGB, which few players show;
            libx264 then becomes libx264rgb.
        lossless (bool): Keep all bits of the pixels: the restored frames' own
            in the default formats, converted ones in others. For 10 bits,
            libx265 and ffv1 only.
        threads (int): Threads of the encoder. The bits may depend on this
            number, so it is fixed rather than taken from the machine.
        extra (tuple[tuple[str, str]]): Further options of the encoder, by
            their FFmpeg names; ``('qp', ...)`` and ``('b', ...)`` replace
            ``crf``.
        leave_out (tuple[str]): Kinds of streams not to copy from the source:
            ``'audio'``, ``'subtitle'``, ``'video'`` (further ones and cover
            pictures), ``'attachment'``, ``'data'``.
        audio (str, optional): What to do with sound: ``'copy'``, ``'aac'``,
            ``'flac'`` or ``'none'``. Default: copy it if the container can
            hold it, else encode it: in Matroska as FLAC if it is lossless, in
            WebM as Opus, otherwise as AAC.

    Raises:
        ValueError: An option has a value that is not allowed.
    """
    codec: str = 'libx264'
    crf: Optional[float] = None
    preset: Optional[str] = None
    pix_fmt: Optional[str] = None
    lossless: bool = False
    threads: int = 4
    extra: Tuple[Tuple[str, str], ...] = ()
    leave_out: Tuple[str, ...] = ()
    audio: Optional[str] = None

    def __post_init__(self) -> None:
        try:
            encoder = Codec(self.codec, 'w')
        except UnknownCodecError:
            encoder = None
        if encoder is None or encoder.type != 'video':
            raise ValueError(
                f'codec must be a video encoder of this PyAV, got '
                f'{self.codec!r}; known are {", ".join(_CODERS)} and others')
        object.__setattr__(self, 'codec', encoder.name)
        if isinstance(self.leave_out, str):
            raise ValueError('leave_out must be a tuple, such as (\'audio\', )'
                             f', got {self.leave_out!r}')
        for kind in self.leave_out:
            if kind not in STREAM_KINDS:
                raise ValueError(f'leave_out must hold some of {STREAM_KINDS}'
                                 f', got {kind!r}')
        if self.audio not in (None, *SOUND_CODINGS):
            raise ValueError(f'audio must be one of {SOUND_CODINGS}, got '
                             f'{self.audio!r}')
        if self.threads < 1:
            raise ValueError(f'threads must be at least 1, got {self.threads}')
        if self.lossless and self.crf is not None:
            raise ValueError('crf must not be given with lossless, got '
                             f'{self.crf}; leave one out')
        self._check_supported()

    def _check_supported(self) -> None:
        coder = _CODERS.get(self.codec, _Coder({}))
        if coder.crf and self.crf is not None and not (0 <= self.crf <=
                                                       coder.crf[2]):
            raise ValueError(f'crf of {self.codec} must be from 0 to '
                             f'{coder.crf[2]}, got {self.crf}')
        for name in ('crf', 'preset', 'lossless'):
            if getattr(self, name) not in (None, False) and (getattr(
                    coder, name) is None):
                able = [
                    key for key, value in _CODERS.items()
                    if getattr(value, name) is not None
                ]
                raise ValueError(
                    f'{name} must be used with one of {", ".join(able)}, got '
                    f'it with codec {self.codec!r}; use extra (--extra), or '
                    'another codec')

    def pixel_format(self, bit_depth: int) -> str:
        """Return the pixel format for frames of 8 or 10 bits.

        Raises:
            ValueError: The codec has no lossless format, or ``pix_fmt`` is
                unknown.
        """
        if self.pix_fmt is not None:
            try:
                return VideoFormat(self.pix_fmt).name
            except ValueError as error:
                raise ValueError(
                    f'pix_fmt must be one of FFmpeg\'s, got {self.pix_fmt!r};'
                    ' the usual one is yuv420p') from error
        if not self.lossless:
            return self._usual_format('p' if bit_depth == 8 else 'p10le')
        coder = _CODERS[self.codec]
        pix_fmt = coder.rgb8 if bit_depth == 8 else coder.rgb10
        if pix_fmt is None:
            raise ValueError(
                f'lossless with {bit_depth} bits must use codec libx265 or '
                f'ffv1, got {self.codec}; choose one of these')
        return pix_fmt

    def _usual_format(self, depth: str) -> str:
        known = {
            pix_fmt.name
            for pix_fmt in Codec(self.codec, 'w').video_formats or ()
        }
        usual = [f'yuv{chroma}{depth}' for chroma in ('420', '422', '444')]
        if depth == 'p':  # an encoder for 10 bits alone, such as prores_ks
            usual += [f'{pix_fmt}10le' for pix_fmt in usual]
        return next((pix_fmt for pix_fmt in usual if pix_fmt in known),
                    usual[0])

    def encoder(self, bit_depth: int) -> Tuple[str, Dict[str, str]]:
        """Return the encoder's name and its options, both as FFmpeg calls
        them."""
        coder = _CODERS.get(self.codec, _Coder({}))
        options, extra = dict(coder.options), dict(self.extra)
        if coder.crf and not (self.lossless or {'qp', 'b'} & {*extra}):
            key, default, _ = coder.crf
            options[key] = str(default if self.crf is None else self.crf)
        if coder.preset:
            key, preset = coder.preset
            options[key] = self.preset or preset
        if self.lossless:
            options.update(coder.lossless)
        for key, value in extra.items():
            joins = key.endswith('-params') and key in options
            options[key] = f'{options[key]}:{value}' if joins else value
        is_rgb = VideoFormat(self.pixel_format(bit_depth)).is_rgb
        if self.codec == 'libx264' and is_rgb:
            return 'libx264rgb', options
        return self.codec, options
