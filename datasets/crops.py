"""What is drawn from the recordings: random crops to train on, fixed chunks to score.

Which crop is drawn where depends on nothing but the seed and the epoch, so a training that is
continued in the middle of an epoch, or that reads its data another way, sees the same crops.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class CropBatch:
    """Where the crops of one batch are.

    Attributes:
        recordings: (batch,) int64 indices of the recordings.
        starts: (batch,) int64 first frame of each crop.
    """

    recordings: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.recordings)

    def rows(self, rows: slice) -> CropBatch:
        """Some of the batch's rows, as a batch."""
        return CropBatch(self.recordings[rows], self.starts[rows])


def training_batches(n_frames: np.ndarray, crop_frames: int, batch_size: int, seed: int, epoch: int) -> list[CropBatch]:
    """One epoch: every recording once, in random order, each with one random crop.

    Args:
        n_frames: (recordings,) lengths in frames; a recording shorter than a crop starts at 0.
        crop_frames: length of a crop.
        batch_size: recordings a batch. A last batch of a single recording is joined to the one
            before it, since batch normalisation needs two.
        seed: the run's seed.
        epoch: counted from 1.
    """
    generator = np.random.default_rng((seed, epoch))
    order = generator.permutation(len(n_frames))
    starts = generator.integers(0, np.maximum(n_frames - crop_frames, 0) + 1)
    edges = [*range(0, len(order), batch_size), len(order)]
    if len(edges) > 2 and edges[-1] - edges[-2] == 1:
        del edges[-2]
    return [CropBatch(order[a:b], starts[order[a:b]]) for a, b in pairwise(edges)]


def validation_batches(n_frames: np.ndarray, chunk_frames: int, most: int, batch_size: int) -> list[CropBatch]:
    """Up to `most` evenly spaced chunks of each recording, the same whenever asked.

    A recording that has room for fewer whole chunks gets fewer, a short one a single chunk.
    """
    recordings, starts = [], []
    for index, length in enumerate(n_frames):
        spare = max(int(length) - chunk_frames, 0)
        count = max(1, min(most, int(length) // chunk_frames))
        positions = [spare // 2] if count == 1 else [round(i * spare / (count - 1)) for i in range(count)]
        recordings += [index] * count
        starts += positions
    return _in_batches(np.array(recordings), np.array(starts), batch_size)


def consecutive_batches(n_frames: np.ndarray, chunk_frames: int, batch_size: int) -> Iterator[CropBatch]:
    """Every recording cut into consecutive chunks, the rest dropped (paper, section 4.3 in effect).

    A recording shorter than a chunk gives one chunk, to be padded.
    """
    counts = np.maximum(n_frames // chunk_frames, 1)
    recordings = np.repeat(np.arange(len(n_frames)), counts)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    starts = (np.arange(len(recordings)) - first) * chunk_frames
    yield from _in_batches(recordings, starts, batch_size)


def _in_batches(recordings: np.ndarray, starts: np.ndarray, batch_size: int) -> list[CropBatch]:
    return [
        CropBatch(recordings[i : i + batch_size], starts[i : i + batch_size])
        for i in range(0, len(recordings), batch_size)
    ]
