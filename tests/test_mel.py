"""Mel-spectrograms are those of librosa and torchaudio, and the same whole or in pieces."""

import tracemalloc

import librosa
import numpy as np
import pytest
import torch
import torchaudio

from preprocessing.mel import mel_filters, mel_frames, mel_spectrogram
from runtime.errors import AudioError

RATE = 16000
pytestmark = [
    pytest.mark.filterwarnings("ignore:At least one mel filterbank"),  # the first band is empty, by definition
    pytest.mark.filterwarnings("ignore:n_fft"),
]


def music(seconds: float, seed: int = 0) -> np.ndarray:
    """Decaying notes with overtones over a faint noise, a loud and a soft passage: float32 (samples,)."""
    rng = np.random.default_rng(seed)
    samples = rng.normal(scale=3e-4, size=int(seconds * RATE))
    for onset in range(0, len(samples), RATE // 4):
        since = np.arange(min(RATE, len(samples) - onset)) / RATE
        note = 110 * 2 ** (rng.integers(0, 36) / 12)
        overtones = sum(np.sin(2 * np.pi * note * h * since) / h for h in range(1, 9) if note * h < RATE / 2)
        samples[onset : onset + RATE] += 0.2 * np.exp(-6 * since) * overtones
    samples[len(samples) // 2 :] *= 0.05
    return samples.astype(np.float32)


def librosa_db(samples: np.ndarray) -> np.ndarray:
    power = librosa.feature.melspectrogram(
        y=samples, sr=RATE, n_fft=512, hop_length=256, n_mels=128, fmin=0, fmax=8000, htk=True, norm=None,
        center=True, pad_mode="reflect", power=2.0,
    )  # fmt: skip
    return librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=None)


def torchaudio_db(samples: np.ndarray, dtype: torch.dtype = torch.float32) -> np.ndarray:
    mel = torchaudio.transforms.MelSpectrogram(sample_rate=RATE, n_fft=512, f_min=0, f_max=8000, n_mels=128)
    return torchaudio.transforms.AmplitudeToDB()(mel.to(dtype)(torch.from_numpy(samples).to(dtype))).numpy()


@pytest.mark.parametrize("seconds", [0.1, 3.001, 12.7])
def test_same_decibels_as_librosa(seconds):
    samples = music(seconds)
    expected = librosa_db(samples)
    spectrogram = mel_spectrogram(samples)
    assert spectrogram.dtype == np.float32
    assert spectrogram.shape == expected.shape == (128, len(samples) // 256 + 1)
    assert np.abs(spectrogram - expected).max() <= 1e-3
    assert -75 < np.median(spectrogram) < 0  # the signal is one: neither silence nor a constant


@pytest.mark.parametrize(("dtype", "most"), [(torch.float64, 1e-2), (torch.float32, 2e-2)])
def test_same_decibels_as_torchaudio(dtype, most):
    """To torchaudio's own rounding: window and filters are single precision always, its transform by default."""
    samples = music(12.7)
    expected = torchaudio_db(samples, dtype)
    spectrogram = mel_spectrogram(samples)
    assert spectrogram.shape == expected.shape
    difference = np.abs(spectrogram - expected)
    assert difference.max() <= most
    assert np.quantile(difference, 0.999) <= 1e-3


def test_quiet_bands_under_a_loud_tone_are_exact():
    """Single precision would be wrong by tenths of a dB here; the reference is librosa's float64."""
    time = np.arange(5 * RATE) / RATE
    quiet = np.random.default_rng(1).normal(scale=1e-6, size=len(time))
    samples = (0.9 * np.sin(2 * np.pi * 1000 * time) + quiet).astype(np.float32)
    assert np.abs(mel_spectrogram(samples) - librosa_db(samples.astype(np.float64))).max() <= 1e-3


def test_filters_are_those_of_librosa():
    expected = librosa.filters.mel(sr=RATE, n_fft=512, n_mels=128, fmin=0, fmax=8000, htk=True, norm=None)
    assert np.abs(mel_filters().T - expected).max() <= 1e-6


def test_silence_is_exactly_the_floor():
    spectrogram = mel_spectrogram(np.zeros(RATE, np.float32))
    assert spectrogram.shape == (128, 63)
    assert (spectrogram == np.float32(-100)).all()


def test_sine_is_in_the_band_of_its_frequency():
    """Worked by hand: a full-scale sine at bin 64 (2000 Hz) has |X|² = (512 / 4)² there, and a quarter
    of that in the two bins beside it (Hann); 2000 Hz is 1521.4 HTK mel of 2840.0, the 69th band of 128."""
    samples = np.sin(2 * np.pi * 2000 * np.arange(RATE) / RATE).astype(np.float32)
    frame = mel_spectrogram(samples)[:, 30]
    assert frame.argmax() == 68
    centre, filters = 128.0**2, mel_filters()[:, 68]
    power = centre * filters[64] + centre / 4 * (filters[63] + filters[65])
    assert frame[68] == pytest.approx(10 * np.log10(power), abs=1e-3)


@pytest.mark.parametrize("size", [1, 255, 256, 1024, 65_791, 65_792, 65_793, 10**6])
def test_pieces_give_the_whole_bit_for_bit(size):
    samples = music(0.5 if size == 1 else 10)
    pieces = (samples[start : start + size] for start in range(0, len(samples), size))
    assert np.array_equal(np.concatenate(list(mel_frames(pieces))).T, mel_spectrogram(samples))


@pytest.mark.parametrize("frames", [1, 255, 256, 257, 512, 513])
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_lengths_around_a_whole_block_of_frames(frames, more):
    """Against torchaudio: librosa 0.11 gets one sample of the last frame wrong where 256 divides the length."""
    samples = music(513 * 256 / RATE + 1)[: max(257, frames * 256 + more)]
    expected = torchaudio_db(samples, torch.float64)
    spectrogram = mel_spectrogram(samples)
    assert spectrogram.shape == expected.shape
    assert np.abs(spectrogram - expected).max() <= 1e-2


@pytest.mark.parametrize("length", [0, 1, 256])
def test_too_short_to_reflect_is_told(length):
    with pytest.raises(AudioError, match="too short"):
        mel_spectrogram(np.zeros(length, np.float32))
    assert mel_spectrogram(np.zeros(257, np.float32)).shape == (128, 2)


def test_memory_does_not_grow_with_the_recording():
    def peak(minutes: int) -> int:
        block = np.zeros(60 * RATE, np.float32)
        tracemalloc.start()
        try:
            assert sum(map(len, mel_frames(block for _ in range(minutes)))) == minutes * 3750 + 1
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(5) < 1.2 * peak(1)
