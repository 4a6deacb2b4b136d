"""A corpus of random spectrograms in 30-second recordings, written once a benchmark."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from datasets.recordings import Recordings
from datasets.spectrograms import read_header

SECONDS = 30
FRAMES = int(SECONDS * 62.5)


def random_recordings(directory: Path, count: int, n_tags: int = 50, seed: int = 0) -> Recordings:
    """Write `count` spectrograms of 30 s into `directory` and open them.

    The values are noise around a spectral slope: speed does not depend on them.
    """
    generator = np.random.default_rng(seed)
    slope = np.linspace(-20, -60, 128, dtype=np.float32)
    directory.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        frames = slope + 8 * generator.standard_normal((FRAMES, 128), dtype=np.float32)
        np.save(directory / f"{i:06d}.npy", frames.T)
    ids = tuple(f"{i:06d}" for i in range(count))
    labels = (generator.random((count, n_tags)) < 0.1).astype(np.uint8)
    return Recordings("train", ids, labels, tuple(read_header(directory / f"{id_}.npy") for id_ in ids))
