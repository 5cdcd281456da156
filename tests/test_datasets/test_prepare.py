"""Videos made into data sets."""
import json
import os.path as osp

import cv2
import mmcv
import numpy as np
import pytest
from mmagic.datasets.transforms import MATLABLikeResize

from dksan_mm.datasets.prepare import Clip, hold_out, prepare_videos


def write_frames(folder, count=8, size=(70, 67), seed=0):
    scene = np.random.default_rng(seed).integers(
        0, 256, (*size, 3), dtype=np.uint8)
    for index in range(count):
        mmcv.imwrite(
            np.roll(scene, index, 1), str(folder / f'frame{index:03d}.png'))
    return str(folder)


def write_video(path, count=8, size=(64, 80)):
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter_fourcc(*'mp4v'), 24, size[::-1])
    for index in range(count):
        writer.write(np.full((*size, 3), 10 * index, np.uint8))
    writer.release()
    return str(path)


def test_folder(tmp_path):
    source = write_frames(tmp_path / 'a clip')
    prepare_videos(
        str(tmp_path / 'out'), dict(train=[Clip(source)], val=[]), scale=4)
    out = tmp_path / 'out'
    assert (out / 'meta_info_train.txt').read_text() == 'a_clip 8\n'
    hr = mmcv.imread(str(out / 'train/GT/a_clip/00000003.png'))
    lr = mmcv.imread(str(out / 'train/BIx4/a_clip/00000003.png'))
    original = mmcv.imread(osp.join(source, 'frame003.png'))
    # 70x67 is cropped to 68x64
    np.testing.assert_array_equal(hr, original[:68, :64])
    expected = MATLABLikeResize(keys=['x'], scale=0.25)(dict(x=hr))['x']
    np.testing.assert_array_equal(lr, expected.round().clip(0, 255))
    assert json.loads((out / 'metadata.json').read_text())['scale'] == 4


def test_videos_and_processes(tmp_path):
    clips = [
        Clip(write_video(tmp_path / name / 'v.mp4')) for name in ('a', 'b')
        if not (tmp_path / name).mkdir()
    ]
    prepare_videos(
        str(tmp_path / 'out'),
        dict(train=clips, val=[clips[0]._replace(stop=7)]),
        scale=2,
        workers=2)
    assert (tmp_path / 'out/meta_info_train.txt').read_text() == 'v 8\nv_2 8\n'
    assert (tmp_path / 'out/meta_info_val.txt').read_text() == 'v 7\n'
    image = mmcv.imread(str(tmp_path / 'out/train/GT/v_2/00000007.png'))
    assert image.shape == (64, 80, 3) and abs(image.mean() - 70) < 3


def test_hold_out(tmp_path):
    assert hold_out(['a', 'b', 'c'], 60, 30) == dict(
        train=[Clip('a', 0, 60), Clip('b', 0, 60)], val=[Clip('c', 0, 30)])
    video = write_frames(tmp_path / 'v', 40)
    assert hold_out([video], 20) == dict(
        train=[Clip(video, 0, 20)], val=[Clip(video, 30, 40)])


def failing_sources(tmp_path):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'text.mp4').write_text('no video')
    unlike = write_frames(tmp_path / 'unlike')
    mmcv.imwrite(np.zeros((80, 80, 3), np.uint8), osp.join(unlike, 'z.png'))
    damaged = write_frames(tmp_path / 'damaged')
    (tmp_path / 'damaged/frame004.png').write_bytes(b'x')
    return [
        (str(tmp_path / 'none.mp4'), FileNotFoundError, 'none.mp4 must be a'),
        (str(tmp_path / 'empty'), ValueError, 'empty must be.* no frame'),
        (str(tmp_path / 'text.mp4'), ValueError, 'text.mp4 must be.* no fr'),
        (write_frames(tmp_path / 'short', 6), ValueError,
         'short must have at least 7 frames.* found 6'),
        (write_frames(tmp_path / 'small', 8, (70, 60)), ValueError,
         'small must be at least 64 pixels .* found 60x70'),
        (unlike, ValueError, r'unlike must have frames of one size.*\(80, 80'),
        (damaged, ValueError, 'frame004.png must be readable'),
    ]


def test_bad_sources(tmp_path):
    for source, error, message in failing_sources(tmp_path):
        out = tmp_path / 'out'
        with pytest.raises(error, match=message):
            prepare_videos(str(out), dict(train=[Clip(source)]), scale=4)
        assert not out.exists()


def test_single_video_too_short_to_split(tmp_path):
    video = write_frames(tmp_path / 'v', 27)
    with pytest.raises(ValueError, match='at least 28 frames.*found 27'):
        hold_out([video])


def test_target_in_use(tmp_path):
    source = write_frames(tmp_path / 'v')
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/kept.txt').write_text('kept')
    with pytest.raises(FileExistsError, match='out must not exist or be emp'):
        prepare_videos(str(tmp_path / 'out'), dict(train=[Clip(source)]), 4)
    assert (tmp_path / 'out/kept.txt').read_text() == 'kept'
