"""The processes that train one model together, as `torchrun` starts them; usually there is only one.

    torchrun --nproc_per_node=4 train.py --dataset fma --model_name ast

Every process does the same in the same order and takes its share of each batch. What must be
agreed (whether to stop, sums, scores) goes through the few functions here, which do nothing where
there is one process.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from datetime import timedelta
from functools import partialmethod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed
from tqdm import tqdm

from runtime.devices import resolve_device
from runtime.errors import TrainingError, UsageError, listed

PATIENCE = timedelta(hours=2)  # others wait while the first measures or downloads


@dataclass(frozen=True)
class Processes:
    """This process among those that train together.

    Attributes:
        rank: number of this process, from 0.
        size: how many there are.
        local_rank: number of this process on its machine, and of its GPU.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the one that writes files and speaks to the user."""
        return self.rank == 0

    def device(self, name: str) -> torch.device:
        """The device this process computes on: as `resolve_device`, each of several its own GPU.

        Raises:
            UsageError: there is no such device, or several processes are to share one.
        """
        if self.size > 1 and torch.cuda.is_available():
            if name in ("auto", "cuda"):
                name = f"cuda:{self.local_rank}"
            elif name.startswith("cuda"):
                raise UsageError(f"--device {name} with {self.size} processes: each takes its own; say --device cuda")
        return resolve_device(name)

    def share(self, n: int) -> slice:
        """Which of `n` items are this process'; the shares follow each other and differ by one at most."""
        return slice(self.rank * n // self.size, (self.rank + 1) * n // self.size)

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag whether it is set in any process. All processes must call it."""
        if self.size == 1:
            return flags
        values = torch.tensor(flags, dtype=torch.uint8)
        distributed.all_reduce(values, distributed.ReduceOp.MAX)
        return tuple(map(bool, values.tolist()))

    def sum(self, value: Tensor) -> Tensor:
        """The sum of a tensor over all processes. All processes must call it."""
        if self.size == 1:
            return value
        value = value.clone()
        distributed.all_reduce(value)
        return value

    def gather(self, value: Any) -> list[Any]:
        """The value of each process, in their order. All processes must call it."""
        if self.size == 1:
            return [value]
        values = [None] * self.size
        distributed.all_gather_object(values, value)
        return values

    @contextmanager
    def first_goes_first(self) -> Iterator[None]:
        """A passage that the first process finishes before the others begin it: they find its files."""
        if not self.first:
            self._wait()
        yield
        if self.first:
            self._wait()

    def _wait(self) -> None:
        if self.size > 1:
            distributed.all_reduce(torch.zeros(1))  # on the CPU: a barrier would choose a GPU by itself


def started_processes() -> Processes:
    """This process as `torchrun` has numbered it in the environment; without it, the only one.

    Raises:
        UsageError: the numbers contradict each other.
    """
    try:
        rank, size, local_rank = (
            int(os.environ.get(name, default))
            for name, default in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))
        )
    except ValueError:
        rank, size, local_rank = 0, 0, 0
    if not (0 <= rank < size and 0 <= local_rank < size):
        raise UsageError("RANK, WORLD_SIZE and LOCAL_RANK do not fit together; start with torchrun, or unset them")
    return Processes(rank, size, local_rank)


@contextmanager
def connected(processes: Processes) -> Iterator[None]:
    """While active, the processes can talk to each other.

    A DistributedDataParallel must be let go of before the end: as the last to hold the connection it
    closes that without giving up Python's global lock, which a thread it waits for may need (seen
    with PyTorch 2.11: it hangs for ever). After an error nothing is closed, as that would wait for
    processes that may wait for this one; `torchrun` ends them all.

    Raises:
        UsageError: the others cannot be reached.
        TrainingError: another process ended while this one waited for it.
    """
    if processes.size == 1:
        yield
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        distributed.init_process_group(backend, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        reason = listed(str(error).splitlines(), 1)
        message = f"the {processes.size} processes cannot reach each other ({reason}); start with torchrun"
        raise UsageError(message) from error
    try:
        with nullcontext() if processes.first else _silence():
            yield
    except RuntimeError as error:
        if isinstance(error, distributed.DistError) or "gloo" in str(error):
            raise TrainingError("another of the processes that train together ended; it says why itself") from error
        raise
    gc.collect()
    distributed.destroy_process_group()


@contextmanager
def _silence() -> Iterator[None]:
    """No output and no progress: the first process speaks for all. Errors are told by each."""
    tqdm.__init__ = partialmethod(tqdm.__init__, disable=True)
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        yield
