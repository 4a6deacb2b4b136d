"""The figures of the study, each as SVG and PNG in `results/figures/`.

    python -m study.figures

`source_gains`              what each source gains on average (`study.source_figure`)
`transfer_matrix_{model}`   every target and source, whole network and final layer
`gain_by_size`              gain over training from scratch against the size of the target
`culture_map`               the corpora in the plane (`study.culture_map`)
`tag_families`, `tag_gains_{target}`   which kinds of tags gain (`study.tag_figures`)
`learning_curves_{target}`  validation ROC-AUC by epoch (`study.learning_curves`)

What the results do not suffice for is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from config import DATASETS, MODELS_DIR
from runtime.arguments import ScriptParser
from runtime.atomic_files import make_directory
from runtime.errors import run_script
from study.arguments import add_study_arguments, study_from
from study.comparisons import TargetStatistics, load_statistics
from study.culture_map import CultureMap, culture_map, gain_matrix
from study.figure_style import COLORS, MARKERS, draw_names, figure_style, new_figure, save_figure
from study.learning_curves import read_histories, save_learning_curves
from study.results import Study, gain
from study.source_figure import save_source_figure
from study.source_means import SourceGains
from study.tag_figures import save_tag_figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOR_MAP = "cividis_r"  # darker evenly: the more a transfer gains, the darker its cell


def write_figures(
    directory: Path, study: Study, statistics: Mapping[str, TargetStatistics], models_dir: Path = MODELS_DIR
) -> list[Path]:
    """Draw all that the results suffice for; returns the paths written.

    Args:
        directory: where to, created if need be.
        study: the results.
        statistics: by target, for marks of significance; may be empty.
        models_dir: where the `.history.csv` of the trainings are.

    Raises:
        DataError: the directory cannot be created, or a history is damaged.
    """
    make_directory(directory)  # there also if nothing can be drawn: the workflow waits for it
    written = []
    tags = [row.tag for result in study.results.values() for report in result.reports for row in report.metrics.per_tag]
    with figure_style([*dict.fromkeys(tags), *study.notes]):
        written += save_source_figure(directory, study, SourceGains(study, statistics))
        for model in study.models:
            if any(result.run.source and result.run.model == model for result in study.results.values()):
                figure = _matrix_figure(study, statistics, model)
                written += save_figure(figure, directory, f"transfer_matrix_{model}")
        if not np.isnan(gain_matrix(study)).all():
            written += save_figure(_size_figure(study), directory, "gain_by_size")
        found = culture_map(study)
        if found is not None:
            written += save_figure(_map_figure(study, found), directory, "culture_map")
        written += save_tag_figures(directory, study)
        written += save_learning_curves(directory, study, read_histories(models_dir, study))
    return written


def _matrix_figure(study: Study, statistics: Mapping[str, TargetStatistics], model: str) -> Figure:
    """Two panels of target × source, one above the other: ROC-AUC in figures, gain over from scratch in colour."""
    n = len(study.datasets)
    how = (
        "Figures are ROC-AUC and, below, the gain over training from scratch, whose ROC-AUC is on the diagonal. "
        "Darker is a higher gain; the best source of each target is in bold."
    )
    notes = [how]
    if statistics:
        notes.append("▲ better, ▼ worse than from scratch (paired bootstrap, p ≤ 0.05 after Holm's correction).")
    width, height = max(5.2, 1.5 + 0.95 * n), 2.4 + 2 * 0.5 * n
    figure = new_figure(width, height, f"{model}: transfer from each corpus to each", [*notes, *study.notes])
    for axes, final in zip(figure.subplots(2, 1), (False, True), strict=True):
        axes.set_title("whole network trained" if not final else "final layer trained", loc="left")
        _draw_matrix(axes, study, statistics, model, final)
        axes.set_xticks(range(n), [DATASETS[name].title for name in study.datasets], fontsize=8)
        axes.set_yticks(range(n), [DATASETS[name].title for name in study.datasets], fontsize=8)
        axes.set(xlabel="source", ylabel="target")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return figure


def _draw_matrix(
    axes: Axes, study: Study, statistics: Mapping[str, TargetStatistics], model: str, final_layer_only: bool
) -> None:
    gains = gain_matrix(study, final_layer_only=final_layer_only, model=model)
    image = axes.imshow(np.ma.masked_invalid(gains), cmap=COLOR_MAP, aspect="auto")
    for row, target in enumerate(study.datasets):
        values = {
            source: result.mean("roc_auc")
            for source in study.datasets
            if (result := study.get(target, model, source, final_layer_only=final_layer_only))
        }
        for column, source in enumerate(study.datasets):
            style = {"ha": "center", "va": "center", "fontsize": 8}
            if source == target:
                scratch = study.get(target, model)
                text = f"{scratch.mean('roc_auc'):.3f}" if scratch else ""
                axes.text(column, row, f"{text}\nscratch" if text else "", fontstyle="italic", color="0.25", **style)
                continue
            if source not in values:
                axes.text(column, row, "—", color="0.5", **style)
                continue
            text = f"{values[source]:.3f}"
            value = gains[row, column]
            if not math.isnan(value):
                text += f"\n{value:+.3f}".replace("-", "−")
                shade = image.norm(value)
                style["color"] = "white" if shade > 0.5 else "black"
            claim = None
            if target in statistics:
                result = study.get(target, model, source, final_layer_only=final_layer_only)
                claim = statistics[target].gain(result.run, "roc_auc")
            if claim is not None and claim.significant:
                text += " ▲" if claim.difference > 0 else " ▼"
            weight = "bold" if values[source] == max(values.values()) else "normal"
            axes.text(column, row, text, fontweight=weight, **style)


def _size_figure(study: Study) -> Figure:
    """One small mark a transfer, one large a target and model: their mean."""
    note = "Small marks are transfers of the whole network, large ones their mean over sources."
    title = "Gain over training from scratch against the size of the target"
    figure = new_figure(7.5, 4.6, title, [note, *study.notes])
    axes = figure.subplots()
    axes.axhline(0, color="0.4", linewidth=0.9)
    sizes = {
        result.dataset: result.training_recordings for result in study.results.values() if result.training_recordings
    }
    for number, model in enumerate(study.models):
        points = []
        for dataset, size in sizes.items():
            gains = [
                value
                for source in study.datasets
                if source != dataset
                and (result := study.get(dataset, model, source))
                and (value := gain(study, result)) is not None
                and not math.isnan(value)
            ]
            x = size * (1.0, 1.06, 0.94)[number % 3]  # models side by side
            style = {"color": COLORS[number], "linestyle": "none", "marker": MARKERS[number]}
            axes.plot([x] * len(gains), gains, markersize=3.5, alpha=0.55, **style)
            if gains:
                points.append((x, float(np.mean(gains))))
        if points:
            axes.plot(*zip(*points, strict=True), markersize=8, markeredgecolor="black", label=model, **style)
    axes.set_xscale("log")
    axes.set(xlabel="training recordings of the target", ylabel="gain in ROC-AUC")
    axes.margins(x=0.12)
    by_size = sorted(sizes.items(), key=lambda item: item[1])
    # Neighbours on two levels: sizes may be close.
    labels = ["\n\n" * (i % 2) + f"{DATASETS[name].title}\n{size}" for i, (name, size) in enumerate(by_size)]
    axes.set_xticks([size for _, size in by_size], labels)
    axes.set_xticks([], minor=True)
    axes.legend(frameon=False)
    return figure


def _map_figure(study: Study, found: CultureMap) -> Figure:
    how = (
        "Classical multidimensional scaling of how far two corpora's mutual help (mean gain in ROC-AUC over training "
        "from scratch, whole network, all models, centred for each target) falls short of the greatest. Near: they "
        f"help each other most. Directions mean nothing; the plane shows {found.explained:.0%} of the variance."
    )
    figure = new_figure(5.8, 5.2, "Map of the corpora by how much they help each other", [how, *study.notes])
    axes = figure.subplots()
    for number, (x, y) in enumerate(found.points):
        axes.plot(x, y, MARKERS[number % len(MARKERS)], color=COLORS[number % len(COLORS)], markersize=9)
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.2)
    axes.tick_params(labelbottom=False, labelleft=False, length=0)
    axes.spines[:].set_color("0.8")
    draw_names(axes, found.points, [DATASETS[dataset].title for dataset in found.datasets])
    return figure


def main() -> None:
    parser = ScriptParser(__doc__)
    add_study_arguments(parser)
    arguments = parser.parse_args()
    study = study_from(arguments)
    statistics = load_statistics(arguments.results_dir, study)
    directory = arguments.results_dir / "figures"
    written = write_figures(directory, study, statistics, arguments.models_dir)
    print(f"{len(written)} files written to {directory}")


if __name__ == "__main__":
    run_script(main)
