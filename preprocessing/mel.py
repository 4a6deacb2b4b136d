"""Mel-spectrograms in decibels, as the study computes them (arXiv 2307.09795).

The definition is torchaudio's `MelSpectrogram(sample_rate=16000, n_fft=512, f_min=0, f_max=8000,
n_mels=128)` followed by `AmplitudeToDB()`; NumPy computes it, because importing torch takes
seconds, longer than a worker needs for a hundred clips.

The Fourier transform is in double precision. In single precision its rounding lies only about
100 dB below the loudest band, and the quiet bands of a loud frame suffer: torchaudio's own values
are up to 0.3 dB off in recorded music, ours are librosa's to 0.0002 dB. The steps after it only
add and multiply non-negative numbers, which loses nothing in single precision.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache

import numpy as np

from config import SPECTROGRAM
from runtime.errors import AudioError

HALF_WINDOW = SPECTROGRAM.n_fft // 2
MIN_SAMPLES = HALF_WINDOW + 1  # what reflecting half a window at each end needs
BLOCK_FRAMES = 256  # frames computed at once: the working arrays stay in the processor's cache
LEAST_POWER = np.float32(1e-10)  # what a band is raised to before the logarithm


def mel_spectrogram(samples: np.ndarray) -> np.ndarray:
    """The mel-spectrogram of a whole recording.

    Args:
        samples: float32 of shape (samples,), mono, 16 kHz, finite.

    Returns:
        float32 of shape (128, frames) in dB, 62.5 frames a second, at least -100 dB; frames is
        samples // 256 + 1. In memory a frame's bands lie together (Fortran order).

    Raises:
        AudioError: fewer than 257 samples (16 ms).
    """
    return np.concatenate(list(mel_frames([samples]))).T


def mel_frames(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """`mel_spectrogram` of a recording that comes in pieces, in memory that does not grow with it.

    Args:
        blocks: float32 of shape (samples,), of any lengths.

    Yields:
        float32 of shape (frames, 128), at most 256 frames each; concatenated they are the
        transposed mel-spectrogram, whatever the lengths of the blocks, bit for bit.

    Raises:
        AudioError: fewer than 257 samples in all (16 ms).
    """
    enough = (BLOCK_FRAMES - 1) * SPECTROGRAM.hop_length + SPECTROGRAM.n_fft
    pending = np.empty(0, np.float32)
    begun = False
    for block in blocks:
        pending = np.concatenate([pending, block])
        if not begun and len(pending) >= MIN_SAMPLES:
            pending = np.concatenate([pending[HALF_WINDOW:0:-1], pending])
            begun = True
        # More than enough, so that what stays can be reflected should this be the end.
        while begun and len(pending) > enough:
            yield _decibels(pending[:enough])
            pending = pending[BLOCK_FRAMES * SPECTROGRAM.hop_length :]
    if not begun:
        raise AudioError(f"too short for a spectrogram ({len(pending)} samples at 16 kHz; {MIN_SAMPLES} are needed)")
    pending = np.concatenate([pending, pending[-2 : -2 - HALF_WINDOW : -1]])
    while len(pending) >= SPECTROGRAM.n_fft:
        yield _decibels(pending[:enough])
        pending = pending[BLOCK_FRAMES * SPECTROGRAM.hop_length :]


def _decibels(samples: np.ndarray) -> np.ndarray:
    """All whole frames of `samples` (no padding): float32 of shape (frames, 128)."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, SPECTROGRAM.n_fft)[:: SPECTROGRAM.hop_length]
    spectrum = np.fft.rfft(frames * _window())
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    bands = np.maximum(power @ mel_filters(), LEAST_POWER)
    return np.maximum(10.0 * np.log10(bands), np.float32(SPECTROGRAM.floor_db))  # 10·log10(1e-10f) is -100.00001


@cache
def _window() -> np.ndarray:
    """The periodic Hann window, float64 of shape (512,)."""
    return 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(SPECTROGRAM.n_fft) / SPECTROGRAM.n_fft)


@cache
def mel_filters() -> np.ndarray:
    """Triangular filters, equally spaced on the HTK mel scale, of height 1 (no area normalisation).

    Returns:
        float32 of shape (257, 128): (frequency bins, mel bands). The first band, narrower than
        a bin, is empty: its value is always -100 dB.
    """
    mels = np.linspace(_hertz_to_mel(SPECTROGRAM.f_min), _hertz_to_mel(SPECTROGRAM.f_max), SPECTROGRAM.n_mels + 2)
    edges = 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
    bins = np.linspace(0.0, SPECTROGRAM.sample_rate / 2, SPECTROGRAM.n_fft // 2 + 1)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)


def _hertz_to_mel(hertz: float) -> float:
    return 2595.0 * np.log10(1.0 + hertz / 700.0)
