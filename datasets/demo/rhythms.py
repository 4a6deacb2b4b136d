"""Rhythmic cycles of the demo corpora: usul, tala, Greek dance metres and Western beats.

A cycle is written as one letter a pulse, each letter a stroke of `percussion.DRUMS`, `.` a rest.
Sources: usul strokes as in Signell, Makam (1977); thekas of the Hindustani talas as commonly
taught (bass strokes D, open ones n and t); Carnatic cycles by their counts, filled with a plain
mridangam pattern; Greek metres by their groups (kalamatianos 3+2+2, zeibekiko 2+2+2+3, ...).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Cycle:
    """A rhythmic cycle and its tempo."""

    groups: tuple[int, ...]  # pulses in each group; the first pulse of a group is stressed
    strokes: str  # one letter a pulse
    rate: float  # pulses a minute

    def __post_init__(self) -> None:
        assert sum(self.groups) == len(self.strokes), self

    @property
    def pulse(self) -> float:
        """Seconds from one pulse to the next."""
        return 60 / self.rate

    def at(self, factor: float) -> Cycle:
        """The same cycle at `factor` times the tempo."""
        return Cycle(self.groups, self.strokes, self.rate * factor)


USULS: dict[str, Cycle] = {
    "Sofyan": Cycle((2, 1, 1), "D.Tt", 100),
    "Düyek": Cycle((1, 2, 1, 2, 2), "DT.TD.T.", 220),
    "Yürüksemai": Cycle((3, 3), "DTTDT.", 320),
    "Aksak": Cycle((2, 2, 2, 3), "D.TtD.T.T", 450),
    "Curcuna": Cycle((3, 2, 2, 3), "D.TT.D.T.t", 420),
    "Aksaksemai": Cycle((3, 2, 2, 3), "D.TT.D.T.t", 130),
}

HINDUSTANI_TALAS: dict[str, Cycle] = {
    "Teentaal": Cycle((4, 4, 4, 4), "DDDDDDDDDnnnnDDD", 360),
    "Ektaal": Cycle((2, 2, 2, 2, 2, 2), "DDDtnntTDtDn", 90),
    "Jhaptaal": Cycle((2, 3, 2, 3), "DnDDnTnDDn", 170),
    "Rupak": Cycle((3, 2, 2), "nnTDnDn", 240),
}

CARNATIC_TALAS: dict[str, Cycle] = {
    "adi": Cycle((4, 4, 4, 4), "DtntDtnnDtntTnDn", 330),
    "rupaka": Cycle((4, 4, 4), "DtntTtnnDnTn", 260),
    "mishra chapu": Cycle((3, 2, 2), "DtnDnDn", 300),
    "khanda chapu": Cycle((2, 3), "DnDtn", 240),
}

DANCES: dict[str, Cycle] = {
    "kalamatianos": Cycle((3, 2, 2), "D.tTtTt", 400),
    "syrtos": Cycle((3, 3, 2), "D.tT.tTt", 360),
    "zeibekiko": Cycle((2, 2, 2, 3), "D.T.D.TTt", 110),
    "karsilamas": Cycle((2, 2, 2, 3), "DtTtDtTTt", 420),
    "hasapiko": Cycle((2, 2), "DtTt", 190),
    "tsamikos": Cycle((2, 2, 2), "D.T.Tt", 170),
    "pogonisios": Cycle((4, 4), "D..tT.t.", 200),
}

BEATS: dict[str, Cycle] = {
    "rock": Cycle((4, 4), "KhhhSKhh", 240),
    "punk": Cycle((2, 2), "KhSh", 400),
    "house": Cycle((4, 4, 4, 4), "K.h.K.h.K.h.K.hS", 500),
    "hip-hop": Cycle((4, 4, 4, 4), "K.h.S.hK.KhhS.hh", 340),
    "waltz": Cycle((3,), "KSS", 160),
    "plain": Cycle((4, 4), "........", 240),
}


def strokes(cycle: Cycle, seconds: float, rng: np.random.Generator) -> list[tuple[float, str, float]]:
    """The cycle played over and over: (onset in s, letter, loudness) of each stroke.

    Group beginnings are louder; onsets scatter by a few milliseconds, as a player's do.
    """
    stressed = np.zeros(len(cycle.strokes), bool)
    stressed[np.cumsum((0, *cycle.groups[:-1]))] = True
    pulses = np.arange(int(seconds / cycle.pulse))
    onsets = np.maximum(pulses * cycle.pulse + rng.normal(0, 0.004, len(pulses)), 0)
    place = pulses % len(cycle.strokes)
    loudness = np.where(stressed[place], 1.0, 0.6) * rng.uniform(0.85, 1.0, len(pulses))
    return [
        (float(onset), cycle.strokes[p], float(level))
        for onset, p, level in zip(onsets, place, loudness, strict=True)
        if cycle.strokes[p] != "."
    ]
