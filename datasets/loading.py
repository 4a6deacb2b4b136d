"""Bring crops to the model: read from files by a few threads, or gathered from memory.

Both give the same crops for the same plan. Files are read ahead while the model computes; held
in memory (of the GPU, where it has room) the spectrograms are float16, a rounding of at most
0.03 dB.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from config import SPECTROGRAM
from datasets.crops import CropBatch
from datasets.recordings import Recordings

T = TypeVar("T")


class CropSource(Protocol):
    """Gives the crops of a plan and the labels of their recordings."""

    def load(self, batches: Iterable[CropBatch]) -> Iterator[tuple[CropBatch, Tensor, Tensor]]:
        """Each batch of the plan, its crops, (batch, frames, 128) dB, and labels, (batch, tags), 0 or 1.

        Both are float32 on the device.
        """
        ...


class FileSource:
    """Reads crops as slices of the spectrogram files, a few batches ahead of the model."""

    def __init__(self, recordings: Recordings, frames: int, device: torch.device, threads: int = 4) -> None:
        """
        Args:
            recordings: where to read from.
            frames: length of a crop.
            device: where the crops are wanted.
            threads: how many batches are read at once; 0 reads in the caller's own thread.
        """
        self.recordings, self.frames, self.device, self.threads = recordings, frames, device, threads

    def _read(self, batch: CropBatch) -> tuple[Tensor, Tensor]:
        crops = np.empty((len(batch), self.frames, SPECTROGRAM.n_mels), dtype=np.float32)
        for first, last in _runs(batch, self.frames):  # consecutive chunks are one read
            index, start, count = int(batch.recordings[first]), int(batch.starts[first]), last - first
            block = self.recordings.read(index, start, count * self.frames)
            crops[first:last] = block.reshape(count, self.frames, SPECTROGRAM.n_mels)
        both = torch.from_numpy(crops), torch.from_numpy(self.recordings.labels[batch.recordings].astype(np.float32))
        return tuple(tensor.pin_memory() for tensor in both) if self.device.type == "cuda" else both

    def _on_device(self, batch: CropBatch, read: tuple[Tensor, Tensor]) -> tuple[CropBatch, Tensor, Tensor]:
        crops, labels = (tensor.to(self.device, non_blocking=True) for tensor in read)
        return batch, crops, labels

    def load(self, batches: Iterable[CropBatch]) -> Iterator[tuple[CropBatch, Tensor, Tensor]]:
        """See `CropSource.load`.

        Raises:
            DataError: a spectrogram cannot be read (see `SpectrogramFile.read`).
        """
        if self.threads == 0:
            for batch in batches:
                yield self._on_device(batch, self._read(batch))
            return
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="crops")
        waiting: deque[tuple[CropBatch, Future[tuple[Tensor, Tensor]]]] = deque()
        try:
            for batch in batches:
                waiting.append((batch, pool.submit(self._read, batch)))
                if len(waiting) > 2 * self.threads:
                    ready, read = waiting.popleft()
                    yield self._on_device(ready, read.result())
            while waiting:
                ready, read = waiting.popleft()
                yield self._on_device(ready, read.result())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _runs(batch: CropBatch, frames: int) -> Iterator[tuple[int, int]]:
    """Rows `first` to `last` of the batch that follow each other in one recording."""
    if len(batch) == 0:  # the share of a process that trains with others
        return
    follows = (np.diff(batch.recordings) == 0) & (np.diff(batch.starts) == frames)
    edges = [0, *(np.flatnonzero(~follows) + 1).tolist(), len(batch)]
    yield from pairwise(edges)


class MemorySource:
    """Holds whole recordings as float16 on the device and gathers a batch of crops at once."""

    def __init__(self, recordings: Recordings, frames: int, device: torch.device, threads: int = 8) -> None:
        """Reads every spectrogram, showing progress; see `FileSource` for the arguments.

        Raises:
            DataError: a spectrogram cannot be read.
        """
        lengths = recordings.n_frames
        self.frames, self.device = frames, device
        self.offsets = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)])).to(device)
        self.labels = torch.from_numpy(recordings.labels).to(device, torch.float32)
        self.values = torch.empty((int(lengths.sum()), SPECTROGRAM.n_mels), dtype=torch.float16, device=device)
        position = 0
        description = f"loading {recordings.split} into {device.type} memory"
        for block in for_all(
            recordings, lambda index: torch.from_numpy(recordings.read(index)).half(), threads, description
        ):
            self.values[position : position + len(block)] = block
            position += len(block)

    @staticmethod
    def bytes_needed(recordings: Recordings) -> int:
        """Memory that holding these recordings takes."""
        return int(recordings.n_frames.sum()) * SPECTROGRAM.n_mels * 2

    def load(self, batches: Iterable[CropBatch]) -> Iterator[tuple[CropBatch, Tensor, Tensor]]:
        """See `CropSource.load`."""
        batches = list(batches)
        if not batches:
            return
        # The whole plan goes to the device at once: small copies for each batch can make the program wait for a GPU.
        plan = np.concatenate([(batch.recordings, batch.starts) for batch in batches], axis=1)
        parts = torch.from_numpy(plan).to(self.device).split([len(batch) for batch in batches], dim=1)
        for batch, (recordings, starts) in zip(batches, parts, strict=True):
            yield batch, self.gather(recordings, starts), self.labels[recordings]

    def gather(self, recordings: Tensor, starts: Tensor) -> Tensor:
        """Crops at the given places, (batch, frames, 128) float32 dB.

        Args:
            recordings: (batch,) int64 indices of the recordings.
            starts: (batch,) int64 first frames.
        """
        rows = (self.offsets[recordings] + starts)[:, None] + torch.arange(self.frames, device=self.device)
        inside = rows < self.offsets[recordings + 1][:, None]
        crops = self.values[rows.clamp_(max=len(self.values) - 1)].float()
        return crops.masked_fill_(~inside[..., None], SPECTROGRAM.floor_db)


def for_all(
    recordings: Recordings, work: Callable[[int], T], threads: int, description: str, a_task: int = 1
) -> Iterator[T]:
    """What `work` makes of each recording's index, in order, done ahead by threads, with progress.

    Threads are handed `a_task` recordings at a time: more are faster, where what comes of them is small.
    """

    def several(indices: range) -> list[T]:
        return [work(index) for index in indices]

    count = len(recordings)
    tasks = [range(i, min(i + a_task, count)) for i in range(0, count, a_task)]
    with ThreadPoolExecutor(max(threads, 1)) as pool, tqdm(total=count, desc=description) as progress:
        waiting: deque[Future[list[T]]] = deque()
        try:
            for task in tasks:
                waiting.append(pool.submit(several, task))
                if len(waiting) > 2 * threads:
                    done = waiting.popleft().result()
                    yield from done
                    progress.update(len(done))
            while waiting:
                done = waiting.popleft().result()
                yield from done
                progress.update(len(done))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
