"""PSNR and SSIM of a frame, against scikit-image and MMagic on photographs."""
import os.path as osp

import cv2
import numpy as np
import pytest
import skimage
from mmagic.evaluation.metrics.psnr import psnr as mmagic_psnr
from mmagic.evaluation.metrics.ssim import ssim as mmagic_ssim
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from dksan_mm.utils.quality import luma, psnr, ssim

# installed with scikit-image, photographs of 512x512, 300x451 and 400x600
PHOTOGRAPHS = ('astronaut', 'chelsea', 'coffee')
BORDERS = (0, 16)


def photograph(name):
    """Return a photograph and a blurred copy that is not rounded, (H, W, 3)
    RGB."""
    folder = osp.join(osp.dirname(skimage.__file__), 'data')
    image = cv2.imread(osp.join(folder, f'{name}.png'))[..., ::-1]
    blurred = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 2.5)
    return np.ascontiguousarray(image), blurred.clip(0, 255)


def chw(image):
    return image.transpose(2, 0, 1)


def cut(image, border):
    return image[border:image.shape[0] - border,
                 border:image.shape[1] - border]


def skimage_ssim(first, second):
    """Return scikit-image's SSIM where windows lie within the image."""
    options = {} if first.ndim == 2 else dict(channel_axis=2)
    _, values = structural_similarity(
        first.astype(np.float64),
        second.astype(np.float64),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
        full=True,
        **options)
    return cut(values, 5).mean()


@pytest.mark.parametrize('name', PHOTOGRAPHS)
def test_rgb_is_scikit_images(name):
    first, second = photograph(name)
    found = psnr(chw(first), chw(second), BORDERS)
    similar = ssim(chw(first), chw(second), BORDERS)
    for border in BORDERS:
        pair = cut(first, border), cut(second, border)
        expected = peak_signal_noise_ratio(
            *(image.astype(np.float64) for image in pair), data_range=255)
        assert found[border] == pytest.approx(expected, abs=1e-9)
        assert similar[border] == pytest.approx(skimage_ssim(*pair), abs=1e-9)
    assert found[0] != found[16] and similar[0] != similar[16]


@pytest.mark.parametrize('name', PHOTOGRAPHS)
def test_luma_is_scikit_images(name):
    """Its rgb2ycbcr is MATLAB's, for values in [0, 1]."""
    first, second = photograph(name)
    pair = [
        rgb2ycbcr(i.astype(np.float64) / 255)[..., 0] for i in (first, second)
    ]
    ours = [luma(chw(image)) for image in (first, second)]
    for image, expected in zip(ours, pair):
        assert image.shape == (1, *first.shape[:2])
        np.testing.assert_allclose(image[0], expected, atol=1e-3)
        assert 16 <= image.min() and image.max() <= 235
    for border in BORDERS:
        rest = [cut(image, border) for image in pair]
        assert psnr(*ours, BORDERS)[border] == pytest.approx(
            peak_signal_noise_ratio(*rest, data_range=255), abs=1e-4)
        assert ssim(*ours, BORDERS)[border] == pytest.approx(
            skimage_ssim(*rest), abs=1e-6)


@pytest.mark.parametrize('color', [None, 'Y'])
@pytest.mark.parametrize('name', PHOTOGRAPHS)
def test_mmagics_are_the_same_to_float32(name, color):
    """So training's validation and tests can be compared."""
    first, second = photograph(name)
    ours = [chw(first), chw(second)]
    if color:
        ours = [luma(image) for image in ours]
    for border in BORDERS:
        options = dict(crop_border=border, convert_to=color)
        assert psnr(*ours, BORDERS)[border] == pytest.approx(
            mmagic_psnr(first, second, **options), abs=1e-4)
        assert ssim(*ours, BORDERS)[border] == pytest.approx(
            mmagic_ssim(first, second, **options), abs=1e-5)


def test_luma_weights():
    """White, black and the primaries, from the standard's numbers."""
    primaries = np.array([[255, 0, 255, 0, 0], [255, 0, 0, 255, 0],
                          [255, 0, 0, 0, 255]])[:, None]
    np.testing.assert_allclose(
        luma(primaries)[0, 0], [235, 16, 81.481, 144.553, 40.966], atol=1e-9)


def test_equal_images():
    image = chw(photograph('chelsea')[0])
    assert psnr(image, image, (0, )) == {0: float('inf')}
    assert ssim(image, image, (0, ))[0] == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize('size, has_psnr, has_ssim', [((43, 44), True, True),
                                                      ((42, 60), True, False),
                                                      ((32, 60), False, False),
                                                      ((9, 9), False, False)])
def test_frames_too_small_for_a_border(size, has_psnr, has_ssim):
    first, second = np.random.default_rng(0).random((2, 3, *size)) * 255
    assert (psnr(first, second, (16, ))[16] is not None) == has_psnr
    assert (ssim(first, second, (16, ))[16] is not None) == has_ssim
    assert psnr(first, second, (0, ))[0] is not None
