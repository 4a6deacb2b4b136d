"""From a source (an audio file, a spectrogram file, a waveform) to mel-spectrogram frames, piece by piece."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soxr
from torch import Tensor

from config import SPECTROGRAM
from datasets.spectrograms import read_header
from preprocessing.audio import stream_audio
from preprocessing.mel import mel_frames
from runtime.errors import AudioError, DataError, UsageError

Source = str | Path | np.ndarray | Tensor

BLOCK_FRAMES = 1024  # frames of a spectrogram file read at once
READ_AHEAD = 64  # blocks decoded ahead of the model, of 256 frames (128 KiB) each
_END = object()


def mel_blocks(
    source: Source, sample_rate: float | None = None, max_seconds: float | None = None
) -> Iterator[np.ndarray]:
    """The mel-spectrogram of `source` in pieces; memory does not grow with the length of a file.

    Args:
        source: path of an audio file or of a mel-spectrogram (`.npy`, shape (128, frames) in dB), or
            a waveform of shape (samples,) or (channels, samples), floats of full scale 1.
        sample_rate: of a waveform, in Hz; None for paths.
        max_seconds: only the beginning; None: all.

    Yields:
        float32 of shape (frames, 128) in dB, 62.5 frames a second.

    Raises:
        DataError: the file cannot be read, or is neither audio nor a mel-spectrogram.
        UsageError: a waveform of another shape or type, or without a sample rate.
    """
    if not isinstance(source, (str, Path)):
        return mel_frames(iter([_resampled(_mono(source), sample_rate, max_seconds)]))
    if sample_rate is not None:
        raise UsageError(f"{source}: a file knows its sample rate; give one with waveforms only")
    path = Path(source)
    if path.suffix.lower() == ".npy":
        return _spectrogram_blocks(path, max_frames(max_seconds))
    return mel_frames(stream_audio(path, max_seconds))


def max_frames(max_seconds: float | None) -> int | None:
    """Frames of the mel-spectrogram of `max_seconds` of audio: samples // 256 + 1."""
    if max_seconds is None:
        return None
    return int(max_seconds * SPECTROGRAM.sample_rate) // SPECTROGRAM.hop_length + 1


def _spectrogram_blocks(path: Path, most: int | None) -> Iterator[np.ndarray]:
    try:
        file = read_header(path)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    end = file.n_frames if most is None else min(most, file.n_frames)
    for start in range(0, end, BLOCK_FRAMES):
        yield file.read(start, min(BLOCK_FRAMES, end - start))


def _mono(waveform: np.ndarray | Tensor) -> np.ndarray:
    """The mean of the channels, float32 of shape (samples,)."""
    if isinstance(waveform, Tensor):
        waveform = waveform.detach().to("cpu").numpy() if waveform.dtype.is_floating_point else np.array(waveform.cpu())
    if not isinstance(waveform, np.ndarray):
        raise UsageError(f"a source is a path or a waveform (tensor or array), not {type(waveform).__name__}")
    if waveform.dtype.kind != "f":
        raise UsageError(f"a waveform holds floats of full scale 1, not {waveform.dtype}; divide it by its full scale")
    if waveform.ndim not in (1, 2) or (waveform.ndim == 2 and waveform.shape[0] > waveform.shape[1]):
        raise UsageError(f"a waveform has the shape (samples,) or (channels, samples), not {waveform.shape}")
    mono = waveform if waveform.ndim == 1 else waveform.mean(axis=0)
    if not np.isfinite(mono).all():
        raise AudioError("the waveform holds NaN or infinite values")
    return np.ascontiguousarray(mono, np.float32)


def _resampled(samples: np.ndarray, sample_rate: float | None, max_seconds: float | None) -> np.ndarray:
    """At most `max_seconds`, at 16 kHz, resampled as files are."""
    if sample_rate is None or not sample_rate > 0:
        raise UsageError("a waveform needs its sample rate in Hz, above 0")
    target = SPECTROGRAM.sample_rate
    if sample_rate != target:
        samples = soxr.resample(samples, sample_rate, target, quality="HQ")
    return samples if max_seconds is None else samples[: int(max_seconds * target)]


def read_ahead(blocks: Iterator[np.ndarray], depth: int = READ_AHEAD) -> Iterator[np.ndarray]:
    """The same blocks, taken from `blocks` by a thread while the caller computes.

    Raises:
        What `blocks` raises.
    """
    ready: queue.Queue = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: object) -> None:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            for block in blocks:
                put(block)
                if stopped.is_set():
                    return
            put(_END)
        except BaseException as error:  # carried to the caller, whatever it is
            put(error)

    thread = threading.Thread(target=work, name="decode", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not _END:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()
