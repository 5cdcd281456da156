"""Decoding, restoring and encoding, each in a thread, frame by frame."""
from collections import deque
from itertools import islice, starmap
from typing import Callable, Deque, Iterator, List, NamedTuple, Tuple

import numpy as np

from dksan_mm.video.reader import read_frames
from dksan_mm.video.source import SourceInfo
from .job import Job
from .outputs import Output, Segment, find_runs
from .threads import Channel, Threads

# frames that may wait for the network, and restored ones for an encoder:
# enough for an even flow, few enough for large frames
SOURCE_QUEUE, RESULT_QUEUE = 8, 2

# a source frame, and its restored frame
Pair = Tuple[np.ndarray, np.ndarray]


class Span(NamedTuple):
    """Frames ``start`` to before ``stop`` are restored in one go; this needs
    frames ``first`` to before ``end`` of the source."""
    start: int
    stop: int
    first: int
    end: int


def restore_segments(job: Job, segments: List[Segment],
                     count_frame: Callable[[], None]) -> None:
    """Restore segments and write them.

    One thread decodes, one thread per output encodes, and this thread
    restores. The first error in any of them stops all, and is raised here.

    Args:
        job (Job): The video, and its outputs.
        segments (list[Segment]): In order. Consecutive ones are restored in
            one go, so that no frame is decoded twice for them.
        count_frame (Callable): Called after each restored frame.
    """
    if not segments:
        return
    spans = _find_spans(segments, job.info.num_frames, job.restorer.context)
    with Threads() as threads:
        source = threads.channel(SOURCE_QUEUE)
        threads.start(_decode, job.info, spans, source)
        results = [threads.channel(RESULT_QUEUE) for _ in job.outputs]
        for output, result in zip(job.outputs, results):
            threads.start(_encode, output, segments, result)
        frames = iter(source)
        for span in spans:
            for pair in _restore(job, span, frames):
                for result in results:
                    result.put(pair)
                count_frame()


def _find_spans(segments: List[Segment], total: int,
                context: int) -> List[Span]:
    """Return the spans to restore, each in one go. A frame before the context
    shows whether there is a cut where the span begins."""
    spans = []
    for run in find_runs(segments):
        start, stop = run[0].start, run[-1].stop
        spans.append(
            Span(start, stop, max(start - context - 1, 0),
                 min(stop + context, total)))
    return spans


def _decode(info: SourceInfo, spans: List[Span], channel: Channel) -> None:
    for span in spans:
        for frame in read_frames(info, span.first, span.end, channel.check):
            channel.put(frame)
    channel.close()


def _encode(output: Output, segments: List[Segment], channel: Channel) -> None:
    frames = starmap(output.draw, channel)
    for segment in segments:
        output.write(segment, islice(frames, segment.stop - segment.start))


def _restore(job: Job, span: Span,
             frames: Iterator[np.ndarray]) -> Iterator[Pair]:
    """Yield the source frames of a span with their restored frames.

    Raises:
        ValueError: The source ended early.
    """
    recent: Deque[Tuple[int, np.ndarray]] = deque()

    def remember() -> Iterator[np.ndarray]:
        for number in range(span.first, span.end):
            frame = next(frames, None)
            if frame is None:
                raise ValueError(
                    f'{job.info.path} must have {job.info.num_frames} frames, '
                    'as were counted when it was opened, but ends after '
                    f'{number}; copy or convert it again')
            recent.append((number, frame))
            yield frame
            del frame  # or it would live until the next one is there

    window = remember()
    restored = job.restorer.restore(window, span.start, span.stop,
                                    job.info.num_frames, span.first)
    for number, result in enumerate(restored, span.start):
        while recent[0][0] < number:
            recent.popleft()
        yield recent[0][1], result
        del result
