"""CUDA graphs without a GPU: operators are recorded, and run again.

As on a GPU, a capture computes nothing, a replay reads and writes the same
memory each time, and overwrites what other graphs of its pool left.
"""
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# operators that wait for the GPU, or copy from the host
WAITING = ('aten::_local_scalar_dense', 'aten::item', 'aten::is_nonzero',
           'aten::nonzero', 'aten::lift_fresh', 'aten::_pin_memory',
           'aten::equal', 'aten::masked_select')


def tensors(values):
    return [
        value for value in tree_leaves(values) if isinstance(value, Tensor)
    ]


def address(tensor):
    return tensor.untyped_storage().data_ptr()


class Graph(TorchDispatchMode):
    """In place of ``torch.cuda.CUDAGraph``."""

    def __init__(self):
        super().__init__()
        self.calls, self.own, self.replays = [], [], 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.name().split('.')[0] in WAITING:
            raise RuntimeError(
                f'{func} is not permitted when the stream is capturing')
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        known = {address(x) for x in tensors((args, kwargs))}
        self.own += [x for x in tensors(out) if address(x) not in known]
        self.calls.append((func, args, kwargs, out))
        return out

    def spoil(self):
        """Overwrite the memory that is not the inputs' or the weights'."""
        for x in self.own:
            x.fill_(float('nan') if x.is_floating_point() else 0)

    def replay(self):
        for graph in self.pool:
            graph.spoil()
        for func, args, kwargs, out in self.calls:
            for old, new in zip(tensors(out), tensors(func(*args, **kwargs))):
                if address(old) != address(new):
                    old.copy_(new)
        self.replays += 1


class Stream:
    """In place of a stream; notes what is asked of it."""

    def __init__(self, device=None):
        self.waits = []

    def wait_stream(self, other):
        self.waits.append(other)


class PretendedGraphs:
    """What PyTorch offers for graphs.

    Attributes:
        graphs (list): Those captured so far.
    """

    def __init__(self):
        self.graphs, self._pools = [], []
        self._main, self._current = Stream(), None

    def patch(self, monkeypatch):
        for name, value in dict(
                Stream=Stream,
                CUDAGraph=Graph,
                graph=self._capture,
                graph_pool_handle=self._pool,
                stream=self._use,
                device=lambda device: nullcontext(),
                current_stream=lambda: self._main).items():
            monkeypatch.setattr(torch.cuda, name, value)
        return self

    def _pool(self):
        self._pools.append([])
        return 0, len(self._pools) - 1

    @contextmanager
    def _use(self, stream):
        assert stream.waits[-1] is self._main
        self._warmed = stream
        yield

    @contextmanager
    def _capture(self, graph, pool, stream, capture_error_mode):
        assert self._warmed is stream and self._main.waits[-1] is stream
        assert capture_error_mode == 'thread_local'
        assert torch.is_inference_mode_enabled()
        # the cache's tensors would be freed while graphs use them
        assert not (torch.is_autocast_enabled('cpu')
                    and torch.is_autocast_cache_enabled())
        with graph:
            yield
        graph.pool = self._pools[pool[1]]
        graph.pool.append(graph)
        graph.spoil()
        self.graphs.append(graph)
