"""The data of the report's page, as one structure for JSON."""
import math
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from .files import Result
from .report_frames import (LOSSLESS_PIXELS, Box, choose_frames, crop_psnr,
                            crop_side, data_uri, find_places, frames_folder,
                            read_restored, read_truth, saved_frames)
from .report_summary import about_data, folded, series, summary, system_names
from .tables_columns import describe_amount
from .tables_formats import best_of, show_value

TRUTH = 'Ground truth'
CROPS = 3


class View(NamedTuple):
    """One frame's pictures, systems first and then the ground truth.

    Attributes:
        sequence, frame (str): Names of the sequence and the frame.
        labels (list[str]): A name for each picture.
        images (list[np.ndarray]): (H, W, 3) uint8 RGB, all of one size.
        psnr (list[float]): PSNR of the whole frames in dB, from the result
            files; None for the ground truth.
        places (list[Box]): Places to crop.
    """

    sequence: str
    frame: str
    labels: List[str]
    images: List[np.ndarray]
    psnr: List[Optional[float]]
    places: List[Box]


def make_view(results: Sequence[Result], names: Sequence[str], sequence: str,
              frame: str, gt_folder: str) -> View:
    """Return one frame of several systems, with the places to zoom in.

    There the first system differs most from the best of the others (by average
    PSNR) or, if it is the only one, from the ground truth.

    Raises:
        ValueError: A frame is damaged or has another size.
    """
    images = [read_restored(r, sequence, frame) for r in results]
    labels = list(names)
    values = [
        next(row['PSNR'] for row in r.frames[sequence]
             if row['frame'] == frame) for r in results
    ]
    truth = read_truth(gt_folder, sequence, frame)
    if truth is not None:
        images, labels = [*images, truth], [*labels, TRUTH]
        values.append(None)
    for image, label in zip(images, labels):
        if image.shape != images[0].shape:
            raise ValueError(
                f'pictures of frame {sequence}/{frame} must be of one size, '
                f'found {image.shape[:2]} for {label} and '
                f'{images[0].shape[:2]} for {labels[0]}; test all systems on '
                'the same data, and pass its ground truth with --gt')
    places = []
    if len(images) > 1:
        side = crop_side(*images[0].shape[:2])
        places = find_places(images[0], images[compared(results)], side, CROPS)
    return View(sequence, frame, labels, images, values, places)


def compared(results: Sequence[Result]) -> int:
    """Return the index of the picture to compare the first with: the best of
    the other systems or, if there is none, the ground truth, which comes last.
    A system that diverged is the worst.
    """
    values = [result.metrics['PSNR'] for result in results]
    return max(
        range(1, len(results)),
        key=lambda i: -math.inf if math.isnan(values[i]) else values[i],
        default=len(results))


def embed(view: View) -> dict:
    """Return a view for JSON, its pictures as data URIs."""
    height, width = view.images[0].shape[:2]
    truth = view.images[-1] if view.labels[-1] == TRUTH else None
    places = []
    for box in view.places:
        crops = [box.cut(image) for image in view.images]
        values: List[Optional[float]] = [None] * len(crops)
        if truth is not None:
            values[:-1] = [crop_psnr(crop, crops[-1]) for crop in crops[:-1]]
        texts = [show_value(value, 'PSNR') for value in values]
        places.append({
            'box': box._asdict(),
            'uris': [data_uri(crop, True) for crop in crops],
            'psnr': texts,
            'best': best_of(texts, 'PSNR')
        })
    return {
        'frame':
        view.frame,
        'size': [width, height],
        'labels':
        view.labels,
        'psnr': [show_value(value, 'PSNR') for value in view.psnr],
        'uris': [
            data_uri(image, height * width <= LOSSLESS_PIXELS)
            for image in view.images
        ],
        'places':
        places
    }


def shared_frames(results: Sequence[Result], sequence: str) -> List[str]:
    """Return the frames that all of the results have pictures of.

    Raises:
        ValueError: There are pictures, but no frame has one from every result.
    """
    frames = saved_frames(results[0], sequence)
    for result in results[1:]:
        other = set(saved_frames(result, sequence))
        if not other.intersection(frames):
            raise ValueError(
                f'{frames_folder(result, sequence)} must have a frame that '
                f'{frames_folder(results[0], sequence)} has, found none; '
                'write both with the same tools/test.py --save-frames')
        frames = [frame for frame in frames if frame in other]
    return frames


def make_group(results: Sequence[Result], gt_folder: str, max_frames: int,
               on_view: Callable[[View], None]) -> dict:
    """Return one data set's part of the page.

    Args:
        results (Sequence[Result]): Results on this data set, one per system.
        gt_folder (str): Folder of the ground truth, as for :func:`read_truth`.
        max_frames (int): Frames to show of each sequence; 0 for none.
        on_view (Callable): Called with each view, for the figures.

    Returns:
        dict: Data for JSON; its 'notes' list what could not be shown.
    """
    names = system_names(results)
    notes: Dict[str, None] = {}
    sequences = []
    for sequence, rows in results[0].frames.items():
        frames = [row['frame'] for row in rows]
        with_frames = [
            i for i, r in enumerate(results) if saved_frames(r, sequence)
        ]
        chosen: List[str] = []
        if max_frames:
            for i in set(range(len(results))) - set(with_frames):
                notes[f'{names[i]} has no pictures of {sequence}: there is '
                      f'none in {frames_folder(results[i], sequence)}. Write '
                      'them with tools/test.py --save-frames.'] = None
        shown = [results[i] for i in with_frames]
        shown_names = [names[i] for i in with_frames]
        if shown:
            chosen = choose_frames(
                shared_frames(shown, sequence), frames, max_frames)
        views = []
        for frame in chosen:
            view = make_view(shown, shown_names, sequence, frame, gt_folder)
            if view.labels[-1] != TRUTH:
                notes[f'There is no ground truth of {sequence} in '
                      f'{gt_folder}. Pass its folder with --gt.'] = None
            on_view(view)
            views.append({**embed(view), 'right': compared(shown)})
        sequences.append({
            'name':
            sequence,
            'frames':
            frames,
            'series': [series(r, sequence) for r in results],
            'means': [
                show_value(r.sequences[sequence]['PSNR'], 'PSNR')
                for r in results
            ],
            'views':
            views
        })
    return {
        'name': results[0].dataset.name,
        'data': describe_amount(results[0]),
        'about': about_data(results[0]),
        'systems': names,
        'summary': summary(results, names),
        'folded': folded(results, names),
        'sequences': sequences,
        'notes': list(notes)
    }
