"""Which tags gain from transfer: by family (instrument, makam / raga, usul / tala …), and one by one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from config import DATASETS
from study.figure_style import COLORS, MARKERS, new_figure, save_figure, shortened
from study.results import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FAMILIES = {  # by what stands before "--" in a tag
    "instrument": "instrument",
    "instruments": "instrument",
    "makam": "makam / raga",
    "raga": "makam / raga",
    "usul": "usul / tala",
    "tala": "usul / tala",
    "form": "form",
    "genres": "genre",
    "place": "place",
}
_GENRES_ONLY = ("fma",)  # its tags are genres, without saying so
UNSORTED = "all tags"  # of MagnaTagATune, which does not say what kind a tag is
ORDER = ("instrument", "makam / raga", "usul / tala", "form", "genre", "place", UNSORTED)


def tag_family(dataset: str, tag: str) -> str:
    """The family a tag belongs to, one of `ORDER`."""
    if dataset in _GENRES_ONLY:
        return "genre"
    prefix, separator, _ = tag.partition("--")
    return _FAMILIES.get(prefix, UNSORTED) if separator else UNSORTED


def tag_gains(study: Study, dataset: str, model: str) -> dict[str, float]:
    """Gain of each tag in ROC-AUC over training from scratch: mean over sources, whole network.

    Tags that are not defined on the test set are left out; empty where a result is missing.
    """
    scratch = study.get(dataset, model)
    transfers = [result for source in study.datasets if (result := study.get(dataset, model, source))]
    if scratch is None or not scratch.reports or not transfers:
        return {}
    before = scratch.tag_means("roc_auc")
    after = [result.tag_means("roc_auc") for result in transfers]
    gains = {tag: float(np.mean([means[tag] for means in after])) - value for tag, value in before.items()}
    return {tag: value for tag, value in gains.items() if not math.isnan(value)}


def save_tag_figures(directory: Path, study: Study) -> list[Path]:
    """Draw `tag_families` and `tag_gains_{target}`; returns the paths written (none without scores of tags).

    Raises:
        DataError: the directory cannot be created.
    """
    gains = {dataset: {model: tag_gains(study, dataset, model) for model in study.models} for dataset in study.datasets}
    gains = {dataset: by_model for dataset, by_model in gains.items() if any(by_model.values())}
    if not gains:
        return []
    written = save_figure(_families_figure(study, gains), directory, "tag_families")
    for dataset, by_model in gains.items():
        written += save_figure(_tags_figure(study, dataset, by_model), directory, f"tag_gains_{dataset}")
    return written


def _families_figure(study: Study, gains: dict[str, dict[str, dict[str, float]]]) -> Figure:
    """One row a target and family: the mean gain of its tags for each model."""
    rows = []
    for dataset, by_model in gains.items():
        tags = dict.fromkeys(tag for of in by_model.values() for tag in of)
        for family in ORDER:
            members = [tag for tag in tags if tag_family(dataset, tag) == family]
            if members:
                means = {model: [of[tag] for tag in members if tag in of] for model, of in by_model.items()}
                rows.append((f"{DATASETS[dataset].title}: {family} ({len(members)})", means))
    title = "Gain over training from scratch by family of tags"
    note = "Mean over the tags of a family (how many in parentheses) and over sources; whole network."
    figure = new_figure(7.5, 1.4 + 0.26 * len(rows), title, [note, *study.notes])
    _draw_dots(figure, study, [label for label, _ in rows], [means for _, means in rows])
    return figure


def _tags_figure(study: Study, dataset: str, by_model: dict[str, dict[str, float]]) -> Figure:
    """One row a tag, by family, the highest gain first."""
    tags = dict.fromkeys(tag for of in by_model.values() for tag in of)
    means = {tag: {model: [of[tag]] for model, of in by_model.items() if tag in of} for tag in tags}
    ranked = sorted(
        tags,
        key=lambda tag: (ORDER.index(tag_family(dataset, tag)), -float(np.mean([v for [v] in means[tag].values()]))),
    )
    title = f"{DATASETS[dataset].title}: gain of each tag over training from scratch"
    note = "Mean over sources; whole network."
    figure = new_figure(7.5, 1.4 + 0.21 * len(ranked), title, [note, *study.notes])
    _draw_dots(figure, study, [shortened(tag) for tag in ranked], [means[tag] for tag in ranked])
    return figure


def _draw_dots(figure: Figure, study: Study, labels: list[str], rows: list[dict[str, list[float]]]) -> None:
    axes = figure.subplots()
    axes.axvline(0, color="0.4", linewidth=0.9)
    for number, model in enumerate(study.models):
        points = [(float(np.mean(means[model])), row) for row, means in enumerate(rows) if means.get(model)]
        if points:
            style = {"color": COLORS[number % len(COLORS)], "marker": MARKERS[number % len(MARKERS)]}
            axes.plot(*zip(*points, strict=True), linestyle="none", markersize=6, alpha=0.85, label=model, **style)
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(axis="y", color="0.92", linewidth=0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("gain in ROC-AUC")
    axes.legend(frameon=False, fontsize=8, ncols=len(study.models), loc="lower right", bbox_to_anchor=(1, 1))
