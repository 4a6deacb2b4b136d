"""The first screen of the report: the answer in sentences, and two tables that carry it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from config import DATASETS
from study.comparisons import TargetStatistics
from study.findings import Teacher, best_result
from study.results import Result, Study, gain
from study.source_means import MeanGain
from study.table_formats import Cell, Table
from study.table_words import BLANK, signed


def teachers_table(ranked: Sequence[Teacher], means: Mapping[str, MeanGain]) -> Table:
    """One row a source; columns that the results do not suffice for are left out.

    Args:
        ranked: of `study.findings.teachers`, not empty.
        means: of `study.source_means`, for intervals; may be empty.
    """
    pairs = sum(teacher.wins for teacher in ranked)
    columns: dict[str, list[Cell]] = {"Source": [Cell(_title(teacher.source)) for teacher in ranked]}
    if ranked[0].mean_gain is not None:
        columns["Mean gain in ROC-AUC"] = [_mean_cell(teacher, means.get(teacher.source)) for teacher in ranked]
    columns["Best source for"] = [Cell(", ".join(map(_title, teacher.best_for)) or "—") for teacher in ranked]
    columns["Target-model pairs won"] = [Cell(f"{teacher.wins} of {pairs}") for teacher in ranked]
    if ranked[0].better is not None:
        columns["Better than from scratch"] = [Cell(f"{of.better} of {of.transfers}") for of in ranked]
        columns["Worse"] = [Cell(str(of.worse)) for of in ranked]
    caption = "Every corpus as a source: whole network trained on, over all other corpora and all models."
    if ranked[0].better is not None:
        caption += " Better and worse: beyond chance, after Holm's correction."
    return Table(caption, tuple(columns), tuple(zip(*columns.values(), strict=True)), text_columns=1)


def _mean_cell(teacher: Teacher, mean: MeanGain | None) -> Cell:
    interval = f"[{signed(mean.interval.low, 3)} to {signed(mean.interval.high, 3)}]" if mean else ""
    return Cell(signed(teacher.mean_gain), interval)


def targets_table(study: Study, found: Mapping[str, TargetStatistics]) -> Table:
    """One row a target: its best transfer, what that gains, and the best that training from scratch reaches."""
    rows = []
    for dataset in study.datasets:
        transfer, scratch = (best_result(study, dataset, transfer=way) for way in (True, False))
        if transfer is None and scratch is None:
            continue
        best = best_result(study, dataset)
        cells = [Cell(_title(dataset)), BLANK, BLANK, BLANK, BLANK]
        if transfer is not None:
            words = f"{transfer.run.model}{', final layer' if transfer.run.final_layer_only else ''}"
            cells[1] = Cell(_title(transfer.run.source), words)
            cells[3] = Cell(f"{transfer.mean('roc_auc'):.4f}", bold=transfer is best)
            cells[2] = _gain_cell(study, transfer, found.get(dataset))
        if scratch is not None:
            cells[4] = Cell(f"{scratch.mean('roc_auc'):.4f}", scratch.run.model, bold=scratch is best)
        rows.append(tuple(cells))
    caption = (
        "Every corpus as a target: its best transfer of all models and sources, what that gains over the same model "
        "from scratch, and the best model from scratch. The higher ROC-AUC is in bold."
    )
    if found:
        caption += " ▲: a gain beyond chance, ▼: a loss beyond chance."
    header = ("Target", "Best source", "Gain", "ROC-AUC", "Best from scratch")
    return Table(caption, header, tuple(rows), text_columns=1)


def _gain_cell(study: Study, result: Result, found: TargetStatistics | None) -> Cell:
    claim = found.gain(result.run, "roc_auc") if found else None
    if claim is not None:
        low, high = signed(claim.interval.low, 3), signed(claim.interval.high, 3)
        mark = ("▲" if claim.difference > 0 else "▼") if claim.significant else ""
        return Cell(signed(claim.difference), f"[{low} to {high}] {mark}".rstrip())
    value = gain(study, result)
    return BLANK if value is None else Cell(signed(value))


def _title(dataset: str) -> str:
    return DATASETS[dataset].title
