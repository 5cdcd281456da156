"""Finds the number of frames in a video file, and their times."""
import logging
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Iterable, Iterator, List, Optional, Tuple

import av

from dksan_mm.utils.log import print_log
from .clock import Clock
from .source import CURE, encrypted, open_video, set_decoder


@dataclass
class Scan:
    """What a video's packets, or its decoded frames, tell about it.

    Attributes:
        times (list[int]): Times of its frames, ascending.
        last_duration (int): Duration of the last frame.
        timed (bool): Whether decoded frames carry these times.
        first (VideoFrame, optional): The first frame.
        codec (str): Name of its decoder; set only when packets were read.
        damaged (int): Packets that are damaged, and places where the clock
            jumps.
        jumps (list[tuple]): See :class:`SourceInfo`.
    """
    times: List[int] = field(default_factory=list)
    last_duration: int = 0
    timed: bool = True
    first: Optional[av.VideoFrame] = None
    codec: str = ''
    damaged: int = 0
    jumps: List[Tuple[int, Fraction]] = field(default_factory=list)


def scan_packets(path: str, index: int, strict: bool) -> Scan:
    """Read a file's packets without decoding them.

    Raises:
        ValueError: The file has no frame or ends early, or it is damaged and
            ``strict`` is set.
    """
    scan, durations = Scan(), {}
    with open_video(path) as container:
        stream, clock = container.streams[index], Clock(container)
        scan.timed = container.format.name != 'avi'
        scan.codec = stream.codec_context.name
        packets, before, end = 0, None, Fraction(0)
        for packet in container.demux():
            time = packet.dts if packet.pts is None else packet.pts
            if time is not None:
                end = max(end,
                          (time + (packet.duration or 0)) * packet.time_base)
            # the last packet of a stream is empty
            if packet.stream_index != stream.index or not packet.size:
                continue
            clock.mend(packet)
            scan.damaged += packet.is_corrupt
            if strict and (packet.is_corrupt or clock.moved):
                found = ('a broken packet'
                         if packet.is_corrupt else 'a jump of its clock')
                raise ValueError(
                    f'{path} must be undamaged (strict, --strict), found '
                    f'{found} after frame {packets}; {CURE}')
            if packet.has_sidedata('encryption_info'):
                raise encrypted(path, stream)
            packets += 1
            if not packet.is_discard:  # cut off by the file's edit list
                before = before if packet.dts is None else packet.dts
                scan.timed &= packet.pts is not None
                scan.times.append(packet.pts)
                durations[packet.pts] = packet.duration or 0
        if not scan.times:
            raise ValueError(f'{path} must have frames, found none; {CURE}')
        scan.timed = scan.timed and _ascend(sorted(scan.times))
        if scan.timed:
            scan.times.sort()
            scan.last_duration = durations[scan.times[-1]]
        if container.format.name == 'avi' and before is not None:
            packets = max(packets, before + 1)  # frames may be left out
        scan.jumps = clock.jumps
        _check_whole(container, stream, packets, scan, end)
    return scan


def _ascend(times: List[Optional[int]]) -> bool:
    return None not in times and all(a < b for a, b in zip(times, times[1:]))


def _check_whole(container: av.container.InputContainer,
                 stream: av.video.stream.VideoStream, packets: int, scan: Scan,
                 end: Fraction) -> None:
    """Raise ValueError for a file that ends before its header says."""
    path, times = container.name, scan.times
    if packets < stream.frames and container.format.name.startswith('mov'):
        # packets that its edit list cuts off were not read
        packets = _count_packets(path, stream.index, ignore_editlist='1')
    if packets < stream.frames:
        raise ValueError(
            f'{path} must hold the {stream.frames} frames that its header '
            f'states, found {packets}: it ends early; {CURE}')
    if len(times) < 2 or not scan.timed or not container.duration or (
            not container.format.name.startswith('matroska')):
        return
    # Matroska's header states only a duration, and there the last frame may
    # last longer than its packet says.
    stated = Fraction(container.duration, av.time_base)
    longest = max(b - a for a, b in zip(times, times[1:]))
    if stated - end > 3 * longest * stream.time_base:
        raise ValueError(
            f'{path} must hold the {float(stated):.2f} s that its header '
            f'states, found {float(end):.2f} s: it ends early; {CURE}')


def _count_packets(path: str, index: int, **options: str) -> int:
    with open_video(path, **options) as container:
        stream = container.streams[index]
        return sum(packet.size > 0 for packet in container.demux(stream))


def first_frame(path: str, index: int) -> Optional[av.VideoFrame]:
    """Return the first frame that can be decoded, if any."""
    with open_video(path) as container:
        stream = container.streams[index]
        set_decoder(stream)
        return next(container.decode(stream), None)


def count_broken(path: str, index: int, times: Iterable[int]) -> int:
    """Decode a file; return how many of its frames are damaged or missing.

    Args:
        path (str): The file.
        index (int): Number of the video among its streams.
        times (Iterable[int]): The times of its frames, by its packets.
    """
    whole = set()
    with open_video(path) as container:
        stream, clock = container.streams[index], Clock(container)
        stream.thread_type = 'AUTO'
        set_decoder(stream)
        for packet in container.demux(stream):
            if packet.size:
                clock.mend(packet)
            whole.update(
                frame.pts for frame in decode_packet(packet)
                if frame is not None and not frame.is_corrupt)
    return len(set(times) - whole)


def decode_packet(packet: av.Packet) -> Iterator[Optional[av.VideoFrame]]:
    """Yield a packet's frames, or None if it cannot be decoded."""
    try:
        yield from packet.decode()
    except av.error.InvalidDataError:
        yield None


def scan_frames(path: str, index: int) -> Scan:
    """Decode a file to count its frames.

    Frames with the same time are moved apart by a tick of the file's clock. In
    AVI the n-th frame gets the time of the n-th packet; without times, frames
    come at the average rate.

    Raises:
        ValueError: No frame can be decoded.
    """
    scan, packet_times, decoding_times = Scan(), [], []
    with open_video(path) as container:
        stream, clock = container.streams[index], Clock(container)
        set_decoder(stream)
        scan.timed = container.format.name != 'avi'
        for packet in container.demux(stream):
            if packet.size:
                clock.mend(packet)
                packet_times.append(packet.dts)
            for frame in decode_packet(packet):
                if frame is None:
                    scan.damaged += 1
                    continue
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
    stated = [time for time in scan.times if time is not None and scan.timed]
    scan.timed = False
    if scan.times == sorted(stated):
        _part(scan.times)
    elif len(packet_times) == len(scan.times) and _ascend(packet_times):
        scan.times = packet_times
    elif _ascend(decoding_times):  # decoders return frames with a delay
        delay = decoding_times[0] - (packet_times[0] or 0)
        scan.times = [time - delay for time in decoding_times]
    else:
        if stated:
            print_log(
                f'{path}: the times of frames do not ascend; all are shown '
                'for equally long, at the average rate', 'current',
                logging.WARNING)
        scan.times = [round(i * steps) for i in range(len(scan.times))]
    return scan


def _part(times: List[int]) -> None:
    """Move times so that each comes at least a tick after the one before."""
    for i in range(1, len(times)):
        times[i] = max(times[i], times[i - 1] + 1)
