"""Keeps times continuous where a file's clock jumps, as in concatenated
transport streams."""
import math
from fractions import Fraction
from typing import Iterator, List, Optional, Sequence, Tuple

import av

from .source import SourceInfo

# a gap of up to so many seconds is no jump of the clock
_GAP = 10


class Clock:
    """Mends the times of a file's packets. A packet of the video whose time
    does not follow the one before is moved after it; if the next one goes on
    from there, the clock has jumped. Other streams, which may have gaps,
    follow the video.

    Args:
        container (InputContainer): The file.
        known (Sequence[tuple]): Its jumps, needed for other streams.

    Attributes:
        jumps (list[tuple]): The video's jumps so far; see :class:`SourceInfo`.
        moved (tuple, optional): If the video's last packet did not follow the
            one before: its byte in the file, and the seconds added to it.
        has_gaps (bool): Whether the format is one whose clock may jump ahead.
    """

    def __init__(
        self,
        container: av.container.InputContainer,
        known: Sequence[Tuple[int, Fraction]] = ()
    ) -> None:
        flags = container.format.flags
        self.jumps: List[Tuple[int, Fraction]] = []
        self.moved: Optional[Tuple[int, Fraction]] = None
        # Matroska stores no decoding times; FFmpeg guesses them
        self._works = not container.format.name.startswith('matroska')
        self.has_gaps = bool(flags & av.format.Flags.ts_discont.value)
        self._known = known
        self._place = 0
        self._last: Optional[Fraction] = None  # the video's
        self._now = -math.inf  # the latest of all streams
        self._step = Fraction(0)

    def mend(self, packet: av.Packet) -> None:
        """Shift the time of the video's next packet, if it needs that."""
        time = _seconds(packet)
        if time is None or not self._works:
            return
        shift, moved = self.jumps[-1][1] if self.jumps else Fraction(0), None
        if not self._follows(time + shift):
            moved = packet.pos or 0, self._last + self._step - time
            if self.moved and self._follows(time + self.moved[1]):
                moved = self.moved
                self.jumps.append(moved)
            shift = moved[1]
        elif self._last is not None and time + shift > self._last:
            self._step = time + shift - self._last
        self.moved, self._last = moved, time + shift
        self._now = max(self._now, self._last)
        shift_times(packet, shift)

    def _follows(self, time: Fraction) -> bool:
        """Return whether the video can go on at a time."""
        return self._last is None or time >= self._last and not (
            self.has_gaps and time > self._last + _GAP)

    def follow(self, packet: av.Packet) -> None:
        """Shift the time of another stream's packet by the jumps before it in
        the file; or by one more or less, as streams may jump at different
        places, if this would lead far from the packets read so far. A time far
        ahead of these all the same is wrong, and taken away."""
        time = _seconds(packet)
        if time is None or self._last is None:
            return
        # several packets may be read from one place
        self._place = packet.pos or self._place
        count = sum(place <= self._place for place, _ in self._known)
        shifts = [Fraction(0), *(shift for _, shift in self._known)]
        near = [shifts[count], *shifts[max(count - 1, 0):count + 2]]
        shift = min(
            near,
            key=lambda shift: max(abs(time + shift - self._now), _GAP / 2))
        if self.has_gaps and time + shift > self._now + _GAP:
            packet.pts = packet.dts = None
        else:
            self._now = max(self._now, time + shift)
            shift_times(packet, shift)


def _seconds(packet: av.Packet) -> Optional[Fraction]:
    time = packet.pts if packet.dts is None else packet.dts
    return None if time is None else time * packet.time_base


def shift_times(packet: av.Packet, seconds: Fraction) -> None:
    """Add seconds to a packet's times."""
    ticks = round(seconds / packet.time_base)
    packet.pts = None if packet.pts is None else packet.pts + ticks
    packet.dts = None if packet.dts is None else packet.dts + ticks


def demux_others(source: av.container.InputContainer,
                 streams: Sequence[av.stream.Stream],
                 info: SourceInfo) -> Iterator[av.Packet]:
    """Yield the packets of streams beside the video of an open source, with
    times that follow the video's jumps, or none if they are wrong."""
    video, clock = source.streams[info.stream_index], Clock(source, info.jumps)
    if not info.jumps and not clock.has_gaps:  # its packets are not needed
        video.discard = av.stream.Discard.all
    for packet in source.demux([video, *streams]):
        if packet.stream_index == info.stream_index:
            clock.mend(packet)
        else:
            clock.follow(packet)
            yield packet
