"""Writing mel-spectrogram files as `datasets.spectrograms` reads them."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from config import SPECTROGRAM
from datasets.spectrograms import read_header
from runtime.atomic_files import atomic_write
from runtime.errors import DataError


def write_spectrogram(path: Path, frames: Iterable[np.ndarray]) -> int:
    """Write the blocks of `frames`, each of shape (frames, 128) in dB, as one file; returns how many frames.

    The file is `.npy`, float32 of shape (128, frames), Fortran-ordered: frame follows frame, so
    that a crop in time is one contiguous read. Blocks are written as they come.

    Raises:
        OSError: the file cannot be written.
    """
    count = 0
    with atomic_write(path) as file:
        file.write(_header(0))
        for block in frames:
            file.write(np.ascontiguousarray(block, np.float32).data)
            count += len(block)
        file.seek(0)
        file.write(_header(count))
    return count


def _header(count: int) -> bytes:
    """The `.npy` header of `count` frames, equally long for any count: NumPy leaves room for digits."""
    header = io.BytesIO()
    description = {"descr": "<f4", "fortran_order": True, "shape": (SPECTROGRAM.n_mels, count)}
    np.lib.format.write_array_header_1_0(header, description)
    return header.getvalue()


def is_complete(path: Path) -> bool:
    """Whether a whole mel-spectrogram is at `path`, by its header and size."""
    try:
        read_header(path)
    except (FileNotFoundError, DataError):
        return False
    return True
