"""The MagnaTagATune-like demo corpus: one lead instrument, perhaps drums, perhaps a singer."""

from __future__ import annotations

import numpy as np

from datasets.demo.phrases import chords, drone, melody
from datasets.demo.recipes.recipe import Choice, Recipe, Stage
from datasets.demo.rhythms import BEATS
from datasets.demo.scales import western
from datasets.demo.timbres import INSTRUMENTS

_LEADS = {  # tag -> instrument, further tags
    "guitar": ("guitar", ()),
    "violin": ("violin", ("strings", "classical")),
    "flute": ("flute", ("classical",)),
    "harpsichord": ("harpsichord", ("classical",)),
    "synth": ("sawtooth", ("electronic",)),
    "sitar": ("sitar", ("indian",)),
}
_VOICES = {"female": "female voice", "male": "male voice"}
_BEATS = {"rock": ("drum kit", BEATS["rock"]), "techno": ("drum machine", BEATS["house"])}
_TEMPO = {"slow": (0.4, 0.2), None: (0.9, 0.5), "fast": (1.8, 0.9)}  # factor, how often notes are divided
_PEAK = {"quiet": 0.08, None: 0.3, "loud": 0.95}

FACTORS = {
    "lead": tuple(_LEADS),
    "beat": ("rock", "techno", None, None),
    "voice": ("female", "male", None, None),
    "tempo": ("slow", "fast", None),
    "loudness": ("quiet", "loud", None),
    "mode": ("major", "minor"),
}


def tags(choice: Choice) -> list[str]:
    """The tags of a clip, named as in MagnaTagATune."""
    found = [choice["lead"], *_LEADS[choice["lead"]][1]]
    found += ["drums", choice["beat"]] if choice["beat"] else []
    found += ["vocal", choice["voice"]] if choice["voice"] else ["no vocals"]
    return found + [choice[factor] for factor in ("tempo", "loudness") if choice[factor]]


def perform(choice: Choice, stage: Stage) -> np.ndarray:
    """Play a clip: (samples,) float32."""
    rng = stage.rng
    tonic = 220 * 2 ** (rng.integers(-5, 7) / 12)
    tempo, density = _TEMPO[choice["tempo"]]
    tempo *= rng.uniform(0.92, 1.08)
    plain = BEATS["plain"].at(tempo)
    scale = western(tonic, choice["mode"])
    drum, cycle = _BEATS.get(choice["beat"], (None, BEATS["plain"]))
    instrument = _LEADS[choice["lead"]][0]
    stage.play(instrument, melody(scale, plain, INSTRUMENTS[instrument], stage.seconds, rng, density))
    if choice["lead"] == "sitar":
        sa = tonic / 2
        stage.play("tanpura", drone((1.5 * sa, 2 * sa, 2 * sa, sa), 0.9, stage.seconds), 0.4)
    elif choice["lead"] in ("guitar", "harpsichord", "synth"):
        for voice in chords(scale, plain, stage.seconds, rng, tonic / 2):
            stage.play(instrument, voice, 0.3)
    if choice["voice"]:
        singer = _VOICES[choice["voice"]]
        sung = melody(scale, plain, INSTRUMENTS[singer], stage.seconds, rng, 0.4 * density)
        stage.play(singer, sung, 1.2)
    if drum:
        stage.drum(drum, cycle.at(tempo), 0.9)
    return stage.scaled(_PEAK[choice["loudness"]])


RECIPE = Recipe(FACTORS, tags, perform, recordings=150, spread=0.0, outside=4)
