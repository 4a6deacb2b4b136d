"""The figure that answers the study's question: what each source gains, on average and on each target."""

from __future__ import annotations

from pathlib import Path

from config import DATASETS
from study.figure_style import MARKERS, draw_legend, new_figure, save_figure
from study.results import Study
from study.source_means import SourceGains

NAME = "source_gains"


def save_source_figure(directory: Path, study: Study, gains: SourceGains) -> list[Path]:
    """Draw `source_gains`; returns the paths written, none where means over targets cannot be compared.

    Raises:
        DataError: the directory cannot be created.
    """
    means = sorted(gains.means().values(), key=lambda mean: -mean.gain)
    if not means:
        return []
    # Narrow, so that a telephone shows it without making its letters small.
    title = "Gain of each source over training from scratch"
    note = (
        "Black: mean over the other corpora and all models, with its 95 % bootstrap interval. Grey: single targets. "
        "Whole network trained on."
    )
    figure = new_figure(4.1, 1.5 + 0.36 * len(means), title, [note, *study.notes])
    axes, below = figure.subplots(2, 1, height_ratios=[len(means), 1.3])
    axes.axvline(0, color="0.4", linewidth=0.9)
    for number, target in enumerate(study.datasets):
        found = [(one.gain, row) for row, mean in enumerate(means) if (one := gains.on(target, mean.source))]
        style = {"linestyle": "none", "marker": MARKERS[number % len(MARKERS)], "markersize": 4.5}
        axes.plot(
            [value for value, _ in found],
            [row + 0.26 for _, row in found],
            markerfacecolor="0.85",
            markeredgecolor="0.35",
            markeredgewidth=0.6,
            label=f"on {DATASETS[target].title}",
            **style,
        )
    for row, mean in enumerate(means):
        axes.plot([mean.interval.low, mean.interval.high], [row - 0.08] * 2, color="black", linewidth=2)
        axes.plot(mean.gain, row - 0.08, "o", color="black", markersize=7)
    axes.set_yticks(range(len(means)), [DATASETS[mean.source].title for mean in means])
    axes.set_ylim(len(means) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("gain in ROC-AUC")
    axes.locator_params(axis="x", nbins=5)  # more would run into each other
    handles, labels = axes.get_legend_handles_labels()
    draw_legend(below, dict(zip(labels, handles, strict=True)), columns=2)
    return save_figure(figure, directory, NAME)
