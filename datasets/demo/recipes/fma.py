"""The FMA-like demo corpus: eight bands, each with its genres."""

from __future__ import annotations

import numpy as np

from datasets.demo.phrases import chords, drone, melody
from datasets.demo.recipes.recipe import Choice, Recipe, Stage
from datasets.demo.rhythms import BEATS
from datasets.demo.scales import western
from datasets.demo.timbres import INSTRUMENTS

# Genres of a recording, from the special to the general, as FMA lists them.
_GENRES = {
    "punk": ["Punk", "Rock"],
    "indie": ["Indie-Rock", "Rock"],
    "house": ["House", "Electronic"],
    "ambient": ["Ambient Electronic", "Electronic"],
    "chiptune": ["Chiptune", "Chip Music", "Electronic"],
    "hip-hop": ["Hip-Hop"],
    "folk": ["Folk"],
    "soundtrack": ["Soundtrack", "Instrumental"],
}

FACTORS = {"band": tuple(_GENRES), "mode": ("major", "minor"), "voice": ("female voice", "male voice")}


def tags(choice: Choice) -> list[str]:
    """The genres of a recording."""
    return _GENRES[choice["band"]]


def perform(choice: Choice, stage: Stage) -> np.ndarray:
    """Play a recording: (samples,) float32."""
    rng, seconds, band = stage.rng, stage.seconds, choice["band"]
    tonic = 220 * 2 ** (rng.integers(-5, 7) / 12)
    scale = western(tonic, choice["mode"])
    tempo = rng.uniform(0.85, 1.15)
    plain = BEATS["plain"].at(tempo)

    def line(instrument: str, level: float = 1.0, density: float = 0.5, cycle=plain) -> None:
        stage.play(instrument, melody(scale, cycle, INSTRUMENTS[instrument], seconds, rng, density), level)

    def harmony(instrument: str, level: float, lowest: float = tonic / 2, each_pulse: bool = True) -> None:
        for voice in chords(scale, plain, seconds, rng, lowest, each_pulse):
            stage.play(instrument, voice, level)

    if band == "punk":
        harmony("distorted guitar", 0.6, tonic / 2)
        line("shouted voice", 0.9, density=0.8)
        stage.drum("drum kit", BEATS["punk"].at(tempo), 1.0)
    elif band == "indie":
        harmony("guitar", 0.6)
        line(choice["voice"], 1.0, density=0.3)
        line("bass", 0.7)
        stage.drum("drum kit", BEATS["rock"].at(tempo), 0.7)
    elif band == "house":
        harmony("sawtooth", 0.4)
        line("synth bass", 1.0, density=1.0)
        stage.drum("drum machine", BEATS["house"].at(tempo), 1.2)
    elif band == "ambient":
        harmony("pad", 0.8, tonic / 2, each_pulse=False)
        stage.play("pad", drone((tonic / 2,), seconds + 1, seconds), 0.6)
    elif band == "chiptune":
        line("pulse", 1.0, density=1.0, cycle=plain.at(1.8))
        line("pulse", 0.5, density=0.6)
    elif band == "hip-hop":
        line("bass", 1.0)
        line("shouted voice", 0.8, density=1.0)
        stage.drum("drum machine", BEATS["hip-hop"].at(tempo), 1.2)
    elif band == "folk":
        harmony("guitar", 0.6)
        line(choice["voice"], 1.0, density=0.3)
    else:  # soundtrack
        slow = plain.at(0.5)
        line("violin", 1.0, cycle=slow)
        line("cello", 0.8, density=0.2, cycle=slow)
        harmony("piano", 0.4)
    return stage.scaled(rng.uniform(0.5, 0.95))


RECIPE = Recipe(FACTORS, tags, perform, recordings=100, spread=0.0, channels=2, outside=2)
