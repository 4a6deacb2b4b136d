"""Made-up recordings, for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile


def melody(seconds: float, sample_rate: int = 16_000, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Notes of a quarter second with noise, float32 (samples, channels)."""
    generator = np.random.default_rng(seed)
    count = int(seconds * sample_rate)
    note = np.arange(count) // max(sample_rate // 4, 1)
    frequency = generator.uniform(110, 1500, note[-1] + 1)[note]
    tone = 0.3 * np.sin(2 * np.pi * np.cumsum(frequency) / sample_rate)
    return (tone[:, None] + generator.normal(0, 0.02, (count, channels))).astype(np.float32)


def write_melody(path: Path, seconds: float, sample_rate: int = 16_000, channels: int = 1, **options) -> Path:
    """Write such a recording; `options` are soundfile's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = options.pop("seed", 0)
    soundfile.write(path, melody(seconds, sample_rate, channels, seed), sample_rate, **options)
    return path
