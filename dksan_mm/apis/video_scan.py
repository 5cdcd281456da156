"""Counting the frames of a video file, and their times."""
from dataclasses import dataclass, field
from fractions import Fraction
from typing import List, Optional

import av

from .video_source import CURE, find_video_stream, open_video


@dataclass
class Scan:
    """What packets, or decoded frames, tell of a video.

    Attributes:
        times (list[int]): Of its frames, ascending.
        last_duration (int): Of the last one.
        timed (bool): Decoded frames carry these times.
        first (VideoFrame, optional): The first one.
    """
    times: List[int] = field(default_factory=list)
    last_duration: int = 0
    timed: bool = True
    first: Optional[av.VideoFrame] = None


def scan_packets(path: str) -> Scan:
    """Read a file's packets without decoding them.

    Raises:
        ValueError: The file has no video, is damaged or ends early.
    """
    scan, durations = Scan(), {}
    with open_video(path) as container:
        stream = find_video_stream(container)
        scan.timed = container.format.name != 'avi'
        packets, before, end = 0, None, Fraction(0)
        for packet in container.demux():
            time = packet.dts if packet.pts is None else packet.pts
            if time is not None:
                end = max(end,
                          (time + (packet.duration or 0)) * packet.time_base)
            # the last of a stream is empty
            if packet.stream_index != stream.index or not packet.size:
                continue
            if packet.is_corrupt:
                raise ValueError(f'{path} must be undamaged, found a broken '
                                 f'packet after frame {packets}; {CURE}')
            packets += 1
            _check_order(path, packet, before)
            before = before if packet.dts is None else packet.dts
            if not packet.is_discard:  # cut off by the file's edit list
                scan.timed &= packet.pts is not None
                scan.times.append(packet.pts)
                durations[packet.pts] = packet.duration or 0
        if not scan.times:
            raise ValueError(f'{path} must have frames, found none; {CURE}')
        scan.timed = scan.timed and _ascend(sorted(scan.times))
        if scan.timed:
            scan.times.sort()
            scan.last_duration = durations[scan.times[-1]]
        _check_whole(container, stream, packets, scan, end)
    return scan


def _ascend(times: List[Optional[int]]) -> bool:
    return None not in times and all(a < b for a, b in zip(times, times[1:]))


def _check_order(path: str, packet: av.Packet, before: Optional[int]) -> None:
    """Raise ValueError where a file's clock was set back."""
    if before is not None and packet.dts is not None and packet.dts < before:
        raise ValueError(
            f'the times of {path} must ascend, found '
            f'{float(packet.dts * packet.time_base):.3f} s after '
            f'{float(before * packet.time_base):.3f} s; split it there, or '
            'convert it to one with a single clock')


def _check_whole(container: av.container.InputContainer,
                 stream: av.video.stream.VideoStream, packets: int, scan: Scan,
                 end: Fraction) -> None:
    """Raise ValueError for a file that ends before its header says."""
    path, times = container.name, scan.times
    if packets < stream.frames:
        raise ValueError(
            f'{path} must hold the {stream.frames} frames that its header '
            f'tells of, found {packets}: it ends early; {CURE}')
    if len(times) < 2 or not scan.timed or not container.duration or (
            not container.format.name.startswith('matroska')):
        return
    # Matroska's header states a duration alone, in which the last frame may
    # be shown for longer than its packet says.
    stated = Fraction(container.duration, av.time_base)
    longest = max(b - a for a, b in zip(times, times[1:]))
    if stated - end > 3 * longest * stream.time_base:
        raise ValueError(
            f'{path} must hold the {float(stated):.2f} s that its header '
            f'tells of, found {float(end):.2f} s: it ends early; {CURE}')


def first_frame(path: str) -> Optional[av.VideoFrame]:
    """Return the first frame that a decoder gives, if any."""
    with open_video(path) as container:
        return next(container.decode(find_video_stream(container)), None)


def scan_frames(path: str) -> Scan:
    """Decode a file to count its frames.

    Raises:
        ValueError: None can be decoded, or their times do not ascend.
    """
    scan, decoding_times = Scan(), []
    with open_video(path) as container:
        stream = find_video_stream(container)
        packet_start = next((packet.dts for packet in container.demux(stream)),
                            None)
    with open_video(path) as container:
        stream = find_video_stream(container)
        scan.timed = container.format.name != 'avi'
        for frame in container.decode(stream):
            scan.first = scan.first or frame
            scan.times.append(frame.pts)
            decoding_times.append(frame.dts)
            scan.last_duration = frame.duration
        steps = 1 / (stream.time_base * (stream.average_rate or 25))
    if scan.first is None:
        raise ValueError(f'{path} must have frames that can be decoded, found '
                         f'none; {CURE}')
    if scan.timed and _ascend(scan.times):
        return scan
    scan.timed = False
    if _ascend(decoding_times):  # a decoder gives frames with a delay
        delay = decoding_times[0] - (packet_start or 0)
        scan.times = [time - delay for time in decoding_times]
    else:
        scan.times = [round(i * steps) for i in range(len(scan.times))]
    return scan
