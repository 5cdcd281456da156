"""Photographs, videos, folders of frames and data sets for the tests."""
import os
import os.path as osp

import av
import cv2
import numpy as np
import skimage
from PIL import Image


def scene(size, seed=0):
    """Return an image, (H, W, 3) uint8 RGB, coarse enough to survive JPEG."""
    coarse = np.random.default_rng(seed).integers(
        0, 256, (8, 9, 3), dtype=np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def make_frames(count=8, size=(70, 67), seed=0):
    """Return frames that move, (T, H, W, 3) uint8 RGB."""
    image = scene(size, seed)
    return np.stack([np.roll(image, 3 * t, 1) for t in range(count)])


def photograph(name='astronaut.png'):
    """Return one of scikit-image's photographs, (H, W, 3) uint8 RGB."""
    folder = osp.join(osp.dirname(skimage.__file__), 'data')
    return np.asarray(Image.open(osp.join(folder, name)).convert('RGB'))


def shot(seed, t, size=(45, 80), gain=1., shift=1):
    """Return frame ``t`` of a shot of its own that moves."""
    rng = np.random.default_rng(seed)
    wide = cv2.resize(
        rng.integers(0, 256, (4, 8, 3), dtype=np.uint8),
        (size[1] + 40, size[0]))
    frame = wide[:, shift * t:shift * t + size[1]] * gain
    return np.ascontiguousarray(frame.astype(np.uint8))


def write_image(path, image):
    """Write an RGB (or grey, 16-bit, RGBA) array by its suffix."""
    os.makedirs(osp.dirname(path), exist_ok=True)
    if image.ndim == 3:
        code = (
            cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR)
        image = cv2.cvtColor(image, code)
    assert cv2.imwrite(str(path), image)


def write_folder(folder, frames, template='{:04d}.png', start=0):
    """Write frames as images; return the folder's name."""
    for index, frame in enumerate(frames, start):
        write_image(osp.join(str(folder), template.format(index)), frame)
    return str(folder)


def write_video(path, frames, codec='libx264', options=None, audio=False):
    """Write a video, lossless by default; return its name."""
    os.makedirs(osp.dirname(str(path)), exist_ok=True)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=24)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = 'yuv444p'
        stream.options = options or dict(qp='0', preset='ultrafast')
        for frame in frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame)):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return str(path)


def write_sound(path):
    """Write a file of sound alone; return its name."""
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('aac', rate=16000)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 4096), np.float32), format='fltp', layout='mono')
        frame.rate = 16000
        for packet in (*stream.encode(frame), *stream.encode()):
            container.mux(packet)
    return str(path)


def turn_video(path):
    """Mark a video as one to be shown turned by 90 degrees clockwise."""
    with open(path, 'rb') as file:
        data = bytearray(file.read())
    start = data.index(b'tkhd') + 4 + 40
    matrix = (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    data[start:start + 36] = b''.join(
        value.to_bytes(4, 'big', signed=True) for value in matrix)
    with open(path, 'wb') as file:
        file.write(data)


def write_dataset(folder, splits, scale=2, size=(16, 24), gain=1., seed=0):
    """Write a set in the configs' layout: smooth noise that moves.

    Args:
        folder (Path): Where to.
        splits (dict): Split to {sequence: number of frames}.
        scale (int): HR size divided by LR size.
        size (tuple[int]): LR height and width.
        gain (float): LR brightness divided by HR brightness.
    """
    rng = np.random.default_rng(seed)
    height, width = size[0] * scale, size[1] * scale
    for split, sequences in splits.items():
        lines = []
        for sequence, frames in sequences.items():
            coarse = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
            scene = cv2.resize(coarse, (width + frames, height))
            for t in range(frames):
                hr = np.ascontiguousarray(scene[:, t:t + width])
                lr = hr.reshape(size[0], scale, size[1], scale, 3)
                lr = (lr.mean((1, 3)) * gain).round().astype(np.uint8)
                for kind, image in (('GT', hr), (f'BIx{scale}', lr)):
                    write_image(
                        folder / split / kind / sequence / f'{t:08d}.png',
                        image)
            lines.append(f'{sequence} {frames}\n')
        (folder / f'meta_info_{split}.txt').write_text(''.join(lines))


def as_bytes(sample):
    """Return the pixels of a sample of a data set, packed."""
    return (sample['inputs'].numpy().tobytes() +
            sample['data_samples'].gt_img.numpy().tobytes())
