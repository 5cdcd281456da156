"""The bicubic baseline."""
import numpy as np
import pytest
import torch
from mmagic.datasets.transforms import MATLABLikeResize

from dksan_mm.models import Bicubic, BicubicUpsampler


@pytest.mark.parametrize('size', [(1, 1), (2, 3), (5, 7)])
@pytest.mark.parametrize('scale', [1, 2, 16])
def test_equals_matlab(size, scale):
    image = np.random.default_rng(0).uniform(0, 255, (*size, 3))
    expected = MATLABLikeResize(keys=['x'], scale=scale)(dict(x=image))['x']
    x = torch.from_numpy(image).permute(2, 0, 1)[None]
    out = BicubicUpsampler(scale)(x)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-3)


def test_restorer_has_no_parameters():
    assert not list(Bicubic().parameters())


def test_exception():
    with pytest.raises(ValueError, match='scale must be at least 1, got 0'):
        BicubicUpsampler(0)
