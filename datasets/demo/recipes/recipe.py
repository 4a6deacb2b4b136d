"""What a demo corpus consists of: the factors its recordings differ in, their tags and their sound."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from datasets.demo import synthesis
from datasets.demo.percussion import DRUMS
from datasets.demo.rhythms import Cycle, strokes
from datasets.demo.synthesis import Notes
from datasets.demo.timbres import INSTRUMENTS, SAMPLE_RATE

Choice = Mapping[str, str | None]  # factor -> the value of one recording


@dataclass
class Stage:
    """Parts sounding together, added one by one."""

    seconds: float
    rng: np.random.Generator
    sound: np.ndarray = field(init=False)  # (samples,) float32

    def __post_init__(self) -> None:
        self.sound = np.zeros(round(self.seconds * SAMPLE_RATE), np.float32)

    def play(self, instrument: str, notes: Notes, level: float = 1.0) -> None:
        """Add a melodic part; `level` is its RMS beside the others'."""
        self.sound += np.float32(level) * synthesis.play(INSTRUMENTS[instrument], notes, len(self.sound), self.rng)

    def drum(self, drum: str, cycle: Cycle, level: float = 1.0) -> None:
        """Add a drum playing a cycle over and over."""
        hits = strokes(cycle, self.seconds, self.rng)
        self.sound += np.float32(level) * synthesis.beat(DRUMS[drum], hits, len(self.sound), self.rng)

    def scaled(self, peak: float) -> np.ndarray:
        """The sum, its largest sample at `peak` (0...1): (samples,) float32."""
        return self.sound * np.float32(peak / max(float(np.max(np.abs(self.sound))), 1e-9))


@dataclass(frozen=True)
class Recipe:
    """How the recordings of a demo corpus are chosen, tagged and played."""

    factors: Mapping[str, tuple[str | None, ...]]  # each value about equally often in every split
    tags: Callable[[Choice], list[str]]
    perform: Callable[[Choice, Stage], np.ndarray]  # -> (samples,) float32 in [-1, 1]
    recordings: int  # by default, in train, valid and test together
    valid: float = 0.2  # fraction of what is not in test
    spread: float = 0.2  # lengths lie within this fraction around the nominal one
    channels: int = 1
    outside: int = 0  # further recordings that have labels but are in no split
    untagged: bool = True  # one training and one test recording have no tag of the vocabulary
    unseen_tag: str | None = None  # the tag that this test recording has instead, if any
