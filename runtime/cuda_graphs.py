"""Work recorded on a CUDA device and replayed with one launch.

Launching the some hundred operations of a small training step one after another takes longer than a
large GPU takes to do them. A CUDA graph holds them all: the same operations on the same memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import torch
from torch import Tensor

Work = Callable[[], Tensor]


class Recorder(Protocol):
    """Records work on a device."""

    def beside(self) -> AbstractContextManager:
        """Where the work is to be done when it is not replayed, a few times before it is recorded."""
        ...

    def record(self, work: Work) -> tuple[Tensor, Callable[[], None]]:
        """Record a work without doing it.

        All it reads and writes must stay where it is from then on, and nothing in it may wait for the device.

        Returns:
            The tensor that holds its result after each replay, and the function that replays it.

        Raises:
            RuntimeError: it cannot be recorded.
        """
        ...


class CudaGraphs:
    """Records CUDA graphs; see `Recorder`."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)

    @contextmanager
    def beside(self) -> Iterator[None]:
        """See `Recorder.beside`: the stream of the recording, since none may depend on the default stream."""
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            yield
        current.wait_stream(self.stream)

    def record(self, work: Work) -> tuple[Tensor, Callable[[], None]]:
        """See `Recorder.record`."""
        graph = torch.cuda.CUDAGraph()
        with (
            torch.cuda.device(self.device),
            # "thread_local": threads that read crops ahead may allocate pinned memory meanwhile.
            torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"),
        ):
            result = work()
        return result, graph.replay
