"""Which recordings a demo corpus has: a balanced design over the factors of its recipe, split by split."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, replace

import numpy as np

from datasets.demo.recipes.recipe import Choice, Recipe
from runtime.errors import UsageError

# Every so often a recording is shorter than a model's input: than that of all three (3 s, 3.69 s,
# 8 s), of two, of one.
SHORT_SECONDS = (2.0, 3.3, 6.0)
_EVERY = 11
_TEST = 0.25  # fraction of the recordings
_ATTEMPTS = 200


@dataclass(frozen=True)
class Recording:
    """One recording to be made."""

    number: int  # its place in the corpus, which also seeds its sound
    split: str | None  # train, valid, test, or None: labelled but in no split
    choice: Choice
    tags: tuple[str, ...]
    seconds: float


def generator(seed: int, dataset: str, number: int = 0) -> np.random.Generator:
    """The random generator of a corpus (number 0) or of one of its recordings (1, 2, ...)."""
    return np.random.default_rng((seed, zlib.crc32(dataset.encode()), number))


def split_sizes(recordings: int, recipe: Recipe) -> dict[str, int]:
    """How many recordings are in train, valid and test; train and valid together are a multiple of ten."""
    training = int(recordings * (1 - _TEST)) // 10 * 10
    valid = round(training * recipe.valid)
    return {"train": training - valid, "valid": valid, "test": recordings - training}


def design(recipe: Recipe, recordings: int, seconds: float, rng: np.random.Generator) -> list[Recording]:
    """Choose the recordings of a corpus.

    Within each split every value of a factor is taken about equally often, in an order drawn for
    each factor. Drawn again until each tag of the training set has recordings with and without
    it in every split, and the validation set no less.

    Args:
        recipe: the corpus.
        recordings: how many in the three splits together.
        seconds: their nominal length.
        rng: source of all choices.

    Raises:
        UsageError: too few recordings for that.
    """
    fewest = math.ceil(math.ceil(max(map(len, recipe.factors.values())) / recipe.valid / 10) * 10 / (1 - _TEST))
    if recordings < fewest:
        raise UsageError(
            f"--recordings {recordings} is too few for every tag to occur in every split; use {fewest} or more"
        )
    sizes = split_sizes(recordings, recipe)
    for _ in range(_ATTEMPTS):
        chosen = [recording for split, size in sizes.items() for recording in _draw(recipe, split, size, seconds, rng)]
        if _is_learnable(chosen):
            break
    else:
        raise UsageError(
            f"--recordings {recordings} is too few for every tag to occur in every split; try {2 * recordings}"
        )
    chosen += _draw(recipe, None, recipe.outside, seconds, rng)
    order = rng.permutation(len(chosen))
    return [replace(chosen[place], number=number) for number, place in enumerate(order, start=1)]


def _draw(recipe: Recipe, split: str | None, size: int, seconds: float, rng: np.random.Generator) -> list[Recording]:
    columns = {}
    for factor, values in recipe.factors.items():
        values = [values[i] for i in rng.permutation(len(values))]
        columns[factor] = [values[i % len(values)] for i in rng.permutation(size)]
    drawn = []
    for i in range(size):
        choice = {factor: column[i] for factor, column in columns.items()}
        length = seconds * rng.uniform(1 - recipe.spread, 1 + recipe.spread)
        if i % _EVERY == 3:
            length = SHORT_SECONDS[i // _EVERY % len(SHORT_SECONDS)]
        tags = tuple(recipe.tags(choice))
        if recipe.untagged and i == 0 and split in ("train", "test"):
            tags = (recipe.unseen_tag,) if recipe.unseen_tag and split == "test" else ()
        drawn.append(Recording(0, split, choice, tags, round(length, 3)))
    return drawn


def _is_learnable(recordings: list[Recording]) -> bool:
    splits = [[set(r.tags) for r in recordings if r.split == split] for split in ("train", "valid", "test")]
    vocabulary = set().union(*splits[0])
    return all(
        any(tag in tags for tags in split) and any(tag not in tags for tags in split)
        for split in splits
        for tag in vocabulary
    )
