"""The tables of the study: `results/single_domain.*`, `transfer.*` and `source_pairs.*` as csv, md and tex.

    python -m study.tables

The `.csv` has one row a run with every number in full; `.md` and `.tex` are for reading. With several
seeds a figure is the mean, followed by ± the standard deviation over seeds (n − 1). Pairs of sources
(`study.pair_tables`) are compared where the scores of recordings are there.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from config import DATASETS
from runtime.arguments import ScriptParser
from runtime.atomic_files import atomic_write, make_directory
from runtime.errors import run_script
from study.arguments import add_study_arguments, study_from
from study.comparisons import Claim, TargetStatistics, load_statistics
from study.pair_tables import PAIR_COLUMNS, mean_pairs_table, pair_rows, source_pairs_table
from study.results import METRIC_TITLES, METRICS, Result, Study, published_study
from study.source_means import SourceGains
from study.table_formats import Cell, Table, to_latex, to_markdown
from study.table_words import BLANK, FINAL, SYNTHETIC, WHOLE, signed

_GAIN = ("_gain", "_gain_low", "_gain_high", "_gain_p_holm")
_PER_METRIC = ("", "_sd", "_low", "_high", "_published", "_difference", *_GAIN)
COLUMNS = (
    "target",
    "model",
    "source",
    "trained",
    "seeds",
    *(m + suffix for m in METRICS for suffix in _PER_METRIC),
    SYNTHETIC,
)


def single_domain_table(study: Study, statistics: Mapping[str, TargetStatistics], published: Study | None) -> Table:
    """One row a target and model: the model trained on that corpus alone.

    Args:
        study: the results.
        statistics: by target, of `study.comparisons`; empty where there are no scores.
        published: what to show beside the results; None to leave that out.
    """
    rows = []
    for dataset in study.datasets:
        results = [result for model in study.models if (result := study.get(dataset, model))]
        for result in results:
            cells = [Cell(DATASETS[dataset].title), Cell(result.run.model)]
            for metric in METRICS:
                cells += _figure_cells(result, metric, results, statistics.get(dataset), published)
            rows.append(tuple(cells))
    caption = "Single-domain training: test results, macro averages over tags. Best of each target in bold."
    header = ("Target", "Model", *_figure_headers("", published))
    return Table(_caption(caption, study, statistics, published), header, tuple(rows), text_columns=2)


def transfer_table(study: Study, statistics: Mapping[str, TargetStatistics], published: Study | None) -> Table:
    """One row a target, model and source: the transfer of the whole network and of the final layer alone."""
    rows = []
    for dataset in study.datasets:
        transfers = [result for result in study.of(dataset) if result.run.source]
        by_kind = [[result for result in transfers if result.run.final_layer_only is final] for final in (False, True)]
        for model in study.models:
            for source in study.datasets:
                pair = [study.get(dataset, model, source, final_layer_only=final) for final in (False, True)]
                if source == dataset or not any(pair):
                    continue
                cells = [Cell(DATASETS[dataset].title), Cell(model), Cell(DATASETS[source].title)]
                for result, rivals in zip(pair, by_kind, strict=True):
                    for metric in METRICS:
                        cells += _figure_cells(result, metric, rivals, statistics.get(dataset), published)
                rows.append(tuple(cells))
    caption = (
        "Transfer: test results, macro averages over tags, of the whole network trained on and of the final layer "
        "alone. Best of each target, for either way, in bold."
    )
    if statistics:
        caption += (
            " ▲ and ▼: better and worse than the same model trained from scratch (paired bootstrap, p ≤ 0.05 after "
            "Holm's correction)."
        )
    headers = (*_figure_headers("Whole network: ", published), *_figure_headers("Final layer: ", published))
    header = ("Target", "Model", "Source", *headers)
    return Table(_caption(caption, study, statistics, published), header, tuple(rows), text_columns=3)


def _figure_headers(prefix: str, published: Study | None) -> list[str]:
    beside = ["published (difference)"] if published else []
    return [text for metric in METRICS for text in (f"{prefix}{METRIC_TITLES[metric]}", *beside)]


def _caption(caption: str, study: Study, statistics: Mapping[str, TargetStatistics], published: Study | None) -> str:
    parts = [caption]
    if len(study.seeds) > 1:
        parts.append("Mean ± standard deviation over seeds.")
    if statistics:
        parts.append("In brackets the 95 % bootstrap interval over test recordings.")
    if published:
        parts.append("Published: Papaioannou et al. 2023, where there is a figure; behind it ours minus theirs.")
    return " ".join((*parts, *study.notes))


def _figure_cells(
    result: Result | None,
    metric: str,
    rivals: Sequence[Result],
    statistics: TargetStatistics | None,
    published: Study | None,
) -> list[Cell]:
    """The figure, and beside it the published one."""
    cells = [BLANK if result is None else _figure_cell(result, metric, rivals, statistics)]
    if published is not None:
        theirs = published.results.get((result.dataset, str(result.run))) if result else None
        cells.append(_published_cell(result.mean(metric), theirs.mean(metric)) if theirs else BLANK)
    return cells


def _figure_cell(result: Result, metric: str, rivals: Sequence[Result], statistics: TargetStatistics | None) -> Cell:
    value = result.mean(metric)
    if math.isnan(value):
        return Cell("not defined")
    best = max(other for rival in rivals if not math.isnan(other := rival.mean(metric)))
    rest = []
    deviation = result.deviation(metric)
    if deviation is not None:
        rest.append(f"± {deviation:.4f}")
    if statistics and (interval := statistics.intervals.get((str(result.run), metric))):
        rest.append(f"[{interval.low:.3f}–{interval.high:.3f}]")
    if statistics and (claim := statistics.gain(result.run, metric)) and claim.significant:
        rest.append("▲" if claim.difference > 0 else "▼")
    return Cell(f"{value:.4f}", " ".join(rest), bold=value == best)


def _published_cell(ours: float, theirs: float) -> Cell:
    return Cell(f"{theirs:.4f}", f"({signed(ours - theirs)})")


def rows_for_csv(
    results: Sequence[Result], statistics: Mapping[str, TargetStatistics], published: Study | None
) -> list[dict[str, object]]:
    """One row a run, the columns of `COLUMNS`; None where there is nothing to say."""
    rows = []
    for result in results:
        found, run = statistics.get(result.dataset), result.run
        row: dict[str, object] = {
            "target": result.dataset,
            "model": run.model,
            "source": run.source,
            "trained": FINAL if run.final_layer_only else WHOLE,
            "seeds": len(result.seeds),
        }
        theirs = published.results.get((result.dataset, str(run))) if published else None
        for metric in METRICS:
            value = result.mean(metric)
            interval = found.intervals.get((str(run), metric)) if found else None
            claim: Claim | None = found.gain(run, metric) if found else None
            row[metric] = None if math.isnan(value) else value
            row[f"{metric}_sd"] = result.deviation(metric)
            row[f"{metric}_low"] = interval.low if interval else None
            row[f"{metric}_high"] = interval.high if interval else None
            row[f"{metric}_published"] = theirs.mean(metric) if theirs else None
            row[f"{metric}_difference"] = value - theirs.mean(metric) if theirs else None
            row[f"{metric}_gain"] = claim.difference if claim else None
            row[f"{metric}_gain_low"] = claim.interval.low if claim else None
            row[f"{metric}_gain_high"] = claim.interval.high if claim else None
            row[f"{metric}_gain_p_holm"] = claim.p_holm if claim else None
        rows.append(row)
    return rows


def write_tables(results_dir: Path, study: Study, statistics: Mapping[str, TargetStatistics]) -> list[Path]:
    """Write all tables in three formats; returns their paths.

    Raises:
        DataError: the directory cannot be created.
    """
    make_directory(results_dir)
    published = published_study() if study.has_scores and not study.synthetic else None
    written = []
    for name, make, transfer in (("single_domain", single_domain_table, False), ("transfer", transfer_table, True)):
        results = [result for result in study.results.values() if (result.run.source is not None) is transfer]
        rows = rows_for_csv(results, statistics, published)
        written += _write(results_dir, name, [make(study, statistics, published)], COLUMNS, _marked(rows, study))
    if statistics:
        pairs = SourceGains(study, statistics).pairs()
        tables = [mean_pairs_table(study, pairs)] if pairs else []
        tables.append(source_pairs_table(study, statistics))
        written += _write(
            results_dir, "source_pairs", tables, PAIR_COLUMNS, _marked(pair_rows(statistics, pairs), study)
        )
    return written


def _marked(rows: Sequence[Mapping[str, object]], study: Study) -> list[dict[str, object]]:
    """Rows that say whether the data are synthetic: a .csv has no caption to say it."""
    return [{**row, SYNTHETIC: str(study.synthetic).lower()} for row in rows]


def _write(
    results_dir: Path,
    name: str,
    tables: Sequence[Table],
    columns: Sequence[str],
    rows: Sequence[Mapping[str, object]],
) -> list[Path]:
    """One file a format: the rows as .csv, the tables one after another as .md and .tex."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    contents = {
        ".csv": text.getvalue(),
        ".md": "\n".join(map(to_markdown, tables)),
        ".tex": "\n".join(map(to_latex, tables)),
    }
    for suffix, content in contents.items():
        with atomic_write(results_dir / f"{name}{suffix}", "w", encoding="utf-8", newline="") as file:
            file.write(content)
    return [results_dir / f"{name}{suffix}" for suffix in contents]


def main() -> None:
    parser = ScriptParser(__doc__)
    add_study_arguments(parser)
    arguments = parser.parse_args()
    study = study_from(arguments)
    for path in write_tables(arguments.results_dir, study, load_statistics(arguments.results_dir, study)):
        print(f"written: {path}")


if __name__ == "__main__":
    run_script(main)
