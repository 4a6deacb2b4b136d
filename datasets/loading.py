"""Bring crops to the model: read from files by a few threads, or gathered from memory.

Both give the same crops for the same plan. Files are read ahead while the model computes; held
in memory (of the GPU, where it has room) the spectrograms are float16, a rounding of at most
0.03 dB.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from config import SPECTROGRAM
from datasets.crops import CropBatch
from datasets.recordings import Recordings
from runtime.errors import DataError


class CropSource(Protocol):
    """Gives the crops of a plan."""

    def load(self, batches: Iterable[CropBatch]) -> Iterator[tuple[CropBatch, Tensor]]:
        """Each batch of the plan with its crops, (batch, frames, 128) float32 dB on the device."""
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

    def _read(self, batch: CropBatch) -> Tensor:
        crops = np.empty((len(batch), self.frames, SPECTROGRAM.n_mels), dtype=np.float32)
        for first, last in _runs(batch, self.frames):  # consecutive chunks are one read
            index, start, count = int(batch.recordings[first]), int(batch.starts[first]), last - first
            block = self.recordings.read(index, start, count * self.frames)
            crops[first:last] = block.reshape(count, self.frames, SPECTROGRAM.n_mels)
        tensor = torch.from_numpy(crops)
        return tensor.pin_memory() if self.device.type == "cuda" else tensor

    def load(self, batches: Iterable[CropBatch]) -> Iterator[tuple[CropBatch, Tensor]]:
        """See `CropSource.load`.

        Raises:
            DataError: a spectrogram cannot be read (see `SpectrogramFile.read`).
        """
        if self.threads == 0:
            for batch in batches:
                yield batch, self._read(batch).to(self.device)
            return
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="crops")
        waiting: deque[tuple[CropBatch, Future[Tensor]]] = deque()
        try:
            for batch in batches:
                waiting.append((batch, pool.submit(self._read, batch)))
                if len(waiting) > 2 * self.threads:
                    ready, crops = waiting.popleft()
                    yield ready, crops.result().to(self.device, non_blocking=True)
            while waiting:
                ready, crops = waiting.popleft()
                yield ready, crops.result().to(self.device, non_blocking=True)
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
        self.frames = frames
        self.offsets = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)])).to(device)
        self.values = torch.empty((int(lengths.sum()), SPECTROGRAM.n_mels), dtype=torch.float16, device=device)
        self.device = device
        position = 0
        for spectrogram in read_all(recordings, threads, f"loading {recordings.split} into {device.type} memory"):
            block = torch.from_numpy(spectrogram)
            self.values[position : position + len(block)] = block.to(device, torch.float16)
            position += len(block)

    @staticmethod
    def bytes_needed(recordings: Recordings) -> int:
        """Memory that holding these recordings takes."""
        return int(recordings.n_frames.sum()) * SPECTROGRAM.n_mels * 2

    def load(self, batches: Iterable[CropBatch]) -> Iterator[tuple[CropBatch, Tensor]]:
        """See `CropSource.load`."""
        for batch in batches:
            recordings = torch.from_numpy(batch.recordings).to(self.device, non_blocking=True)
            starts = torch.from_numpy(batch.starts).to(self.device, non_blocking=True)
            yield batch, self.gather(recordings, starts)

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


def read_all(recordings: Recordings, threads: int, description: str) -> Iterator[np.ndarray]:
    """Every whole spectrogram in order, (frames, 128) float32 dB, read ahead by threads, with progress."""
    with ThreadPoolExecutor(max(threads, 1)) as pool, tqdm(total=len(recordings), desc=description) as progress:
        waiting: deque[Future[np.ndarray]] = deque()
        try:
            for index in range(len(recordings)):
                waiting.append(pool.submit(recordings.read, index))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
                    progress.update()
            while waiting:
                yield waiting.popleft().result()
                progress.update()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation (dB) over all values of the training set's spectrograms."""

    mean: float
    std: float


def measure_normalisation(recordings: Recordings, threads: int = 4) -> Normalisation:
    """Mean and standard deviation over every frame of every recording, in one pass.

    Sums are kept in float64 around a fixed shift, so the variance does not cancel.

    Raises:
        DataError: a spectrogram cannot be read, or all values are the same.
    """
    shift, total, squares, count = -50.0, 0.0, 0.0, 0
    for spectrogram in read_all(recordings, threads, "mean and standard deviation"):
        shifted = spectrogram.ravel() - np.float32(shift)
        total += float(shifted.sum(dtype=np.float64))
        squares += float(np.einsum("i,i->", shifted, shifted, dtype=np.float64))
        count += shifted.size
    mean = total / count
    variance = max(squares / count - mean**2, 0.0)
    if variance == 0.0:
        raise DataError("all values of the training spectrograms are the same; make the spectrograms again")
    return Normalisation(mean=mean + shift, std=variance**0.5)
