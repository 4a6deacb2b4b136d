"""Tiny corpora of made-up spectrograms in the published layouts, for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

FRAMES = 260  # a little more than VGG-ish's input


def write_spectrogram(path: Path, frames: np.ndarray, *, fortran: bool = True) -> None:
    """Write (frames, 128) values as a (128, frames) file in either order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mels = np.ascontiguousarray(frames, dtype=np.float32).T
    np.save(path, mels if fortran else np.ascontiguousarray(mels))


def tagged_spectrogram(labels: np.ndarray, n_frames: int, generator: np.random.Generator) -> np.ndarray:
    """(n_frames, 128) noise in which each tag raises a band of its own, so that tags can be learnt."""
    frames = generator.normal(-50, 8, (n_frames, 128))
    for tag in np.flatnonzero(labels):
        frames[:, 8 * tag : 8 * tag + 6] += 30
    return frames.clip(-100, 40)


def make_corpus(
    root: Path,
    *,
    counts: tuple[int, int, int] = (12, 6, 8),
    n_tags: int = 3,
    n_frames: int = FRAMES,
    seed: int = 0,
) -> Path:
    """A corpus in the layout of FMA and the CompMusic corpora: split lists, metadata and spectrograms."""
    generator = np.random.default_rng(seed)
    names = [f"instrument--{name}" for name in ("Ud", "Ney", "Kanun", "Tanbur", "Kemençe", "Def")[:n_tags]]
    metadata: dict[str, list[str]] = {}
    (root / "split").mkdir(parents=True)
    for split, count in zip(("train", "valid", "test"), counts, strict=True):
        ids = [f"{split}-{i:03d}" for i in range(count)]
        np.save(root / "split" / f"{split}.npy", np.array(ids))
        for i, id_ in enumerate(ids):
            labels = np.array([(i + tag) % (tag + 2) == 0 for tag in range(n_tags)])
            metadata[id_] = [names[tag] for tag in np.flatnonzero(labels)]
            length = n_frames + int(generator.integers(0, 200))
            frames = tagged_spectrogram(labels, length, generator)
            write_spectrogram(root / "mel-spectrograms" / f"{id_}.npy", frames, fortran=i % 2 == 0)
    np.save(root / "split" / "metadata.npy", metadata, allow_pickle=True)
    return root
