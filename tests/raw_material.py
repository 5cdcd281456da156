"""Raw videos and folders of frames, whole and broken, for the tests."""
import os
import os.path as osp

import av
import cv2
import numpy as np


def scene(size, seed=0):
    """Return an image, (H, W, 3) uint8 RGB, coarse enough to survive JPEG."""
    coarse = np.random.default_rng(seed).integers(
        0, 256, (8, 9, 3), dtype=np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def make_frames(count=8, size=(70, 67), seed=0):
    """Return frames that move, (T, H, W, 3) uint8 RGB."""
    image = scene(size, seed)
    return np.stack([np.roll(image, 3 * t, 1) for t in range(count)])


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
