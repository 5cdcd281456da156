"""Replays the calls of a network as CUDA graphs."""
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor

# as many as whole frames, or the tiles of one frame, need, with a last batch
# that is smaller
MOST_GRAPHS = 8
# the first one compiles kernels and lets cuDNN choose its algorithms
_WARM_UPS = 2


class _Graph(NamedTuple):
    graph: torch.cuda.CUDAGraph
    # what it reads and writes, at fixed addresses
    inputs: Any
    result: Any


class CudaGraphs:
    """Calls functions by replaying CUDA graphs, which start all kernels of a
    call at once.

    A graph is captured at the first call of a function with arguments of these
    shapes and dtypes. It always reads and writes the same memory: arguments
    are copied there, and results from there, so that later calls do not change
    them. Graphs share the memory of what lies between, as no two run at a
    time. The first ``MOST_GRAPHS`` are kept; other calls just run the
    function.

    Functions must not wait for the GPU. Calls must be in inference mode and,
    under autocast, without its cache: graphs would read cast weights that it
    frees.

    Args:
        device (torch.device): The GPU.

    Raises:
        ValueError: ``device`` is no GPU.
    """

    def __init__(self, device: torch.device) -> None:
        if device.type != 'cuda':
            raise ValueError('cuda_graph (--cuda-graph) must be left out on '
                             f'{device}: it needs a GPU')
        self._device = device
        self._graphs: Dict[Any, _Graph] = {}
        self._stream: Optional[torch.cuda.Stream] = None
        self._pool: Optional[Tuple[int, int]] = None

    def call(self, name: str, function: Callable, *args: Any) -> Any:
        """Return what ``function(*args)`` returns.

        Args:
            name (str): Identifies the function.
            function (Callable): Maps tensors to tensors.
            *args: Tensors, or lists of them, also of lists.

        Returns:
            Tensor or list: As of the function, in memory of its own.

        Raises:
            ValueError: The function cannot be captured.
        """
        key = name, _signature(args)
        if key not in self._graphs:
            if len(self._graphs) >= MOST_GRAPHS:
                return function(*args)
            self._graphs[key] = self._capture(name, function, args)
        held = self._graphs[key]
        given: List[Tensor] = []
        each(args, given.append)
        values = iter(given)
        each(held.inputs, lambda x: x.copy_(next(values)))
        held.graph.replay()
        return each(held.result, torch.clone)

    def clear(self) -> None:
        """Forget all graphs, and free their memory."""
        self._graphs.clear()
        self._pool = None

    def _capture(self, name: str, function: Callable,
                 args: Tuple[Any, ...]) -> _Graph:
        inputs = each(args, torch.clone)
        with torch.cuda.device(self._device):
            current = torch.cuda.current_stream()
            stream = self._stream = self._stream or torch.cuda.Stream()
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            stream.wait_stream(current)
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UPS):
                    function(*inputs)
            current.wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            try:
                # other threads go on: one may draw a comparison on the GPU
                with torch.cuda.graph(
                        graph,
                        pool=self._pool,
                        stream=stream,
                        capture_error_mode='thread_local'):
                    result = function(*inputs)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                raise ValueError(
                    'cuda_graph (--cuda-graph) must be left out for this '
                    f'network, whose {name} cannot be captured: {error}'
                ) from error
        return _Graph(graph, inputs, result)


def each(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """Return a function's results for a tensor, or for all in lists of them.
    """
    if isinstance(value, Tensor):
        return change(value)
    return [each(x, change) for x in value]


def _signature(value: Any) -> Tuple[Any, ...]:
    """Return the shapes and dtypes of tensors."""
    if isinstance(value, Tensor):
        return tuple(value.shape), value.dtype
    return tuple(map(_signature, value))
