"""The Carnatic-like demo corpus: voice and violin in a raga, with the percussion that the form calls for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datasets.demo.phrases import drone, follow, melody
from datasets.demo.recipes.recipe import Choice, Recipe, Stage
from datasets.demo.rhythms import CARNATIC_TALAS
from datasets.demo.scales import CARNATIC_RAGAS
from datasets.demo.timbres import INSTRUMENTS


@dataclass(frozen=True)
class _Item:
    """One kind of concert item."""

    form: str
    lead: str
    second: str | None = None
    drums: tuple[str, ...] = ()  # none: unmetred
    tempo: float = 1.0
    density: float = 0.5


_ITEMS = {
    "kriti": _Item("Kriti", "Voice", "Violin", ("Mridangam",)),
    "kriti, full": _Item("Kriti", "Voice", "Violin", ("Mridangam", "Ghatam")),
    "kriti, violin": _Item("Kriti", "Violin", None, ("Mridangam",)),
    "varnam": _Item("Varnam - Tana Varnam", "Voice", None, ("Mridangam",), tempo=0.7, density=0.9),
    "thillana": _Item("Thillana", "Voice", "Violin", ("Ghatam",), tempo=1.5, density=1.0),
    "alapana": _Item("Alapana", "Voice", density=0.2),
    "alapana, violin": _Item("Alapana", "Violin", density=0.2),
}
_TIMBRES = {"Voice": "ornate voice", "Violin": "violin", "Mridangam": "mridangam", "Ghatam": "ghatam"}

FACTORS = {"item": tuple(_ITEMS), "raga": tuple(CARNATIC_RAGAS), "tala": tuple(CARNATIC_TALAS)}


def tags(choice: Choice) -> list[str]:
    """The tags of a recording, named as from Dunya's fields; an unmetred alapana has no tala."""
    item = _ITEMS[choice["item"]]
    players = [item.lead, item.second, *item.drums]
    found = [f"raga--{choice['raga']}", *([f"tala--{choice['tala']}"] if item.drums else [])]
    return [*found, *(f"instrument--{player}" for player in players if player), f"form--{item.form}"]


def perform(choice: Choice, stage: Stage) -> np.ndarray:
    """Play a recording: (samples,) float32."""
    rng, item = stage.rng, _ITEMS[choice["item"]]
    scale = CARNATIC_RAGAS[choice["raga"]]
    cycle = CARNATIC_TALAS[choice["tala"]].at(item.tempo * rng.uniform(0.92, 1.08))
    lead = melody(scale, cycle, INSTRUMENTS[_TIMBRES[item.lead]], stage.seconds, rng, item.density)
    stage.play(_TIMBRES[item.lead], lead)
    if item.second:
        second = _TIMBRES[item.second]
        stage.play(second, follow(lead, INSTRUMENTS[second], rng, delay=0.1), 0.7)
    sa = scale.tonic / 2
    stage.play("tanpura", drone((0.75 * sa, sa, sa, sa / 2), 0.9, stage.seconds), 0.3)
    for drum in item.drums:
        stage.drum(_TIMBRES[drum], cycle, 0.8)
    return stage.scaled(rng.uniform(0.5, 0.95))


RECIPE = Recipe(FACTORS, tags, perform, recordings=90, unseen_tag="tala--tisra triputa")
