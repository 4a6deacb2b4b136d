"""The recipe of each demo corpus: which recordings it has, how they sound and how they are tagged."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from datasets.demo.recipes import carnatic, fma, hindustani, lyra, magnatagatune, makam
from datasets.demo.recipes.recipe import Recipe

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "magnatagatune": magnatagatune.RECIPE,
        "fma": fma.RECIPE,
        "lyra": lyra.RECIPE,
        "makam": makam.RECIPE,
        "hindustani": hindustani.RECIPE,
        "carnatic": carnatic.RECIPE,
    }
)
