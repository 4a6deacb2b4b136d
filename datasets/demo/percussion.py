"""Drums of the demo corpora: each a small set of strokes, each stroke a decaying tone and a noise burst."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datasets.demo.timbres import SAMPLE_RATE


@dataclass(frozen=True)
class Stroke:
    """One way of striking a drum."""

    pitch: float  # Hz, of the membrane after the stroke
    decay: float  # s, time constant of its tone
    bend: float = 0.0  # how far above `pitch` the tone starts, as a fraction of it
    tone: float = 1.0  # level of the tone
    overtones: tuple[float, ...] = ()  # ratios of further modes, each at half the level of the one before
    noise: float = 0.3  # level of the burst
    noise_decay: float = 0.02  # s
    noise_band: tuple[float, float] = (1000.0, 8000.0)  # Hz


Drum = dict[str, Stroke]  # letter of a rhythm -> stroke

# Modes of an ideal circular membrane, relative to its lowest one.
_MEMBRANE = (1.59, 2.14)
_TABLA = (2.0, 3.0)  # a loaded membrane is close to harmonic (Raman 1934)

DRUMS: dict[str, Drum] = {
    "drum kit": {
        "K": Stroke(55, 0.12, bend=1.5, noise=0.1),
        "S": Stroke(190, 0.06, tone=0.5, noise=1.0, noise_decay=0.09, noise_band=(800, 9000)),
        "h": Stroke(6000, 0.01, tone=0.0, noise=0.35, noise_decay=0.03, noise_band=(6000, 10500)),
    },
    "drum machine": {
        "K": Stroke(48, 0.2, bend=3.0, noise=0.05),
        "S": Stroke(300, 0.02, tone=0.1, noise=0.8, noise_decay=0.12, noise_band=(1200, 6000)),
        "h": Stroke(8000, 0.01, tone=0.0, noise=0.5, noise_decay=0.05, noise_band=(7500, 10500)),
    },
    "bendir": {  # frame drum with a snare
        "D": Stroke(85, 0.16, overtones=_MEMBRANE, noise=0.5, noise_decay=0.18, noise_band=(300, 3500)),
        "T": Stroke(210, 0.05, overtones=_MEMBRANE, noise=0.7, noise_decay=0.10, noise_band=(800, 5000)),
        "t": Stroke(210, 0.03, tone=0.5, noise=0.35, noise_decay=0.08, noise_band=(800, 5000)),
    },
    "kudüm": {  # pair of small kettledrums played with sticks
        "D": Stroke(120, 0.20, overtones=(1.5, 2.0), noise=0.25, noise_band=(1500, 7000)),
        "T": Stroke(180, 0.16, overtones=(1.5, 2.0), noise=0.25, noise_band=(1500, 7000)),
        "t": Stroke(180, 0.10, tone=0.5, noise=0.15, noise_band=(1500, 7000)),
    },
    "tabla": {  # D: both hands, n: rim of the small drum, T: closed, t: closed and light
        "D": Stroke(80, 0.22, bend=-0.25, overtones=(4.4,), noise=0.2, noise_band=(2000, 7000)),
        "n": Stroke(350, 0.22, overtones=_TABLA, tone=0.6, noise=0.3, noise_band=(2500, 9000)),
        "T": Stroke(350, 0.03, tone=0.4, noise=0.5, noise_decay=0.015, noise_band=(1500, 6000)),
        "t": Stroke(300, 0.02, tone=0.2, noise=0.3, noise_decay=0.012, noise_band=(1500, 6000)),
    },
    "pakhavaj": {
        "D": Stroke(60, 0.35, overtones=_TABLA, noise=0.15, noise_band=(300, 2000)),
        "n": Stroke(190, 0.18, overtones=_TABLA, noise=0.2, noise_band=(500, 3000)),
        "T": Stroke(150, 0.06, noise=0.4, noise_band=(400, 2500)),
        "t": Stroke(150, 0.04, tone=0.5, noise=0.25, noise_band=(400, 2500)),
    },
    "mridangam": {
        "D": Stroke(95, 0.16, overtones=_TABLA, noise=0.2, noise_band=(600, 4000)),
        "n": Stroke(270, 0.14, overtones=_TABLA, noise=0.3, noise_band=(1500, 7000)),
        "T": Stroke(270, 0.03, noise=0.6, noise_band=(1000, 6000)),
        "t": Stroke(270, 0.02, tone=0.4, noise=0.3, noise_band=(1000, 6000)),
    },
    "ghatam": {  # clay pot: short, high, metallic
        "D": Stroke(130, 0.08, tone=0.7, noise=0.2, noise_band=(2000, 6000)),
        "n": Stroke(1150, 0.07, overtones=(2.3, 3.1), tone=0.6, noise=0.3, noise_band=(4000, 10000)),
        "T": Stroke(900, 0.05, overtones=(2.3, 3.1), tone=0.6, noise=0.3, noise_band=(4000, 10000)),
        "t": Stroke(900, 0.03, tone=0.3, noise=0.2, noise_band=(4000, 10000)),
    },
    "toumpeleki": {  # goblet drum
        "D": Stroke(95, 0.14, noise=0.15, noise_band=(500, 3000)),
        "T": Stroke(420, 0.05, overtones=_MEMBRANE, noise=0.7, noise_decay=0.03, noise_band=(2000, 9000)),
        "t": Stroke(420, 0.03, tone=0.5, noise=0.4, noise_decay=0.02, noise_band=(2000, 9000)),
    },
}


def strike(stroke: Stroke, noise: np.ndarray) -> np.ndarray:
    """One stroke.

    Args:
        stroke: what is struck.
        noise: white noise with at least as many samples as the stroke lasts.

    Returns:
        (samples,) float32, until it has decayed by 40 dB.
    """
    seconds = 4.6 * max(stroke.decay if stroke.tone else 0.0, stroke.noise_decay)
    t = np.arange(min(int(seconds * SAMPLE_RATE), len(noise)), dtype=np.float32) / SAMPLE_RATE
    # The pitch relaxes to its final value with a time constant of 25 ms.
    cycles = stroke.pitch * (t + stroke.bend * 0.025 * (1 - np.exp(-t / 0.025)))
    modes = (1.0, *stroke.overtones)
    tone = sum(
        0.5**i * np.sin(2 * np.pi * ratio * cycles) * np.exp(-t * (1 + i) / stroke.decay)
        for i, ratio in enumerate(modes)
    )
    burst = band_noise(noise[: len(t)], stroke.noise_band) * np.exp(-t / stroke.noise_decay)
    return (stroke.tone * tone + stroke.noise * burst).astype(np.float32)


def band_noise(noise: np.ndarray, band: tuple[float, float]) -> np.ndarray:
    """White noise limited to a band and scaled to unit RMS: (samples,) -> (samples,)."""
    spectrum = np.fft.rfft(noise)
    frequency = np.fft.rfftfreq(len(noise), 1 / SAMPLE_RATE)
    limited = np.fft.irfft(spectrum * ((frequency >= band[0]) & (frequency <= band[1])), len(noise))
    return (limited / max(float(np.sqrt(np.mean(limited**2))), 1e-9)).astype(np.float32)
