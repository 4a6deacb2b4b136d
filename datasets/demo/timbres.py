"""Timbres of the demo instruments: spectra, attacks, decays and vibrato by playing technique.

An instrument is described as in introductory acoustics (Fletcher and Rossing, The Physics of
Musical Instruments, 2nd ed., 1998): the spectral tilt of the source, weak even partials for a
closed cylinder, fixed resonances of body or vocal tract, and the envelope its technique gives.
The values are chosen by ear and for contrast between instruments; they imitate no recording.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

SAMPLE_RATE = 22_050  # Hz, of all synthesis here
MAX_PARTIALS = 40

Formant = tuple[float, float, float]  # centre in Hz, bandwidth in Hz, gain over the rest

# The first three resonances of four vowels, adult voice (after Peterson and Barney 1952).
VOWELS: tuple[tuple[Formant, ...], ...] = (
    ((750, 110, 9.0), (1250, 130, 6.0), (2600, 200, 3.0)),  # a
    ((500, 100, 9.0), (1850, 140, 5.0), (2550, 200, 3.5)),  # e
    ((520, 90, 10.0), (900, 120, 6.0), (2500, 200, 2.0)),  # o
    ((320, 80, 10.0), (2300, 160, 4.0), (3000, 220, 3.0)),  # i
)


@dataclass(frozen=True)
class Timbre:
    """How an instrument sounds.

    A ringing instrument (plucked, struck) starts and is left to decay; notes overlap. A sustained
    one (bowed, blown, sung) holds its tone from note to note, with glides and vibrato.
    """

    low: float  # Hz, lowest note it is given
    high: float  # Hz, highest note it is given
    tilt: float  # partial k has amplitude k ** -tilt before the resonances
    even: float = 1.0  # further factor of the even partials
    formants: tuple[Formant, ...] = ()
    vowels: tuple[tuple[Formant, ...], ...] = ()  # sung: one of these is drawn for each note
    attack: float = 0.004  # s
    decay: float | None = None  # s, time constant of a ringing tone; None: sustained
    bright_decay: float = 0.1  # s, time constant of the partials above the second of a ringing tone
    vibrato_rate: float = 0.0  # Hz
    vibrato_depth: float = 0.0  # cents
    glide: float = 0.0  # s, time constant of the way from a note to the next
    breath: float = 0.0  # level of the noise (air, bow) beside the tone
    breath_band: tuple[float, float] = (1000.0, 6000.0)  # Hz
    detune: float = 0.0  # cents between the two strings of a course, or two reeds

    @property
    def rings(self) -> bool:
        return self.decay is not None


def partial_amplitudes(timbre: Timbre, pitch: np.ndarray, vowel: np.ndarray | None = None) -> np.ndarray:
    """Amplitudes of the partials of notes of a timbre, without those that would alias.

    Args:
        timbre: the instrument.
        pitch: (notes,) fundamentals in Hz.
        vowel: (notes,) indices into `timbre.vowels`, for sung timbres.

    Returns:
        (notes, MAX_PARTIALS), each row scaled to unit energy.
    """
    k = np.arange(1, MAX_PARTIALS + 1)
    frequency = pitch[:, None] * k
    amplitude = np.broadcast_to(k**-timbre.tilt * np.where(k % 2 == 0, timbre.even, 1.0), frequency.shape)
    gain = _resonance(frequency, timbre.formants)
    if timbre.vowels and vowel is not None:
        gain = np.select(
            [vowel[:, None] == i for i in range(len(timbre.vowels))],
            [_resonance(frequency, formants) for formants in timbre.vowels],
        )
    amplitude = amplitude * gain * (frequency < 0.45 * SAMPLE_RATE)
    return amplitude / np.maximum(np.linalg.norm(amplitude, axis=1, keepdims=True), 1e-9)


def _resonance(frequency: np.ndarray, formants: tuple[Formant, ...]) -> np.ndarray:
    gain = np.ones_like(frequency)
    for centre, bandwidth, peak in formants:
        gain += peak / (1 + ((frequency - centre) / (bandwidth / 2)) ** 2)
    return gain


def _plucked(low: float, high: float, **sound) -> Timbre:
    return replace(Timbre(low, high, tilt=1.2, decay=0.5), **sound)


def _bowed(low: float, high: float, **sound) -> Timbre:
    bow = Timbre(
        low, high, tilt=1.0, attack=0.06, vibrato_rate=5.8, vibrato_depth=25, glide=0.012, breath=0.05
    )  # a bowed string is close to a sawtooth (Helmholtz motion)
    return replace(bow, **sound)


def _blown(low: float, high: float, **sound) -> Timbre:
    return replace(Timbre(low, high, tilt=1.8, attack=0.05, vibrato_rate=4.8, vibrato_depth=12, glide=0.01), **sound)


def _sung(low: float, high: float, vowels: tuple[tuple[Formant, ...], ...], **sound) -> Timbre:
    voice = Timbre(
        low, high, 1.1, vowels=vowels, attack=0.05, vibrato_rate=5.5, vibrato_depth=55, glide=0.03, breath=0.03
    )
    return replace(voice, **sound)


def _scaled(vowels: tuple[tuple[Formant, ...], ...], factor: float) -> tuple[tuple[Formant, ...], ...]:
    """The vowels of a vocal tract 1/factor as long."""
    return tuple(tuple((centre * factor, width * factor, gain) for centre, width, gain in v) for v in vowels)


_FEMALE = _sung(330, 700, _scaled(VOWELS, 1.15))
_MALE = _sung(120, 260, VOWELS)

INSTRUMENTS: dict[str, Timbre] = {
    # Plucked
    "guitar": _plucked(110, 500, decay=0.8, formants=((110, 60, 2.0), (220, 80, 2.0))),
    "distorted guitar": Timbre(
        82, 330, tilt=0.55, attack=0.005, breath=0.06, glide=0.002, formants=((900, 700, 2.0), (2400, 1200, 3.0))
    ),
    "bass": _plucked(41, 130, tilt=1.6, decay=0.6),
    "harp": _plucked(200, 1000, tilt=2.2, decay=1.2, bright_decay=0.3),
    "harpsichord": _plucked(200, 800, tilt=0.35, decay=0.5, bright_decay=0.45, attack=0.001),
    "sitar": _plucked(140, 560, tilt=0.3, decay=0.9, bright_decay=0.7, formants=((2600, 1500, 3.0),)),
    "tanpura": _plucked(70, 300, tilt=0.4, decay=2.0, bright_decay=1.6, attack=0.02, formants=((1200, 1500, 2.0),)),
    "kanun": _plucked(300, 1200, tilt=0.8, decay=0.6, bright_decay=0.2, attack=0.001, detune=6),
    "tanbur": _plucked(110, 440, tilt=0.7, decay=0.7, bright_decay=0.35, formants=((700, 300, 3.0),), detune=4),
    "oud": _plucked(75, 330, tilt=1.6, decay=0.35, bright_decay=0.06, formants=((180, 80, 2.5),), detune=3),
    "laouto": _plucked(100, 420, tilt=0.9, decay=0.3, bright_decay=0.12, detune=5),
    "bouzouki": _plucked(150, 700, tilt=0.5, decay=0.5, bright_decay=0.25, attack=0.001, detune=8),
    "mandolin": _plucked(200, 900, tilt=0.6, decay=0.25, bright_decay=0.12, attack=0.001, detune=9),
    # Struck
    "santouri": _plucked(200, 1100, tilt=0.9, decay=1.6, bright_decay=0.5, attack=0.001, detune=10),
    "piano": _plucked(110, 900, tilt=1.5, decay=1.0, bright_decay=0.25, attack=0.003, detune=1),
    # Bowed
    "violin": _bowed(300, 1100, formants=((500, 200, 1.5), (2700, 1200, 2.0))),
    "cello": _bowed(80, 330, formants=((250, 150, 2.0), (600, 300, 1.5))),
    "kemençe": _bowed(290, 800, formants=((1100, 250, 5.0),), vibrato_depth=35, glide=0.025, breath=0.09),
    "lyra": _bowed(290, 900, formants=((1500, 300, 4.0),), vibrato_depth=10, attack=0.03, breath=0.10),
    "sarangi": _bowed(150, 600, formants=((900, 250, 4.0), (1800, 400, 3.0)), glide=0.06, breath=0.07),
    # Blown
    "flute": _blown(500, 1500, tilt=2.6, breath=0.08, breath_band=(1500, 7000), vibrato_depth=18),
    "ney": _blown(290, 900, tilt=2.0, breath=0.30, breath_band=(800, 6000), glide=0.03, vibrato_depth=20),
    "bansuri": _blown(220, 800, tilt=2.4, breath=0.18, breath_band=(600, 5000), glide=0.05),
    "clarinet": _blown(220, 900, tilt=1.1, even=0.06, breath=0.02, attack=0.03),
    "tsampouna": _blown(400, 900, tilt=0.3, attack=0.01, vibrato_depth=0, formants=((1400, 400, 4.0),), detune=14),
    # Free reeds
    "accordion": _blown(200, 800, tilt=0.8, vibrato_depth=0, attack=0.03, detune=12),
    "harmonium": _blown(180, 600, tilt=0.6, vibrato_depth=0, attack=0.05, even=0.7, detune=5),
    # Sung
    "female voice": _FEMALE,
    "male voice": _MALE,
    "ornate voice": replace(_MALE, low=170, high=420, vibrato_rate=6.5, vibrato_depth=80, glide=0.06),
    "shouted voice": replace(_MALE, low=160, high=330, tilt=0.6, breath=0.25, vibrato_depth=10),
    # Electronic
    "sawtooth": Timbre(200, 900, tilt=0.85, attack=0.01, glide=0.004, detune=15),
    "pulse": Timbre(250, 1200, tilt=0.7, even=0.02, attack=0.001, glide=0.0),
    "pad": Timbre(110, 500, tilt=2.2, attack=0.5, vibrato_rate=0.4, vibrato_depth=10, detune=10),
    "synth bass": Timbre(45, 120, tilt=0.8, attack=0.004),
}
