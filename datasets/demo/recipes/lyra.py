"""The Lyra-like demo corpus: regional ensembles of Greek music, each with its modes and dances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datasets.demo.phrases import chords, drone, follow, melody, repeat_strokes
from datasets.demo.recipes.recipe import Choice, Recipe, Stage
from datasets.demo.rhythms import DANCES
from datasets.demo.scales import GREEK_MODES
from datasets.demo.timbres import INSTRUMENTS


@dataclass(frozen=True)
class Region:
    """A regional or urban style: how Lyra labels it and what is played."""

    genres: str
    place: str  # the literal text "None" where a style has no place, as in Lyra
    coordinates: str
    lead: str
    others: tuple[str, ...]
    mode: str
    dance: str


REGIONS = {
    "aegean": Region(
        "Traditional|Nisiotiko|Aegean", "Aegean-sea|Naxos", "37.06|25.48",
        "Violin", ("Santouri", "Laouto"), "dorian", "syrtos",
    ),
    "crete": Region(
        "Traditional|Nisiotiko|Cretan", "Crete", "35.24|24.81", "Lyra", ("Laouto",), "dorian", "karsilamas"
    ),
    "epirus": Region(
        "Traditional|Epirotic", "Epirus", "39.66|20.85", "Klarino", ("Violin", "Laouto"), "pentatonic", "pogonisios"
    ),
    "peloponnese": Region(
        "Traditional|Peloponnesian", "Peloponnese", "37.51|22.37",
        "Klarino", ("Santouri", "Guitar"), "major", "kalamatianos",
    ),
    "rebetiko": Region("Rebetiko", "None", "None", "Bouzouki", ("Guitar",), "hijaz", "zeibekiko"),
    "laiko": Region("Laiko", "None", "None", "Bouzouki", ("Accordion", "Bass"), "minor", "hasapiko"),
}  # fmt: skip
_TIMBRES = {
    "Violin": "violin",
    "Lyra": "lyra",
    "Klarino": "clarinet",
    "Bouzouki": "bouzouki",
    "Santouri": "santouri",
    "Laouto": "laouto",
    "Guitar": "guitar",
    "Accordion": "accordion",
    "Bass": "bass",
}

FACTORS = {"region": tuple(REGIONS), "voice": ("Voice", None), "drum": ("Percussion", None)}


def instruments(choice: Choice) -> list[str]:
    """The instruments of a recording, in Lyra's order (from the end of the alphabet)."""
    region = REGIONS[choice["region"]]
    names = {region.lead, *region.others, *(choice[part] for part in ("voice", "drum") if choice[part])}
    return sorted(names, reverse=True)


def tags(choice: Choice) -> list[str]:
    """The tags of a recording: its instruments, genres and places, prefixed by the column."""
    region = REGIONS[choice["region"]]
    return [
        *(f"instruments--{name}" for name in instruments(choice)),
        *(f"genres--{name}" for name in region.genres.split("|")),
        *(f"place--{name}" for name in region.place.split("|")),
    ]


def perform(choice: Choice, stage: Stage) -> np.ndarray:
    """Play a recording: (samples,) float32."""
    rng, region = stage.rng, REGIONS[choice["region"]]
    scale = GREEK_MODES[region.mode]
    cycle = DANCES[region.dance].at(rng.uniform(0.9, 1.1))
    lead = melody(scale, cycle, INSTRUMENTS[_TIMBRES[region.lead]], stage.seconds, rng)
    stage.play(_TIMBRES[region.lead], repeat_strokes(lead, 0.12) if region.lead == "Bouzouki" else lead)
    if choice["voice"]:
        stage.play("ornate voice", follow(lead, INSTRUMENTS["ornate voice"], rng, delay=0.03))
    for name in region.others:
        instrument = _TIMBRES[name]
        if name in ("Laouto", "Guitar") and len(scale.ascent) == 7:
            for voice in chords(scale, cycle, stage.seconds, rng, scale.tonic / 2):
                stage.play(instrument, voice, 0.4)
        elif name in ("Laouto", "Bass"):  # marks the pulse on the tonic and the fifth below
            notes = drone((scale.tonic / 2, scale.tonic * 0.375), 2 * cycle.pulse, stage.seconds)
            stage.play(instrument, notes, 0.6)
        else:
            stage.play(instrument, follow(lead, INSTRUMENTS[instrument], rng, delay=0.04), 0.6)
    if choice["drum"]:
        stage.drum("toumpeleki", cycle, 0.8)
    return stage.scaled(rng.uniform(0.5, 0.95))


RECIPE = Recipe(FACTORS, tags, perform, recordings=120, valid=0.1, untagged=False)
