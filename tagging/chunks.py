"""Cutting a stream of mel-spectrogram frames into the chunks a model takes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from config import SPECTROGRAM
from runtime.errors import UsageError

MAX_OVERLAP = 0.95


def hop_frames(chunk_frames: int, overlap: float) -> int:
    """Frames from the start of a chunk to the start of the next.

    Args:
        chunk_frames: length of a chunk.
        overlap: the part of a chunk that the next one shares, from 0 to 0.95.

    Raises:
        UsageError: another overlap.
    """
    if not 0 <= overlap <= MAX_OVERLAP:
        raise UsageError(
            f"the overlap is the part of a chunk shared with the next, from 0 to {MAX_OVERLAP}, not {overlap}"
        )
    return max(1, round(chunk_frames * (1 - overlap)))


class Chunker:
    """Collects frames and gives chunks in batches, in memory of one batch.

    What is left at the end and shorter than a chunk is dropped, as the study does; a recording
    shorter than one chunk is padded with -100 dB to a single one.
    """

    def __init__(self, chunk_frames: int, hop: int, batch_size: int, most_frames: int | None = None) -> None:
        """
        Args:
            chunk_frames: length of a chunk.
            hop: frames from one start to the next, at most `chunk_frames`.
            batch_size: chunks a batch.
            most_frames: frames after these are ignored (None: none).
        """
        self.chunk_frames, self.hop, self.batch_size, self.most_frames = chunk_frames, hop, batch_size, most_frames
        self.seen = 0  # frames given so far
        self.given = 0  # chunks yielded so far
        self._batch_frames = chunk_frames + (batch_size - 1) * hop
        self._pending: list[np.ndarray] = []
        self._n_pending = 0

    @property
    def is_full(self) -> bool:
        """Whether all frames it takes have been given."""
        return self.most_frames is not None and self.seen >= self.most_frames

    def feed(self, block: np.ndarray) -> Iterator[np.ndarray]:
        """Take frames, float32 (frames, 128); yield the full batches, (batch_size, chunk_frames, 128)."""
        if self.most_frames is not None:
            block = block[: max(self.most_frames - self.seen, 0)]
        self.seen += len(block)
        self._pending.append(block)
        self._n_pending += len(block)
        while self._n_pending >= self._batch_frames:
            frames = np.concatenate(self._pending)
            yield self._cut(frames, self.batch_size)
            rest = frames[self.batch_size * self.hop :]
            self._pending, self._n_pending = [rest], len(rest)

    def finish(self) -> Iterator[np.ndarray]:
        """Yield what is left, at most one batch."""
        frames = np.concatenate(self._pending) if self._pending else np.empty((0, SPECTROGRAM.n_mels), np.float32)
        if self.given == 0 and len(frames) < self.chunk_frames:
            padding = ((0, self.chunk_frames - len(frames)), (0, 0))
            frames = np.pad(frames, padding, constant_values=np.float32(SPECTROGRAM.floor_db))
        count = (len(frames) - self.chunk_frames) // self.hop + 1
        if count > 0:
            yield self._cut(frames, count)

    def _cut(self, frames: np.ndarray, count: int) -> np.ndarray:
        self.given += count
        windows = np.lib.stride_tricks.sliding_window_view(frames, self.chunk_frames, axis=0)  # (…, 128, chunk_frames)
        return windows[: count * self.hop : self.hop].transpose(0, 2, 1).copy()
