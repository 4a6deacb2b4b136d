"""The report: `results/report.html`, one file that opens anywhere, without a network.

    python -m study.report

Answers first, then tables and figures, then what ran, on what, and how long it took. Figures are
those in `results/figures/`, built into the file.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from config import DATASETS
from runtime.arguments import ScriptParser
from runtime.atomic_files import atomic_write, make_directory
from runtime.errors import DataError, run_script
from study.arguments import add_study_arguments, study_from
from study.comparisons import TargetStatistics, load_statistics
from study.findings import Teacher, headline, target_sentence, teachers
from study.pair_tables import mean_pairs_table, source_pairs_table
from study.report_runs import data_table, runs_table, summary_sentences, versions_table
from study.results import Study, published_study
from study.source_means import SourceGains
from study.table_formats import Cell, Table, to_html
from study.tables import single_domain_table, transfer_table

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 70rem; margin: 0 auto;
  padding: 0 1rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.25; } h2 { font-size: 1.25rem; margin-top: 2.5rem; }
.notes { border: 2px solid #1a1a1a; padding: .5rem 1rem; font-weight: 600; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; margin: .5rem 0 1rem; }
.caption { font-size: .85rem; margin: 1.5rem 0 0; max-width: 60rem; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
th[scope=row], thead th.words { text-align: left; } th[scope=row] { font-weight: 400; }
thead th { border-bottom: 2px solid #1a1a1a; white-space: normal; vertical-align: bottom; }
small { color: #555; } img { max-width: 100%; height: auto; } figure { margin: 1.5rem 0; }
nav a { margin-right: 1rem; } details > summary { cursor: pointer; }
"""
_METHOD = (
    "Every figure is a macro average over tags on the test set. Intervals are 95 % basic intervals of a bootstrap over "
    "test recordings (Efron & Tibshirani 1993; Davison & Hinkley 1997). Two runs are compared on the same resamples "
    "(paired bootstrap; Koehn 2004, Berg-Kirkpatrick et al. 2012), two-sided, at p ≤ 0.05 after Holm's correction "
    "(1979) over all comparisons of the same kind on one target and metric. A tag that no recording of a resample has, "
    "or all have, is left out of that resample. The bootstrap says how far results depend on the choice of test "
    "recordings; how far they depend on chance in training is what several seeds show."
)


def report_html(study: Study, statistics: Mapping[str, TargetStatistics], figures: Sequence[Path] = ()) -> str:
    """The whole document.

    Args:
        study: the results.
        statistics: by target; empty for published figures.
        figures: PNG files to show, in order.

    Raises:
        DataError: a figure cannot be read.
    """
    published = published_study() if study.has_scores and not study.synthetic else None
    title = f"Who understands the music of the others better? {study.title}"
    sections = [
        ("answer", "In short", _answer(study, statistics)),
        ("transfer", "Transfer", _table(transfer_table(study, statistics, published))),
        ("single", "Single-domain training", _table(single_domain_table(study, statistics, published))),
        ("pairs", "Does one source beat another?", _pairs(study, statistics)),
        ("figures", "Figures", "".join(_figure(path) for path in figures) or "<p>None have been drawn.</p>"),
        ("method", "Method", f"<p>{_METHOD if statistics else html.escape(' '.join(study.notes))}</p>"),
    ]
    sections = [section for section in sections if section[2]]
    if study.has_scores:
        sections.append(("runs", "What ran, on what, and how long it took", _runs(study)))
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in study.notes)
    banner = f'<div class="notes">{notes}</div>' if notes else ""
    links = "".join(f'<a href="#{name}">{heading}</a> ' for name, heading, _ in sections)
    body = "".join(f'<section id="{name}">\n<h2>{heading}</h2>\n{text}</section>\n' for name, heading, text in sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{html.escape(title)}</h1>\n{banner}\n<nav>{links}</nav>\n{body}</body>\n</html>\n"
    )


def _answer(study: Study, statistics: Mapping[str, TargetStatistics]) -> str:
    """Which source teaches most, in a sentence and a table; then each target in a sentence."""
    ranked = teachers(study, statistics)
    parts = []
    if ranked:
        parts.append(f"<p><strong>{html.escape(headline(study, ranked))}</strong></p>")
        parts.append(_table(_teachers_table(ranked)))
    sentences = [target_sentence(study, dataset, statistics.get(dataset)) for dataset in study.datasets]
    items = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in sentences if sentence)
    parts.append(f"<ul>{items}</ul>")
    if study.missing:
        names = ", ".join(str(path) for path in study.missing)
        parts.append(
            f"<details><summary>{len(study.missing)} evaluations missing</summary>{html.escape(names)}</details>"
        )
    return "\n".join(parts)


def _teachers_table(ranked: Sequence[Teacher]) -> Table:
    """One row a source; columns that the results do not suffice for are left out."""
    columns = {
        "Source": [DATASETS[teacher.source].title for teacher in ranked],
        "Transfers": [str(teacher.transfers) for teacher in ranked],
        "Best source of": [f"{teacher.wins} target-model pairs" for teacher in ranked],
    }
    if ranked[0].mean_gain is not None:
        columns["Mean gain in ROC-AUC"] = [f"{teacher.mean_gain:+.4f}".replace("-", "−") for teacher in ranked]
    if ranked[0].better is not None:
        columns["Better than from scratch"] = [str(teacher.better) for teacher in ranked]
        columns["Worse"] = [str(teacher.worse) for teacher in ranked]
    columns["Gives the best transfer to"] = [
        ", ".join(DATASETS[name].title for name in teacher.best_for) or "—" for teacher in ranked
    ]
    rows = tuple(tuple(map(Cell, texts)) for texts in zip(*columns.values(), strict=True))
    caption = "Every corpus as a source: whole network trained on, over all targets and models."
    if ranked[0].better is not None:
        caption += " Better and worse: significantly, after correction."
    return Table(caption, tuple(columns), rows, text_columns=1)


def _pairs(study: Study, statistics: Mapping[str, TargetStatistics]) -> str:
    """On average, in sight; target by target, to be opened. Empty where there are no two sources to compare."""
    pairs = SourceGains(study, statistics).pairs()
    mean = _table(mean_pairs_table(study, pairs)) if pairs else ""
    by_target = source_pairs_table(study, statistics)
    if not by_target.rows:
        return mean
    return f"{mean}<details><summary>Target by target</summary>{_table(by_target)}</details>\n"


def _table(table: Table) -> str:
    return f'<p class="caption">{html.escape(table.caption)}</p>\n<div class="scroll">{to_html(table)}</div>\n'


def _runs(study: Study) -> str:
    sentences = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in summary_sentences(study))
    return (
        f"{sentences}{_table(data_table(study))}{_table(versions_table(study))}"
        f"<details><summary>Every run</summary>{_table(runs_table(study))}</details>"
    )


def _figure(path: Path) -> str:
    try:
        content = base64.b64encode(path.read_bytes()).decode()
    except OSError as error:
        raise DataError(f"cannot read the figure {path} ({error.strerror}); run python -m study.figures") from error
    words = path.stem.replace("_", " ")
    return f'<figure><img alt="{html.escape(words)}" src="data:image/png;base64,{content}"></figure>\n'


_FIGURE_ORDER = ("transfer_matrix", "culture_map", "gain_by_size", "tag_families", "tag_gains", "learning_curves")


def figure_files(directory: Path) -> list[Path]:
    """The PNG files of `study.figures` in the order of the report."""

    def place(path: Path) -> tuple[int, str]:
        kind = next((i for i, name in enumerate(_FIGURE_ORDER) if re.match(name, path.stem)), len(_FIGURE_ORDER))
        return kind, path.stem

    return sorted(directory.glob("*.png"), key=place)


def main() -> None:
    parser = ScriptParser(__doc__)
    add_study_arguments(parser)
    arguments = parser.parse_args()
    study = study_from(arguments)
    statistics = load_statistics(arguments.results_dir, study)
    document = report_html(study, statistics, figure_files(arguments.results_dir / "figures"))
    path = make_directory(arguments.results_dir) / "report.html"
    with atomic_write(path, "w", encoding="utf-8") as file:
        file.write(document)
    print(f"written: {path} ({len(document) / 1e6:.1f} MB)")


if __name__ == "__main__":
    run_script(main)
