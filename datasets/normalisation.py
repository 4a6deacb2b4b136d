"""Mean and standard deviation of a corpus' spectrograms, with which AST normalises its input."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from config import SPECTROGRAM
from datasets.loading import for_all
from datasets.recordings import Recordings
from runtime.errors import DataError


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation (dB) over all values of the training set's spectrograms."""

    mean: float
    std: float


def measure_normalisation(recordings: Recordings, threads: int = 4) -> Normalisation:
    """Mean and standard deviation over every frame of every recording, in one pass.

    Values are added up in float32 over 128 at a time, and these sums in float64.

    Raises:
        DataError: a spectrogram cannot be read, or all values are the same.
    """

    def sums(index: int) -> tuple[int, float, float]:
        values = recordings.files[index].values().reshape(-1, SPECTROGRAM.n_mels)
        totals, squares = np.einsum("ij->i", values), np.einsum("ij,ij->i", values, values)
        return values.size, totals.sum(dtype=np.float64), squares.sum(dtype=np.float64)

    every = for_all(recordings, sums, threads, "mean and standard deviation", a_task=16)
    counts, totals, squares = zip(*every, strict=True)
    count = sum(counts)
    mean = math.fsum(totals) / count
    variance = math.fsum(squares) / count - mean**2
    if variance < 1e-6 * (1 + mean**2):  # what rounding leaves of nothing
        raise DataError("all values of the training spectrograms are the same; make the spectrograms again")
    return Normalisation(mean=mean, std=math.sqrt(variance))
