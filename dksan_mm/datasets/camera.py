"""Renders video from photographs: a moving camera, and objects in front."""
import math
from dataclasses import dataclass
from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple

import cv2
import numpy as np


@dataclass
class CameraMotion:
    """How a camera moves; each value is a standard deviation.

    Args:
        speed (float): Speed in each direction, in frame pixels per frame.
            Default: 6.
        acceleration (float): Acceleration in each direction, in frame pixels
            per frame squared. Default: 0.4.
        turn (float): Rotation, in radians per frame. Default: 0.004.
        zoom (float): Change of the scale's natural logarithm, per frame.
            Default: 0.004.
        shakes (Sequence[float]): Shakes of the hand, in pixels; one of them is
            chosen for each clip. Default: (0, 0.5, 1.5).
        still_ratio (float): Share of clips in which all motion is reduced to a
            twentieth, 0 to 1. Default: 0.2.
    """
    speed: float = 6.
    acceleration: float = 0.4
    turn: float = 0.004
    zoom: float = 0.004
    shakes: Sequence[float] = (0., 0.5, 1.5)
    still_ratio: float = 0.2

    def __post_init__(self) -> None:
        values = dict(
            speed=self.speed,
            acceleration=self.acceleration,
            turn=self.turn,
            zoom=self.zoom,
            shakes=min(self.shakes, default=-1))
        for name, value in values.items():
            if value < 0:
                raise ValueError(f'motion.{name} must be at least 0, and '
                                 f'there must be one, got {value}')
        if not 0 <= self.still_ratio <= 1:
            raise ValueError('motion.still_ratio must be from 0 to 1, got '
                             f'{self.still_ratio}')


class Scaled(NamedTuple):
    """A photograph, (H, W, 3) uint8, and its pixels per pixel of the middle
    frame."""
    pixels: np.ndarray
    step: float


class View(NamedTuple):
    """What a camera sees of a photograph in one frame: the point at the
    middle of the frame (x, y), photograph pixels per frame pixel, and the
    angle in radians."""
    x: float
    y: float
    step: float
    angle: float

    def matrix(self, size: Tuple[int, int]) -> np.ndarray:
        """Return the map from pixels of a frame to pixels of the photograph,
        (2, 3).

        Args:
            size (tuple): The frame's (width, height).
        """
        cos, sin = (self.step * f(self.angle) for f in (math.cos, math.sin))
        x, y = ((side - 1) / 2 for side in size)
        return np.array([[cos, -sin, self.x - cos * x + sin * y],
                         [sin, cos, self.y - sin * x - cos * y]])


def film(rng: np.random.Generator, photograph: Scaled, size: Tuple[int, int],
         frames: int, motion: CameraMotion) -> List[View]:
    """Return a camera's path over a photograph. It stays inside: of a
    photograph that is too small for its step, frames show all, enlarged.

    Args:
        rng (np.random.Generator): Source of the random path.
        photograph (Scaled): What the camera looks at.
        size (tuple): A frame's (width, height).
        frames (int): Number of frames, at least 1.
        motion (CameraMotion): How the camera moves.
    """
    sides = np.array(photograph.pixels.shape[1::-1])
    time = np.arange(frames) - (frames - 1) / 2
    lively = 0.05 if rng.random() < motion.still_ratio else 1.
    speed, acceleration, shakes = rng.normal(size=(3, 2, 1))
    shakes = rng.choice(motion.shakes) * rng.normal(size=(2, frames))
    turn, zoom = rng.normal(size=2)
    places = rng.random(2)
    zooms = np.exp(lively * motion.zoom * zoom * time)
    angles = lively * motion.turn * turn * time
    # half the extent of the widest frame, for a step of 1
    need = zooms.max() * np.abs(_rotation(np.abs(angles).max())) @ size / 2
    step = min(photograph.step, np.min(sides / (2 * need)))
    way = (
        motion.speed * speed * time +
        motion.acceleration * acceleration * time**2 / 2 + shakes)
    way *= lively * step  # (2, frames), photograph pixels from the middle
    points: List[np.ndarray] = []
    for side, margin, offsets, place in zip(sides, step * need, way, places):
        room = max(side - 2 * margin, 0)
        length = np.ptp(offsets)
        if length > room:  # slow down to stay inside
            offsets = offsets * (room / length)
        low = margin - offsets.min()
        high = side - margin - offsets.max()
        points.append(offsets + low + max(high - low, 0) * place - 0.5)
    return [View(*view) for view in zip(*points, step * zooms, angles)]


def _rotation(angle: float) -> np.ndarray:
    """Return the matrix of a rotation, (2, 2)."""
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])


def _warp(photograph: np.ndarray, matrix: np.ndarray,
          size: Tuple[int, int]) -> np.ndarray:
    """Return a frame: the photograph sampled bicubically at the points that a
    matrix maps the frame's pixels to, mirrored at its borders."""
    return cv2.warpAffine(
        photograph,
        matrix,
        size,
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101)


class MovingObject:
    """A piece of a photograph that moves in front of the camera: a
    polygon with a soft edge.

    Args:
        rng (np.random.Generator): Source of its random shape, place and
            motion.
        photograph (Scaled): The photograph that the piece is cut from.
        size (tuple): A frame's (width, height).
        frames (int): Number of frames, at least 1.
        motion (CameraMotion): How the camera moves.
    """

    def __init__(self, rng: np.random.Generator, photograph: Scaled,
                 size: Tuple[int,
                             int], frames: int, motion: CameraMotion) -> None:
        self._photograph, self._size = photograph.pixels, size
        self._views = film(rng, photograph, size, frames, motion)
        corners = rng.integers(5, 10)
        angles = np.sort(rng.uniform(0, 2 * math.pi, corners))
        radii = rng.uniform(0.15, 0.4, corners) * min(size)
        centre = rng.uniform(0.15, 0.85, 2) * size
        # the polygon, as seen in the middle frame
        self._polygon = centre + radii[:, None] * np.stack(
            [np.cos(angles), np.sin(angles)], 1)
        self._blur = rng.uniform(0.4, 2.)

    def draw(self, frame: np.ndarray, index: int) -> np.ndarray:
        """Return a frame, (height, width, 3) uint8, with the object in front.

        Args:
            frame (np.ndarray): The background; it may be changed.
            index (int): The frame's number, from 0.
        """
        matrix = self._views[index].matrix(self._size)
        middle = self._views[len(self._views) // 2].matrix(self._size)
        # from the middle frame to the photograph, and from there to this one
        points = self._polygon @ middle[:, :2].T + middle[:, 2]
        points = (points - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
        margin = math.ceil(4 * self._blur)
        low = np.clip(np.floor(points.min(0)) - margin, 0, self._size)
        high = np.clip(np.ceil(points.max(0)) + margin + 1, 0, self._size)
        (left, top), (right, bottom) = low.astype(int), high.astype(int)
        if right <= left or bottom <= top:
            return frame  # it has left the view
        box = (right - left, bottom - top)
        mask = np.zeros(box[::-1], np.float32)
        # cv2's points are fixed-point numbers, here of 1/16 pixel
        cv2.fillPoly(
            mask, [np.round(16 * (points - low)).astype(np.int32)],
            1.,
            lineType=cv2.LINE_8,
            shift=4)
        mask = cv2.GaussianBlur(mask, (0, 0), self._blur)
        matrix = matrix.copy()
        matrix[:, 2] += matrix[:, :2] @ low
        piece = _warp(self._photograph, matrix, box)
        behind = frame[top:bottom, left:right]
        frame[top:bottom,
              left:right] = cv2.blendLinear(piece,
                                            np.ascontiguousarray(behind), mask,
                                            1 - mask)
        return frame


def render(rng: np.random.Generator,
           photograph: Scaled,
           size: Tuple[int, int],
           frames: int,
           motion: CameraMotion,
           before: Optional[Scaled] = None) -> Iterator[np.ndarray]:
    """Yield the frames of a clip, (height, width, 3) uint8.

    Args:
        rng (np.random.Generator): Source of everything random.
        photograph (Scaled): What the camera looks at.
        size (tuple): A frame's (width, height).
        frames (int): Number of frames, at least 1.
        motion (CameraMotion): How the camera and the object move.
        before (Scaled, optional): The photograph from which an object in front
            of the camera is cut. Default: None, no object.
    """
    views = film(rng, photograph, size, frames, motion)
    moving = None
    if before is not None:
        moving = MovingObject(rng, before, size, frames, motion)
    for index, view in enumerate(views):
        frame = _warp(photograph.pixels, view.matrix(size), size)
        yield frame if moving is None else moving.draw(frame, index)
