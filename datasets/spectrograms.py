"""Mel-spectrogram files: checked headers, and slices read from disk.

A file is float32 `.npy` of shape (128, frames) in dB, C- or Fortran-ordered. Slices are read with
ordinary reads, not through a memory map: a file that is truncated while it is mapped kills the
process, a short read is an error one can report.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from config import SPECTROGRAM
from datasets.safe_numpy import open_regular, read_npy_header
from runtime.errors import DataError


@dataclass(frozen=True)
class SpectrogramFile:
    """A mel-spectrogram on disk whose header has been checked.

    `size` and `modified` (ns) identify the file: reading refuses one that has been replaced since.
    """

    path: Path
    n_frames: int
    dtype: np.dtype
    fortran_order: bool
    offset: int
    size: int
    modified: int

    def read(self, start: int = 0, count: int | None = None) -> np.ndarray:
        """Frames `start` to `start + count`, (count, 128) float32 dB.

        Frames past the end are filled with the floor value (−100 dB), so a recording shorter
        than a model's input can be read all the same.

        Raises:
            DataError: the file is gone, has changed since its header was read, or holds NaN or
                infinite values.
        """
        count = self.n_frames - start if count is None else count
        available = max(0, min(count, self.n_frames - start))
        frames = np.full((count, SPECTROGRAM.n_mels), SPECTROGRAM.floor_db, dtype=np.float32)
        with self._opened() as descriptor:
            frames[:available] = self._read_frames(descriptor, start, available)
        return self._finite(frames)

    def values(self) -> np.ndarray:
        """All values in the order they have in the file, (128 · frames,) float32 dB.

        Raises:
            DataError: see `read`.
        """
        count = SPECTROGRAM.n_mels * self.n_frames
        with self._opened() as descriptor:
            data = self._pread(descriptor, count * self.dtype.itemsize, self.offset)
        return self._finite(np.frombuffer(data, self.dtype).astype(np.float32, copy=False))

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """The descriptor of the file, known to be the one whose header was read."""
        try:
            with open_regular(self.path, buffering=0) as file:
                self._check_unchanged(os.fstat(file.fileno()))
                yield file.fileno()
        except FileNotFoundError:
            raise DataError(f"the mel-spectrogram {self.path} has been removed while it was in use") from None
        except OSError as error:
            raise DataError(f"the mel-spectrogram {self.path} cannot be read ({error.strerror})") from error

    def _finite(self, values: np.ndarray) -> np.ndarray:
        if not np.isfinite(values).all():
            raise DataError(f"the mel-spectrogram {self.path} holds NaN or infinite values; make or fetch it again")
        return values

    def _read_frames(self, descriptor: int, start: int, count: int) -> np.ndarray:
        """(count, 128) in the file's own type."""
        item, n_mels = self.dtype.itemsize, SPECTROGRAM.n_mels
        if self.fortran_order:  # frame after frame: one contiguous read
            data = self._pread(descriptor, count * n_mels * item, self.offset + start * n_mels * item)
            return np.frombuffer(data, self.dtype).reshape(count, n_mels)
        bands = [  # band after band: one read a band
            self._pread(descriptor, count * item, self.offset + (band * self.n_frames + start) * item)
            for band in range(n_mels)
        ]
        return np.frombuffer(b"".join(bands), self.dtype).reshape(n_mels, count).T

    def _pread(self, descriptor: int, length: int, position: int) -> bytes:
        data = os.pread(descriptor, length, position)
        while len(data) < length:  # network file systems may return less at a time
            more = os.pread(descriptor, length - len(data), position + len(data))
            if not more:
                raise DataError(f"the mel-spectrogram {self.path} has been truncated while it was in use")
            data += more
        return data

    def _check_unchanged(self, status: os.stat_result) -> None:
        if (status.st_size, status.st_mtime_ns) != (self.size, self.modified):
            raise DataError(f"the mel-spectrogram {self.path} has changed while it was in use; run the command again")


def read_header(path: Path) -> SpectrogramFile:
    """Read and check a spectrogram's header (not its values).

    Raises:
        FileNotFoundError: there is no such file.
        DataError: not a spectrogram: another shape or type, empty, truncated or damaged.
    """
    try:
        with open_regular(path) as file:
            status = os.fstat(file.fileno())
            header = read_npy_header(file, status.st_size, path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DataError(f"the mel-spectrogram {path} cannot be opened ({error.strerror})") from error
    if len(header.shape) != 2 or header.shape[0] != SPECTROGRAM.n_mels or header.dtype.kind != "f":
        raise DataError(
            f"{path} is no mel-spectrogram: {header.dtype} of shape {header.shape} instead of float32 of shape "
            f"({SPECTROGRAM.n_mels}, frames); make or fetch it again"
        )
    if header.shape[1] == 0:
        raise DataError(f"the mel-spectrogram {path} has no frames; make or fetch it again")
    return SpectrogramFile(
        path=path,
        n_frames=header.shape[1],
        dtype=header.dtype,
        fortran_order=header.fortran_order,
        offset=header.offset,
        size=status.st_size,
        modified=status.st_mtime_ns,
    )
