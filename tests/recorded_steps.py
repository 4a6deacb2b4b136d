"""A CUDA graph in miniature, on the CPU: the operations of a work are recorded and done again on the same memory.

As with the real one, nothing of the recorded run itself remains, Python's part of the work is not
repeated (a replay sees the tensors of the recording and no others), and an operation that waits for
the device's result is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WAITING = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default, torch.ops.aten.equal.default)


class _Recording(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[Callable, tuple, dict, list[Tensor]]] = []

    def __torch_dispatch__(self, operation: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if operation in WAITING:
            raise RuntimeError(f"operation not permitted when stream is capturing: {operation}")
        result = operation(*args, **kwargs)
        known = {_place(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        new = [leaf if isinstance(leaf, Tensor) and _place(leaf) not in known else None for leaf in tree_leaves(result)]
        self.done.append((operation, args, kwargs, new))
        return result


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class RecordedSteps:
    """Stands for `runtime.cuda_graphs.CudaGraphs`; puts weights, buffers and the generator back after a recording."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.recordings = self.replays = 0

    @contextmanager
    def beside(self) -> Iterator[None]:
        yield

    def record(self, work: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        before = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        random = torch.get_rng_state()
        with _Recording() as recording:
            result = work()
        for name, tensor in self.network.state_dict().items():
            tensor.copy_(before[name])
        torch.set_rng_state(random)
        for *_, new in recording.done:
            for tensor in new:
                if tensor is not None and tensor.is_floating_point():
                    tensor.detach().fill_(float("nan"))  # what is read before it is written shows
        self.recordings += 1

        @torch.no_grad()
        def replay() -> None:
            self.replays += 1
            for operation, args, kwargs, places in recording.done:
                for place, value in zip(places, tree_leaves(operation(*args, **kwargs)), strict=True):
                    if place is not None:
                        place.detach().copy_(value)

        return result, replay
