"""The Hindustani-like demo corpus: a raga over the tanpura, with the ensemble that its form calls for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datasets.demo.phrases import drone, follow, melody
from datasets.demo.recipes.recipe import Choice, Recipe, Stage
from datasets.demo.rhythms import HINDUSTANI_TALAS
from datasets.demo.scales import HINDUSTANI_RAGAS
from datasets.demo.timbres import INSTRUMENTS


@dataclass(frozen=True)
class _Ensemble:
    form: str | None
    lead: str
    second: str | None  # plays after the lead
    drum: str
    tempo: float = 1.0
    density: float = 0.5


_ENSEMBLES = {
    "khayal": _Ensemble("Khayal", "Voice", "Harmonium", "Tabla"),
    "dhrupad": _Ensemble("Dhrupad", "Voice", None, "Pakhavaj", tempo=0.7, density=0.1),
    "thumri": _Ensemble("Thumri", "Voice", "Sarangi", "Tabla"),
    "tarana": _Ensemble("Tarana", "Voice", "Harmonium", "Tabla", tempo=1.5, density=1.0),
    "sitar": _Ensemble(None, "Sitar", None, "Tabla", density=0.7),
    "bansuri": _Ensemble(None, "Bansuri", None, "Tabla", density=0.4),
}
_TIMBRES = {
    "Voice": "ornate voice",
    "Harmonium": "harmonium",
    "Sarangi": "sarangi",
    "Sitar": "sitar",
    "Bansuri": "bansuri",
    "Tabla": "tabla",
    "Pakhavaj": "pakhavaj",
}

FACTORS = {
    "ensemble": tuple(_ENSEMBLES),
    "raga": tuple(HINDUSTANI_RAGAS),
    "tala": tuple(HINDUSTANI_TALAS),
    "tambura": ("Tambura", "Tambura", None),
}


def tags(choice: Choice) -> list[str]:
    """The tags of a recording, named as from Dunya's fields."""
    ensemble = _ENSEMBLES[choice["ensemble"]]
    players = [ensemble.lead, ensemble.second, ensemble.drum, choice["tambura"]]
    found = [f"raga--{choice['raga']}", f"tala--{choice['tala']}"]
    found += [f"instrument--{player}" for player in players if player]
    return found + ([f"form--{ensemble.form}"] if ensemble.form else [])


def perform(choice: Choice, stage: Stage) -> np.ndarray:
    """Play a recording: (samples,) float32."""
    rng, ensemble = stage.rng, _ENSEMBLES[choice["ensemble"]]
    scale = HINDUSTANI_RAGAS[choice["raga"]]
    cycle = HINDUSTANI_TALAS[choice["tala"]].at(ensemble.tempo * rng.uniform(0.92, 1.08))
    lead = melody(scale, cycle, INSTRUMENTS[_TIMBRES[ensemble.lead]], stage.seconds, rng, ensemble.density)
    stage.play(_TIMBRES[ensemble.lead], lead)
    if ensemble.second:
        second = _TIMBRES[ensemble.second]
        stage.play(second, follow(lead, INSTRUMENTS[second], rng, delay=0.15), 0.8)
    if choice["tambura"]:
        sa = scale.tonic / 2
        stage.play("tanpura", drone((0.75 * sa, sa, sa, sa / 2), 0.9, stage.seconds), 0.7)
    stage.drum(_TIMBRES[ensemble.drum], cycle, 0.9)
    return stage.scaled(rng.uniform(0.5, 0.95))


RECIPE = Recipe(FACTORS, tags, perform, recordings=90, unseen_tag="raga--Durga")
