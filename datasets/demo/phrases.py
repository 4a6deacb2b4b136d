"""Melodies, drones and chords: notes in a scale, over a rhythmic cycle.

A melody follows its scale's course (see `scales.Scale`) at a distance: note by note it steps up
or down, more often towards the course than away from it, and comes to rest on the tonic at the
end of each phrase.
"""

from __future__ import annotations

import numpy as np

from datasets.demo.rhythms import Cycle
from datasets.demo.scales import Scale
from datasets.demo.synthesis import Notes
from datasets.demo.timbres import Timbre

_PHRASE = 6.0  # s, about the length of a breath


def melody(
    scale: Scale, cycle: Cycle, timbre: Timbre, seconds: float, rng: np.random.Generator, density: float = 0.5
) -> Notes:
    """A melody for an instrument.

    Args:
        scale: the mode it is in.
        cycle: the cycle whose groups its notes fall into.
        timbre: the instrument; the melody is moved by octaves into its range.
        seconds: how long it is.
        rng: source of its choices.
        density: 0...1, how often a group is divided into its pulses.
    """
    onset, duration = _rhythm(cycle, seconds, density, rng)
    phase = (onset / _PHRASE) % 1.0
    target = np.interp(phase, np.linspace(0, 1, len(scale.course)), scale.course)
    rising, falling = scale.degrees(True), scale.degrees(False)
    at = float(target[0])
    cents = np.empty(len(onset))
    ends = np.append(np.diff(phase) < 0, True)  # the last note of each phrase
    for i in range(len(onset)):
        up = rng.random() < 0.5 + np.clip((target[i] - at) / 600, -0.45, 0.45)
        degrees = rising if up else falling
        # Steps of one degree, now and then two; staying is possible where the course is reached.
        stride = rng.choice((0, 1, 1, 1, 2))
        here = int(np.searchsorted(degrees, at, side="left" if up else "right"))
        here = here + stride if up else here - 1 - stride
        at = float(degrees[np.clip(here, 0, len(degrees) - 1)])
        if ends[i]:
            at = 1200.0 * round(at / 1200)
        cents[i] = at
    # The middle of the octave goes to the middle of the instrument, so that a course that begins
    # high above the tonic sounds high.
    pitch = _into_range(scale.tonic * 2 ** (cents / 1200), scale.tonic * 2**0.5, timbre)
    return Notes(onset, duration, pitch, rng.uniform(0.7, 1.0, len(onset)))


def _rhythm(cycle: Cycle, seconds: float, density: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Onsets and durations in s: each group of the cycle is one note, or a note a pulse."""
    lengths: list[int] = []
    pulses = int(seconds / cycle.pulse) + 1
    while sum(lengths) < pulses:
        for group in cycle.groups:
            lengths += [1] * group if rng.random() < density else [group]
    starts = np.cumsum([0, *lengths])
    onset = starts[:-1] * cycle.pulse
    inside = onset < seconds
    return onset[inside], (np.diff(starts) * cycle.pulse)[inside]


def _into_range(pitch: np.ndarray, centre: float, timbre: Timbre) -> np.ndarray:
    """Move a melody by octaves so that `centre` (Hz) comes to the middle of an instrument's range.

    Notes that still lie outside are folded back by an octave.
    """
    middle = np.sqrt(timbre.low * timbre.high)
    pitch = pitch * 2.0 ** round(float(np.log2(middle / centre)))
    pitch = np.where(pitch < timbre.low, pitch * 2, pitch)
    return np.where(pitch > timbre.high, pitch / 2, pitch)


def follow(lead: Notes, timbre: Timbre, rng: np.random.Generator, delay: float = 0.0) -> Notes:
    """A second instrument plays the melody too, in its own octave and a little later (heterophony)."""
    keep = rng.random(len(lead)) < 0.85
    keep[0] = True
    onset = np.maximum(lead.onset + delay + rng.normal(0, 0.01, len(lead)), 0.0)
    order = np.argsort(onset[keep])
    pitch = _into_range(lead.pitch, float(np.exp(np.mean(np.log(lead.pitch)))), timbre)
    return Notes(
        onset[keep][order],
        lead.duration[keep][order],
        pitch[keep][order],
        lead.loudness[keep][order],
    )


def repeat_strokes(lead: Notes, interval: float) -> Notes:
    """Each note struck again every `interval` s while it lasts: tremolo, as on kanun or bouzouki."""
    times = np.maximum(1, np.round(lead.duration / interval).astype(int))
    again = np.concatenate([np.arange(n) for n in times])
    return Notes(
        np.repeat(lead.onset, times) + again * interval,
        np.full(times.sum(), interval),
        np.repeat(lead.pitch, times),
        np.repeat(lead.loudness, times) * np.where(again == 0, 1.0, 0.7),
    )


def drone(pitches: tuple[float, ...], interval: float, seconds: float) -> Notes:
    """Strings struck in turn without end (tanpura); a single long pitch where `interval` exceeds `seconds`."""
    onset = np.arange(0, seconds, interval)
    pitch = np.resize(np.asarray(pitches), len(onset))
    return Notes(onset, np.full(len(onset), interval), pitch, np.ones(len(onset)))


def chords(
    scale: Scale, cycle: Cycle, seconds: float, rng: np.random.Generator, tonic: float, each_pulse: bool = True
) -> list[Notes]:
    """Triads on a I-V-vi-IV or i-iv-V-i progression, one a cycle: a part for each of the three voices.

    Args:
        scale: a seven-note scale; the triads are its own.
        cycle: the cycle; strummed on its sounding pulses, or held through (`each_pulse` False).
        seconds: how long.
        rng: source of the choice of progression.
        tonic: Hz, where the lowest root lies.
    """
    roots = np.asarray(((0, 4, 5, 3), (0, 3, 4, 0), (0, 5, 3, 4))[rng.integers(3)])
    degrees = np.asarray(scale.ascent)
    pulses_a_chord = len(cycle.strokes) if len(cycle.strokes) > 3 else 2 * len(cycle.strokes)
    every = 1 if each_pulse else pulses_a_chord
    pulses = np.arange(0, int(seconds / cycle.pulse) + 1, every)
    if each_pulse:
        pulses = pulses[rng.random(pulses_a_chord)[pulses % pulses_a_chord] < 0.7]
    pulses = pulses[pulses * cycle.pulse < seconds]
    root = roots[(pulses // pulses_a_chord) % len(roots)]
    onset = pulses * cycle.pulse
    duration = np.full(len(pulses), every * cycle.pulse)
    loudness = np.where(pulses % pulses_a_chord == 0, 1.0, 0.75)
    voices = []
    for third in range(3):
        degree = root + 2 * third
        cents = degrees[degree % len(degrees)] + 1200 * (degree // len(degrees))
        pitch = tonic * 2 ** (cents / 1200)
        voices.append(Notes(onset + 0.012 * third, duration, pitch, loudness))
    return voices
