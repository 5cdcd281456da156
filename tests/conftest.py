"""Shared by all tests."""
import gc
import os

# What imports make stays: it need not be searched for garbage, not while they
# run, and not by each search afterwards.
gc.disable()

# isort: split
import pytest  # noqa: E402
import torch  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402

# Triton reads this when it is imported: without a GPU its kernels are run by
# its interpreter.
if not torch.cuda.is_available():
    os.environ.setdefault('TRITON_INTERPRET', '1')
# Tests run side by side, and tiny networks are fastest with one thread: here,
# and in the processes that tests start.
torch.set_num_threads(1)
os.environ['OMP_NUM_THREADS'] = '1'


def pytest_collection_modifyitems(items):
    """The long files, which run the tools, begin first: short ones then keep
    all processes at work to the end."""
    items.sort(key=lambda item: 'test_tools' not in item.path.parts)


@pytest.fixture(autouse=True, scope='session')
def _session():
    init_default_scope('mmagic')
    gc.freeze()
    gc.enable()
