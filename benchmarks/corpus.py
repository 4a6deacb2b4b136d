"""Random spectrograms of 30-second recordings, written once a benchmark."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from datasets.recordings import Recordings
from datasets.spectrograms import read_header

SECONDS = 30
FRAMES = int(SECONDS * 62.5)


def random_recordings(directory: Path, count: int, different: int = 48, n_tags: int = 50, seed: int = 0) -> Recordings:
    """Write spectrograms of 30 s into `directory` and open them as `count` recordings.

    The values are noise around a spectral slope: speed does not depend on them. No more than
    `different` files are written; further recordings are these again.
    """
    generator = np.random.default_rng(seed)
    slope = np.linspace(-20, -60, 128, dtype=np.float32)
    directory.mkdir(parents=True, exist_ok=True)
    files = []
    for i in range(min(count, different)):
        frames = slope + 8 * generator.standard_normal((FRAMES, 128), dtype=np.float32)
        np.save(directory / f"{i:06d}.npy", frames.T)
        files.append(read_header(directory / f"{i:06d}.npy"))
    labels = (generator.random((count, n_tags)) < 0.1).astype(np.uint8)
    ids = tuple(f"{i:06d}" for i in range(count))
    return Recordings("train", ids, labels, tuple(files[i % len(files)] for i in range(count)))
