"""The backends of the operators, as a fixture."""
import shutil
from functools import partial

import pytest
import torch
from cases import SMALL, random_inputs

from dksan_mm.ops import backends, use_backend


@pytest.fixture
def backend(request):
    """Run a test on a backend, its new tensors on the backend's device: see
    :func:`cases.run_on`."""
    name = request.param
    if name not in backends() + backends('modulated_deform_conv2d'):
        assert name != 'cpp' or shutil.which('c++') is None, (
            'there is a compiler: build it')
        pytest.skip(f'no backend {name} here')
    # without a GPU, Triton's interpreter
    gpu = name == 'triton' and torch.cuda.is_available()
    with torch.device('cuda' if gpu else 'cpu'), use_backend(name):
        yield name


@pytest.fixture
def make_inputs(backend):
    """Return ``random_inputs``, for Triton's interpreter, which is slow, with
    fewer taps."""
    return partial(random_inputs, **SMALL if backend == 'triton' else {})
