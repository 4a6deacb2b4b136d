"""From notes to samples, at `timbres.SAMPLE_RATE`.

A ringing instrument is rendered once for each pitch and laid down at every onset; a sustained one
is rendered as a whole, its phase running through from note to note. Both read one period of the
waveform from a table (wavetable synthesis), a table for each note, so that resonances stay at
their frequency while the pitch moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.signal import lfilter

from datasets.demo.percussion import Drum, band_noise, strike
from datasets.demo.timbres import MAX_PARTIALS, SAMPLE_RATE, Timbre, partial_amplitudes

_TABLE = 2048  # samples in one period of a waveform
_NOISE = 1 << 15  # samples of the noise that is repeated under a long tone


@dataclass(frozen=True)
class Notes:
    """Notes of one part, in order of their onsets; all arrays (notes,)."""

    onset: np.ndarray  # s
    duration: np.ndarray  # s
    pitch: np.ndarray  # Hz
    loudness: np.ndarray  # 0...1

    def __len__(self) -> int:
        return len(self.onset)


def play(timbre: Timbre, notes: Notes, samples: int, rng: np.random.Generator) -> np.ndarray:
    """A part played on an instrument: (samples,) float32, RMS 1 where it sounds."""
    sound = (_ring if timbre.rings else _sustain)(timbre, notes, samples, rng)
    return sound / max(float(np.sqrt(np.mean(sound**2))), 1e-9)


def beat(drum: Drum, hits: list[tuple[float, str, float]], samples: int, rng: np.random.Generator) -> np.ndarray:
    """Strokes laid down at their times.

    Args:
        drum: the strokes by letter; letters it does not know are rests.
        hits: (onset in s, letter, loudness).
        samples: length of the result.
        rng: source of the noise.

    Returns:
        (samples,) float32, RMS 1.
    """
    noise = rng.standard_normal(SAMPLE_RATE, dtype=np.float32)
    strokes = {letter: strike(stroke, noise) for letter, stroke in drum.items()}
    sound = np.zeros(samples, np.float32)
    for onset, letter, loudness in hits:
        if letter in strokes:
            _lay(sound, strokes[letter] * np.float32(loudness), onset)
    return sound / max(float(np.sqrt(np.mean(sound**2))), 1e-9)


def _lay(sound: np.ndarray, piece: np.ndarray, onset: float) -> None:
    start = int(onset * SAMPLE_RATE)
    room = max(0, min(len(piece), len(sound) - start))
    sound[start : start + room] += piece[:room]


@cache
def _partials() -> np.ndarray:
    """(MAX_PARTIALS, _TABLE): one period of each partial, with fixed scattered phases (a low crest factor)."""
    k = np.arange(1, MAX_PARTIALS + 1)[:, None]
    return np.sin(2 * np.pi * (k * np.arange(_TABLE) / _TABLE + 0.5 * k * k / MAX_PARTIALS)).astype(np.float32)


def _read(table: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """The waveform of `table` at `phase` (in periods)."""
    return table[(phase * _TABLE).astype(np.int64) & (_TABLE - 1)]


def _ring(timbre: Timbre, notes: Notes, samples: int, rng: np.random.Generator) -> np.ndarray:
    sound = np.zeros(samples, np.float32)
    t = np.arange(int(3.5 * timbre.decay * SAMPLE_RATE), dtype=np.float32) / SAMPLE_RATE
    envelope = np.minimum(t / timbre.attack, 1.0) * np.exp(-t / timbre.decay)
    brightness = np.exp(-t / timbre.bright_decay)
    pitches = np.unique(notes.pitch)
    amplitude = partial_amplitudes(timbre, pitches).astype(np.float32)
    dark = np.where(np.arange(MAX_PARTIALS) < 2, amplitude, 0) @ _partials()
    bright = np.where(np.arange(MAX_PARTIALS) < 2, 0, amplitude) @ _partials()
    tones = {}
    for row, pitch in enumerate(pitches):
        phase = pitch * t
        tones[pitch] = envelope * (_read(dark[row], phase) + brightness * _read(bright[row], phase))
        if timbre.detune:
            phase = phase * 2 ** (timbre.detune / 1200)
            tones[pitch] += envelope * (_read(dark[row], phase) + brightness * _read(bright[row], phase))
    for onset, pitch, loudness in zip(notes.onset, notes.pitch, notes.loudness, strict=True):
        _lay(sound, tones[pitch] * np.float32(loudness), onset)
    return sound


def _sustain(timbre: Timbre, notes: Notes, samples: int, rng: np.random.Generator) -> np.ndarray:
    t = np.arange(samples, dtype=np.float32) / SAMPLE_RATE
    starts = np.minimum((notes.onset * SAMPLE_RATE).astype(np.int64), samples)
    counts = np.diff(starts, append=samples)
    note = np.repeat(np.arange(len(notes)), counts)
    note = np.concatenate([np.zeros(samples - len(note), np.int64), note])  # before the first onset

    octaves = np.log2(notes.pitch)[note]
    if timbre.glide:
        keep = np.exp(-1 / (timbre.glide * SAMPLE_RATE))
        octaves = lfilter([1 - keep], [1, -keep], octaves, zi=[keep * octaves[0]])[0]
    since = t - notes.onset[note].astype(np.float32)
    left = notes.duration[note].astype(np.float32) - since
    if timbre.vibrato_depth:
        swell = np.clip((since - 0.1) / 0.25, 0, 1)  # vibrato sets in once a note is established
        octaves = octaves + timbre.vibrato_depth / 1200 * swell * np.sin(
            2 * np.pi * (timbre.vibrato_rate * t + rng.random())
        )
    phase = np.cumsum(2**octaves) / SAMPLE_RATE

    vowel = rng.integers(len(timbre.vowels), size=len(notes)) if timbre.vowels else None
    tables = (partial_amplitudes(timbre, notes.pitch, vowel).astype(np.float32) @ _partials()).ravel()
    offset = note * _TABLE
    sound = tables[offset + ((phase * _TABLE).astype(np.int64) & (_TABLE - 1))]
    if timbre.detune:
        phase = phase * 2 ** (timbre.detune / 1200)
        sound = sound + tables[offset + ((phase * _TABLE).astype(np.int64) & (_TABLE - 1))]
    if timbre.breath:
        noise = band_noise(rng.standard_normal(_NOISE, dtype=np.float32), timbre.breath_band)
        sound = sound + timbre.breath * np.resize(noise, samples)
    envelope = np.clip(np.minimum(since / timbre.attack, left / 0.03), 0, 1) * notes.loudness[note].astype(np.float32)
    return (sound * envelope).astype(np.float32)
