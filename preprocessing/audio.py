"""Decoding audio to what the study works on: mono, 16 kHz, cut to a maximum length.

The samples are those of `librosa.load(path, sr=16000, mono=True)` (McFee et al. 2015): the
channels' mean, resampled by soxr at its "HQ" quality. Unlike librosa's they come in blocks, so
decoding stops at the maximum length and the memory used does not grow with the recording.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soxr

from config import SPECTROGRAM
from preprocessing.decoders import open_audio
from runtime.errors import AudioError

AUDIO_EXTENSIONS = frozenset(
    {".mp3", ".wav", ".flac", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".m4a", ".m4b", ".mp4", ".aac", ".wma"}
)

LOUDEST = 1e9  # |sample|; full scale is 1, and integers written as floats reach 2^31 at most
MISSING_SECONDS = 0.5  # this much less than the header promises is put down to encoders' rounding


def load_audio(path: Path, max_seconds: float | None = None) -> np.ndarray:
    """The recording at `path`, at most its first `max_seconds`.

    Returns:
        float32 of shape (samples,), mono, 16 kHz.

    Raises:
        AudioError: see `stream_audio`.
    """
    return np.concatenate(list(stream_audio(path, max_seconds)))


def stream_audio(path: Path, max_seconds: float | None = None, block_seconds: float = 1.0) -> Iterator[np.ndarray]:
    """`load_audio` in pieces, in memory that does not grow with the length of the recording.

    Args:
        path: the audio file.
        max_seconds: stop decoding after so much of it; None: never.
        block_seconds: how much is decoded at once.

    Yields:
        float32 of shape (samples,); concatenated they are the whole recording.

    Raises:
        AudioError: the file cannot be read, is not audio or is damaged; holds no samples, or
            samples that are not finite; or ends more than half a second before the length its
            header gives (a download cut short), unless `max_seconds` is reached before.
    """
    path = Path(path)
    target = SPECTROGRAM.sample_rate
    most = math.inf if max_seconds is None else int(max_seconds * target)
    decoded = given = 0
    with open_audio(path, block_seconds) as source:
        resample = _resampler(source.sample_rate, target)
        for block in source.blocks:
            decoded += len(block)
            samples = resample(_mono(block))
            _check_samples(path, samples)
            yield samples[: most - given] if given + len(samples) > most else samples
            given += len(samples)
            if given >= most:
                return
        if decoded == 0:
            raise AudioError(f"{path}: holds no samples")
        promised = source.promised_frames
        if promised is not None and promised - decoded > MISSING_SECONDS * source.sample_rate:
            raise AudioError(
                f"{path}: cut short ({decoded / source.sample_rate:.1f} s of the {promised / source.sample_rate:.1f} s"
                " that its header gives); get the file again"
            )
        # As librosa does, the length is rounded up, with a zero where the resampler gives one sample less.
        length = min(most, math.ceil(decoded * (float(target) / source.sample_rate)))
        rest = resample(np.empty(0, np.float32), last=True)[: length - given]
        _check_samples(path, rest)
        yield np.pad(rest, (0, length - given - len(rest)))


def _resampler(source_rate: int, target_rate: int):
    """A function from blocks at `source_rate` to blocks at `target_rate`; `last=True` gives what is left."""
    if source_rate == target_rate:
        return lambda block, last=False: block
    stream = soxr.ResampleStream(source_rate, target_rate, 1, dtype="float32", quality="HQ")
    return stream.resample_chunk


def _mono(block: np.ndarray) -> np.ndarray:
    """The mean of the channels: (frames, channels) → (frames,). Many times faster than `block.mean(axis=1)`."""
    mixed = block[:, 0].copy()
    for channel in range(1, block.shape[1]):
        mixed += block[:, channel]
    if block.shape[1] > 1:
        mixed /= block.shape[1]
    return mixed


def _check_samples(path: Path, samples: np.ndarray) -> None:
    if len(samples) and not max(samples.max(), -samples.min()) <= LOUDEST:  # false for NaN too
        raise AudioError(f"{path}: damaged (samples that are not finite, or beyond any scale)")
