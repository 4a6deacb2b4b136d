"""Learning curves: validation ROC-AUC by epoch, from the `{model}.history.csv` beside each checkpoint."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from config import DATASETS, RunName, checkpoint_path
from runtime.errors import DataError
from study.figure_style import COLORS, DASHES, MARKERS, draw_legend, new_figure, save_figure
from study.results import Study, seed_dir

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKS = 6  # about, on a curve
Curve = list[tuple[int, float]]  # epoch, validation ROC-AUC


def read_histories(models_dir: Path, study: Study) -> dict[tuple[str, str], Curve]:
    """The curve of each run of the study's first seed that has a history, by (dataset, run name).

    Raises:
        DataError: a history is damaged.
    """
    curves = {}
    for (dataset, name), result in study.results.items():
        if not result.files:
            continue
        path = checkpoint_path(seed_dir(models_dir, study.seeds[0]), dataset, name).with_suffix(".history.csv")
        if path.is_file():
            curves[dataset, name] = _read(path)
    return curves


def _read(path: Path) -> Curve:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        # Empty where no tag could be scored.
        return [(int(row["epoch"]), float(row["valid_roc_auc"])) for row in rows if row["valid_roc_auc"]]
    except OSError as error:
        raise DataError(f"cannot read {path} ({error.strerror})") from error
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"the history {path} is damaged ({error}); remove it, the curve is then left out") from error


def save_learning_curves(directory: Path, study: Study, curves: Mapping[tuple[str, str], Curve]) -> list[Path]:
    """Draw `learning_curves_{target}` for each target that has curves; returns the paths written.

    Raises:
        DataError: the directory cannot be created.
    """
    written = []
    for dataset in study.datasets:
        models = [
            model
            for model in study.models
            if any((dataset, str(run)) in curves for run in _runs(study, dataset, model))
        ]
        if models:
            figure = _figure(study, dataset, models, curves)
            written += save_figure(figure, directory, f"learning_curves_{dataset}")
    return written


def _runs(study: Study, dataset: str, model: str) -> list[RunName]:
    sources = [source for source in study.datasets if source != dataset]
    return [RunName(model), *(RunName(model, source, final) for final in (False, True) for source in sources)]


def _figure(study: Study, dataset: str, models: list[str], curves: Mapping[tuple[str, str], Curve]) -> Figure:
    """A row a model: the whole network at the left, the final layer at the right."""
    title = f"{DATASETS[dataset].title}: validation ROC-AUC by epoch"
    note = f"Seed {study.seeds[0]}. The thick black line, in both columns, is training from scratch."
    figure = new_figure(7.0, 1.3 + 2.2 * len(models), title, [note, *study.notes])
    heights = [0.2, *[1] * len(models)]
    rows = figure.subplots(len(models) + 1, 2, sharex="row", sharey="row", height_ratios=heights)
    for axes in rows[0]:
        axes.remove()
    panels = rows[1:]
    for row, model in zip(panels, models, strict=True):
        for axes, final in zip(row, (False, True), strict=True):
            axes.set_title(f"{model}, {'final layer' if final else 'whole network'}", loc="left")
            axes.grid(color="0.92", linewidth=0.6)
            _draw(axes, study, dataset, model, final, curves)
        row[0].set_ylabel("ROC-AUC")
    for axes in panels[-1]:
        axes.set_xlabel("epoch")
    handles = {
        label: handle
        for axes in panels.ravel()
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    draw_legend(figure.add_subplot(rows[0][0].get_gridspec()[0, :]), handles)
    return figure


def _draw(
    axes: Axes, study: Study, dataset: str, model: str, final: bool, curves: Mapping[tuple[str, str], Curve]
) -> None:
    for number, source in enumerate(study.datasets):
        curve = curves.get((dataset, str(RunName(model, source, final)))) if source != dataset else None
        if curve:
            style = {"color": COLORS[number % len(COLORS)], "linestyle": DASHES[number % len(DASHES)]}
            # Some marks on each curve, at different epochs, so that a grey print tells them apart.
            step = max(1, len(curve) // _MARKS)
            style |= {"marker": MARKERS[number % len(MARKERS)], "markersize": 4, "markevery": (number % step, step)}
            axes.plot(*zip(*curve, strict=True), linewidth=1.1, label=f"from {DATASETS[source].title}", **style)
    scratch = curves.get((dataset, model))
    if scratch:
        marker = "." if len(scratch) == 1 else None  # a single epoch is no line
        axes.plot(*zip(*scratch, strict=True), color="black", linewidth=2.6, marker=marker, label="from scratch")
