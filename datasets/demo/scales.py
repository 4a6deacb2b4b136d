"""Scales of the demo corpora: makams in Holdrian commas, ragas, Western keys and Greek modes.

A scale is what goes up, what goes down, where its tonic lies and the way a melody takes through it
(for a makam its seyir). Intervals are in cents above the tonic within one octave.

Sources: the Arel-Ezgi-Uzdilek intervals of the makams as in Karl Signell, Makam: Modal Practice in
Turkish Art Music (1977), a comma being 1/53 octave; the ragas' ascents and descents as in Bor et
al., The Raga Guide (1999) and, for the Carnatic ones, Sambamurthy, South Indian Music, rounded to
twelve steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

COMMA = 1200 / 53  # cents, the Holdrian comma
SEMITONE = 100.0  # cents

# The way of a melody through the octave, in cents above the tonic, at equal steps of a phrase.
ASCENDING = (0.0, 300.0, 700.0, 900.0, 400.0, 0.0)
ARCHED = (500.0, 700.0, 1000.0, 700.0, 300.0, 0.0)
DESCENDING = (1200.0, 1400.0, 1100.0, 800.0, 400.0, 0.0)


@dataclass(frozen=True)
class Scale:
    """A mode to play in."""

    ascent: tuple[float, ...]  # cents above the tonic, in [0, 1200)
    descent: tuple[float, ...]
    tonic: float  # Hz
    course: tuple[float, ...] = ARCHED  # cents

    def degrees(self, rising: bool, octaves: tuple[int, int] = (-1, 3)) -> np.ndarray:
        """The scale's degrees over several octaves: (degrees,) cents above the tonic, rising."""
        steps = np.asarray(self.ascent if rising else self.descent)
        return np.concatenate([steps + 1200 * octave for octave in range(*octaves)])


def steps(*sizes: int, unit: float) -> tuple[float, ...]:
    """Degrees of a scale from the sizes of its steps, which make up an octave of 1200 cents.

    >>> steps(2, 2, 1, 2, 2, 2, 1, unit=SEMITONE)
    (0.0, 200.0, 400.0, 500.0, 700.0, 900.0, 1100.0)
    """
    edges = np.cumsum((0, *sizes)) * unit
    assert abs(edges[-1] - 1200) < 1e-6, sizes
    return tuple(float(edge) for edge in edges[:-1])


def _makam(tonic: float, course: tuple[float, ...], *commas: int) -> Scale:
    degrees = steps(*commas, unit=COMMA)
    return Scale(degrees, degrees, tonic, course)


# Tonics as they sound in the bolahenk tuning: rast is D4, dügâh E4, segâh F sharp 4 less a comma.
_RAST, _DUGAH, _SEGAH = 293.7, 330.0, 365.0

MAKAMS: dict[str, Scale] = {
    "Rast": _makam(_RAST, ASCENDING, 9, 8, 5, 9, 9, 8, 5),
    "Nihavent": _makam(_RAST, ARCHED, 9, 4, 9, 9, 4, 9, 9),
    "Kürdilihicazkar": _makam(_RAST, DESCENDING, 4, 9, 9, 9, 4, 9, 9),
    "Uşşak": _makam(_DUGAH, ASCENDING, 8, 5, 9, 9, 4, 9, 9),
    "Hicaz": _makam(_DUGAH, ARCHED, 5, 12, 5, 9, 8, 5, 9),
    "Hüseyni": _makam(_DUGAH, DESCENDING, 8, 5, 9, 9, 8, 5, 9),
    "Segah": _makam(_SEGAH, ASCENDING, 5, 9, 8, 9, 5, 12, 5),
    "Hüzzam": _makam(_SEGAH, ARCHED, 5, 9, 5, 12, 5, 12, 5),
}


def _semitones(*degrees: int) -> tuple[float, ...]:
    return tuple(SEMITONE * degree for degree in degrees)


def _raga(tonic: float, course: tuple[float, ...], ascent: tuple[int, ...], descent: tuple[int, ...] = ()) -> Scale:
    return Scale(_semitones(*ascent), _semitones(*(descent or ascent)), tonic, course)


# Sa is free in practice; it is fixed for each corpus here, as it often is for one singer.
_SA_HINDUSTANI, _SA_CARNATIC = 261.6, 233.1

HINDUSTANI_RAGAS: dict[str, Scale] = {
    "Bhairabi": _raga(_SA_HINDUSTANI, DESCENDING, (0, 1, 3, 5, 7, 8, 10)),
    "Yaman kalyan": _raga(_SA_HINDUSTANI, ASCENDING, (2, 4, 6, 9, 11), (0, 2, 4, 6, 7, 9, 11)),
    "Bageshree": _raga(_SA_HINDUSTANI, ARCHED, (0, 3, 5, 9, 10), (0, 2, 3, 5, 9, 10)),
}

CARNATIC_RAGAS: dict[str, Scale] = {
    "thodi": _raga(_SA_CARNATIC, ARCHED, (0, 1, 3, 5, 7, 8, 10)),
    "kalyani": _raga(_SA_CARNATIC, ASCENDING, (0, 2, 4, 6, 7, 9, 11)),
    "bhairavi": _raga(_SA_CARNATIC, DESCENDING, (0, 2, 3, 5, 7, 9, 10), (0, 2, 3, 5, 7, 8, 10)),
}

_MAJOR = (0, 2, 4, 5, 7, 9, 11)
_MINOR = (0, 2, 3, 5, 7, 8, 10)
_PENTATONIC = (0, 3, 5, 7, 10)
_HIJAZ = (0, 1, 4, 5, 7, 8, 10)
_DORIAN = (0, 2, 3, 5, 7, 9, 10)


def western(tonic: float, mode: str) -> Scale:
    """A Western key: `mode` is "major", "minor" (natural) or "pentatonic" (anhemitonic, minor)."""
    degrees = _semitones(*{"major": _MAJOR, "minor": _MINOR, "pentatonic": _PENTATONIC}[mode])
    return Scale(degrees, degrees, tonic)


def _mode(tonic: float, course: tuple[float, ...], degrees: tuple[int, ...]) -> Scale:
    return Scale(_semitones(*degrees), _semitones(*degrees), tonic, course)


# Modes that Greek regional styles favour: the pentatonic songs of Epirus, hijaz in rebetiko.
GREEK_MODES: dict[str, Scale] = {
    "pentatonic": _mode(220.0, DESCENDING, _PENTATONIC),
    "hijaz": _mode(293.7, ARCHED, _HIJAZ),
    "dorian": _mode(329.6, ARCHED, _DORIAN),
    "major": _mode(293.7, ASCENDING, _MAJOR),
    "minor": _mode(246.9, ARCHED, _MINOR),
}
