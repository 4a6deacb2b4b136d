"""Pictures of an evaluation: ROC and PR curves, and a bar chart of the tags, as PNG.

The mean curves are vertical averages (Fawcett 2006, An introduction to ROC analysis, section 8): at each
false positive rate the mean of the tags' true positive rates, at each recall the mean of their
precisions. The areas under them are therefore the macro ROC-AUC and the macro PR-AUC. PR curves are
drawn as the steps that average precision adds up.

matplotlib is imported when a picture is drawn, so that nothing else waits for it.
"""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.metrics import precision_recall_curve, roc_curve

from evaluation.metrics import Metrics, TagMetrics
from evaluation.recording_scores import RecordingScores
from evaluation.reports import ReportFiles
from runtime.atomic_files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
HIGHLIGHTED = 3  # tags named at each end of the ranking
LONGEST_NAME = 44  # characters; longer tag names are cut
# Told apart in greyscale too: the blue is dark, the orange light, and lines differ by dashes.
BEST, WORST, OTHERS = "#0b3c7d", "#c2570c", "#c4c4c4"
BEST_LIGHT, WORST_LIGHT = "#8fb0d9", "#f0b266"
DASHES = ("-", "--", ":")
GRID = np.linspace(0, 1, 1001)


@dataclass(frozen=True)
class Curve:
    """A curve of one tag as points (x, y) with x ascending."""

    tag: str
    area: float
    x: np.ndarray
    y: np.ndarray


def save_plots(
    files: ReportFiles, title: str, metrics: Metrics, recordings: RecordingScores, notes: Sequence[str] = ()
) -> None:
    """Draw `files.curves` (ROC and PR curves) and `files.tag_bars` (areas of each tag).

    Args:
        title: of both pictures.
        metrics: of the labels and scores of `recordings`.
        notes: sentences to print under both pictures.

    Raises:
        OSError: a file cannot be written.
    """
    if metrics.exclusion_note:
        notes = [metrics.exclusion_note, *notes]
    with _style([title, *recordings.tags, *notes]):
        _save(_curves_figure(title, metrics, recordings, notes), files.curves)
        _save(_tag_bars_figure(title, metrics, notes), files.tag_bars)


@contextmanager
def _style(texts: Sequence[str]):
    """matplotlib's own settings, whatever the user's are, with fonts for `texts`."""
    import matplotlib as mpl

    from evaluation.fonts import font_families

    settings = {
        "font.family": font_families(texts),
        "font.size": 9,
        "text.parse_math": False,  # a tag with two $ is no formula
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(settings)
        yield


def _save(figure: Figure, path: Path) -> None:
    with warnings.catch_warnings(), atomic_write(path) as file:
        # What fonts lack, font_families has said in one line.
        warnings.filterwarnings("ignore", "Glyph .* missing|Matplotlib currently does not support .* natively")
        figure.savefig(file, format="png", dpi=DPI)


def roc_curves(metrics: Metrics, recordings: RecordingScores) -> list[Curve]:
    """The ROC curve of each tag that is not excluded: x false positive rate, y true positive rate."""
    curves = []
    for row, labels, scores in zip(metrics.per_tag, recordings.labels.T, recordings.scores.T, strict=True):
        if row.tag not in metrics.excluded:
            x, y, _ = roc_curve(labels, scores)
            curves.append(Curve(row.tag, row.roc_auc, x, y))
    return curves


def pr_curves(metrics: Metrics, recordings: RecordingScores) -> list[Curve]:
    """The PR curve of each tag that is not excluded: x recall, y the precision from the last x up to this one."""
    curves = []
    for row, labels, scores in zip(metrics.per_tag, recordings.labels.T, recordings.scores.T, strict=True):
        if row.tag not in metrics.excluded:
            precision, recall, _ = precision_recall_curve(labels, scores)
            # One point for each recall, the first that reaches it: the others add nothing to the average precision.
            x, first = np.unique(recall[::-1], return_index=True)
            y = precision[::-1][first]
            y[0] = y[1]  # scikit-learn's point at recall 0 is a convention, not a measurement
            curves.append(Curve(row.tag, row.pr_auc, x, y))
    return curves


def mean_roc(curves: Sequence[Curve]) -> np.ndarray:
    """Mean true positive rate at the false positive rates of `GRID`."""
    return np.mean([np.interp(GRID, curve.x, curve.y) for curve in curves], axis=0)


def mean_pr(curves: Sequence[Curve]) -> np.ndarray:
    """Mean precision at the recalls of `GRID`."""
    return np.mean([curve.y[np.searchsorted(curve.x, GRID)] for curve in curves], axis=0)


def _curves_figure(title: str, metrics: Metrics, recordings: RecordingScores, notes: Sequence[str]) -> Figure:
    from matplotlib.figure import Figure

    footer = _wrapped(notes)
    figure = Figure(figsize=(10, 7.3 + 0.16 * len(footer)), layout="constrained")
    figure.suptitle(title, fontsize=12)
    (roc_axes, pr_axes), legend_axes = figure.subplots(2, 2, height_ratios=(4.6, 1.75))
    roc_axes.set(title="ROC curves", xlabel="false positive rate", ylabel="true positive rate")
    pr_axes.set(title="Precision-recall curves", xlabel="recall", ylabel="precision")
    _draw_curves(roc_axes, roc_curves(metrics, recordings), mean_roc, "default")
    _draw_curves(pr_axes, pr_curves(metrics, recordings), mean_pr, "steps-pre")
    base_rates = [row.support / metrics.n_recordings for row in metrics.per_tag if row.tag not in metrics.excluded]
    if base_rates:
        base_rate = np.mean(base_rates)
        chance = {"color": "black", "linewidth": 0.9, "linestyle": (0, (1, 3))}
        roc_axes.plot([0, 1], [0, 1], label="0.500  chance", **chance)
        label = f"{base_rate:.3f}  chance (mean base rate of the tags)"
        pr_axes.plot([0, 1], [base_rate, base_rate], label=label, **chance)
    for axes, below in zip((roc_axes, pr_axes), legend_axes, strict=True):
        below.set_axis_off()
        below.legend(*axes.get_legend_handles_labels(), loc="upper left", frameon=False, fontsize=8, borderaxespad=0)
    _write_footer(figure, footer)
    return figure


def _draw_curves(
    axes: Axes, curves: Sequence[Curve], mean: Callable[[Sequence[Curve]], np.ndarray], drawstyle: str
) -> None:
    """All tags thin and grey, the best and the worst in colour, their mean on top; labels begin with the area."""
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), box_aspect=1)
    axes.grid(color="0.92", linewidth=0.6)
    if not curves:
        axes.text(0.5, 0.6, "no tag can be scored", ha="center")
        return
    area = np.mean([curve.area for curve in curves])
    label = f"{area:.3f}  mean of the tags (macro average)"
    axes.plot(GRID, mean(curves), color="black", linewidth=2.4, zorder=4, label=label)
    ranked = sorted(curves, key=lambda curve: -curve.area)
    n_best = min(HIGHLIGHTED, (len(ranked) + 1) // 2)
    n_worst = min(HIGHLIGHTED, len(ranked) - n_best)
    for color, group in ((BEST, ranked[:n_best]), (WORST, ranked[len(ranked) - n_worst :])):
        for curve, dashes in zip(group, DASHES, strict=False):
            label = f"{curve.area:.3f}  {_shortened(curve.tag)}"
            style = {"color": color, "linewidth": 1.3, "linestyle": dashes, "drawstyle": drawstyle}
            axes.plot(curve.x, curve.y, zorder=3, label=label, **style)
    for i, curve in enumerate(ranked[n_best : len(ranked) - n_worst]):
        label = None if i else "each of the other tags"
        axes.plot(curve.x, curve.y, color=OTHERS, linewidth=0.6, drawstyle=drawstyle, label=label)


def _tag_bars_figure(title: str, metrics: Metrics, notes: Sequence[str]) -> Figure:
    """One row a tag, the highest ROC-AUC first, tags that are not defined last."""
    from matplotlib.figure import Figure

    footer = _wrapped(notes)
    rows = sorted(metrics.per_tag, key=lambda row: (row.tag in metrics.excluded, -np.nan_to_num(row.roc_auc)))
    figure = Figure(figsize=(10, 1.5 + 0.21 * len(rows) + 0.16 * len(footer)), layout="constrained")
    figure.suptitle(title, fontsize=12)
    roc_axes, pr_axes = figure.subplots(1, 2, sharey=True)
    names = [f"{_shortened(row.tag)}  ({row.support})" for row in rows]
    roc_axes.set_yticks(range(len(rows)), names, fontsize=8)
    roc_axes.set_ylim(len(rows) - 0.4, -0.6)
    roc_axes.annotate(
        "tag  (recordings that have it)", (0, 1), (-6, 6), "axes fraction", "offset points", fontsize=8, ha="right"
    )
    base_rates = [row.support / metrics.n_recordings for row in rows]
    _draw_bars(roc_axes, rows, [row.roc_auc for row in rows], [0.5] * len(rows), BEST_LIGHT, "chance")
    _draw_bars(pr_axes, rows, [row.pr_auc for row in rows], base_rates, WORST_LIGHT, "base rate (chance)")
    for axes, name, macro in ((roc_axes, "ROC-AUC", metrics.roc_auc), (pr_axes, "PR-AUC", metrics.pr_auc)):
        if not np.isnan(macro):
            axes.axvline(
                macro, color="0.3", linewidth=1, linestyle="--", zorder=1.5, label=f"macro average {macro:.4f}"
            )
        axes.set_title(name, loc="left", pad=20)
        axes.set(xlim=(0, 1.1), xticks=np.arange(0, 1.01, 0.25))
        axes.tick_params(axis="y", length=0)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=8, borderaxespad=0.2)
    _write_footer(figure, footer)
    return figure


def _draw_bars(
    axes: Axes,
    rows: Sequence[TagMetrics],
    areas: Sequence[float],
    chance: Sequence[float],
    color: str,
    chance_label: str,
) -> None:
    """A bar with its value for each area, and a tick where chance is; in words where there is no area."""
    positions, areas, chance = np.arange(len(rows)), np.array(areas), np.array(chance)
    defined = ~np.isnan(areas)
    axes.barh(positions[defined], areas[defined], height=0.72, color=color)
    ends = positions[defined] - 0.42, positions[defined] + 0.42
    axes.vlines(chance[defined], *ends, color="black", linewidth=1.3, label=chance_label)
    style = {"va": "center", "fontsize": 7, "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 0.8}}
    for position, row, area in zip(positions, rows, areas, strict=True):
        if np.isnan(area):
            lacking = "negative" if row.support else "positive"
            axes.text(0.01, position, f"not defined: no {lacking} recording", fontstyle="italic", **style)
        else:
            axes.text(area + 0.012, position, f"{area:.3f}", **style)


def _shortened(tag: str) -> str:
    tag = " ".join(tag.split())
    return tag if len(tag) <= LONGEST_NAME else f"{tag[: LONGEST_NAME - 1]}…"


def _wrapped(notes: Sequence[str]) -> list[str]:
    return [line for note in notes for line in textwrap.wrap(note, 150)]


def _write_footer(figure: Figure, lines: list[str]) -> None:
    if lines:
        figure.supxlabel("\n".join(lines), fontsize=8, x=0.01, ha="left")
