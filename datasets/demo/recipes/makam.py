"""The Turkish-makam-like demo corpus: a lead and perhaps a second instrument in heterophony, over an usul."""

from __future__ import annotations

import numpy as np

from datasets.demo.phrases import follow, melody, repeat_strokes
from datasets.demo.recipes.recipe import Choice, Recipe, Stage
from datasets.demo.rhythms import USULS
from datasets.demo.scales import MAKAMS
from datasets.demo.timbres import INSTRUMENTS

_INSTRUMENTS = {  # tag -> timbre
    "Voice": "ornate voice",
    "Ney": "ney",
    "Kanun": "kanun",
    "Tanbur": "tanbur",
    "Oud": "oud",
    "Classical kemençe": "kemençe",
    "Cello": "cello",
}
_DRUMS = {"Bendir": "bendir", "Kudüm": "kudüm"}

FACTORS = {
    "lead": ("Voice", "Ney", "Kanun", "Tanbur", "Oud", "Classical kemençe"),
    "second": ("Cello", None),
    "drum": ("Bendir", "Kudüm", None),
    "makam": ("Hicaz", "Rast", "Kürdilihicazkar"),
    "usul": ("Sofyan", "Düyek", "Aksak"),
}


def tags(choice: Choice) -> list[str]:
    """The tags of a recording, named as from Dunya's fields."""
    players = [choice[part] for part in ("lead", "second", "drum") if choice[part]]
    return [f"makam--{choice['makam']}", f"usul--{choice['usul']}", *(f"instrument--{name}" for name in players)]


def perform(choice: Choice, stage: Stage) -> np.ndarray:
    """Play a recording: (samples,) float32."""
    rng = stage.rng
    cycle = USULS[choice["usul"]].at(rng.uniform(0.92, 1.08))
    timbre = INSTRUMENTS[_INSTRUMENTS[choice["lead"]]]
    lead = melody(MAKAMS[choice["makam"]], cycle, timbre, stage.seconds, rng)
    played = repeat_strokes(lead, 0.13) if choice["lead"] == "Kanun" else lead
    stage.play(_INSTRUMENTS[choice["lead"]], played)
    if choice["second"]:
        second = _INSTRUMENTS[choice["second"]]
        stage.play(second, follow(lead, INSTRUMENTS[second], rng, delay=0.02))
    if choice["drum"]:
        stage.drum(_DRUMS[choice["drum"]], cycle, 0.9)
    return stage.scaled(rng.uniform(0.5, 0.95))


RECIPE = Recipe(FACTORS, tags, perform, recordings=90, unseen_tag="makam--Acemaşiran")
