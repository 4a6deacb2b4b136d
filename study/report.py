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

from config import DATASETS, MODELS
from runtime.arguments import ScriptParser
from runtime.atomic_files import atomic_write, make_directory
from runtime.errors import DataError, run_script
from study.arguments import add_study_arguments, study_from
from study.comparisons import TargetStatistics, load_statistics
from study.figure_style import DPI
from study.findings import answers, teachers
from study.pair_tables import mean_pairs_table, source_pairs_table
from study.report_answer import targets_table, teachers_table
from study.report_runs import data_table, runs_table, summary_sentences, versions_table
from study.results import Study, published_study
from study.source_figure import NAME as ANSWER_FIGURE
from study.source_means import SourceGains
from study.table_formats import Cell, Table, to_html
from study.tables import single_domain_table, transfer_table

QUESTION = "Who understands the music of the others better?"
SMALLEST = 0.75  # of the size a figure was drawn for
_DETAILS = ("tag_gains", "learning_curves")  # figures to be opened: many, one for each target
_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 70rem; margin: 0 auto;
  padding: 0 1rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 1rem 0 0; } h2 { font-size: 1.25rem; margin-top: 2.5rem; }
p { max-width: 46rem; } .title { margin: .25rem 0 1rem; color: #555; } .lead { font-size: 1.05rem; margin: .5rem 0; }
.notes { border: 2px solid #1a1a1a; padding: .35rem 1rem; font-weight: 600; } .notes p { margin: 0; max-width: none; }
/* A shadow at the right while there is more to the right: the white one moves with the content, and over it. */
.scroll { overflow-x: auto; background: linear-gradient(90deg, #fff0, #fff 60%) 100% / 3rem 100% no-repeat local,
  linear-gradient(90deg, #0000, #0003) 100% / 1rem 100% no-repeat scroll #fff; }
.scroll img { display: block; mix-blend-mode: multiply; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; margin: .5rem 0 1rem; }
.caption { font-size: .85rem; margin: 1.5rem 0 0; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
th[scope=row], thead th.words { text-align: left; } th[scope=row] { font-weight: 400; }
th:first-child { position: sticky; left: 0; background: #fff; padding-left: 0; }
thead th { border-bottom: 2px solid #1a1a1a; white-space: normal; vertical-align: bottom; }
thead th:not(:first-child) { min-width: 5.5rem; }
ul { padding-left: 1.2rem; max-width: 46rem; } li { margin: .3rem 0; }
small { color: #555; } figure { margin: 1rem 0; } img { max-width: 100%; height: auto; }
nav { margin-top: 2rem; } nav a { display: inline-block; margin: .2rem 1rem .2rem 0; }
details { margin: .5rem 0; overflow-wrap: anywhere; } details > summary { cursor: pointer; padding: .3rem 0; }
@media (min-width: 60rem) { .beside { display: flex; gap: 2rem; align-items: center; } .beside figure { flex: none; } }
@media (max-width: 30rem) { td small { display: block; } table { font-size: .8rem; } th, td { padding: .25rem .3rem; }
  thead th:not(:first-child) { min-width: 3.2rem; } }
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
    gains = SourceGains(study, statistics)
    answer = [path for path in figures if path.stem == ANSWER_FIGURE]
    details = [path for path in figures if path.stem.startswith(_DETAILS)]
    others = [path for path in figures if path not in answer + details]
    sections = [
        ("figures", "Figures", _figures(others) + _folded("Every tag, and learning curves", _figures(details))),
        ("pairs", "Does one source beat another?", _pairs(study, statistics, gains)),
        ("transfer", "Every transfer", _by_target(transfer_table(study, statistics, published))),
        ("single", "Training on one corpus alone", _table(single_domain_table(study, statistics, published))),
        ("method", "Method", f"<p>{_METHOD}</p>" if statistics else ""),
        ("runs", "What ran, on what, and how long it took", _runs(study) if study.has_scores else ""),
    ]
    sections = [section for section in sections if section[2]]
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in study.notes)
    banner = f'<div class="notes">{notes}</div>' if notes else ""
    links = "".join(f'<a href="#{name}">{heading}</a> ' for name, heading, _ in sections)
    body = "".join(f'<section id="{name}">\n<h2>{heading}</h2>\n{text}</section>\n' for name, heading, text in sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{QUESTION} {html.escape(study.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f'<h1>{QUESTION}</h1>\n<p class="title">{html.escape(study.title)}</p>\n{banner}\n'
        f'<section id="answer">\n{_answer(study, statistics, gains, _figures(answer))}</section>\n'
        f"<nav>{links}</nav>\n{body}</body>\n</html>\n"
    )


def _answer(study: Study, statistics: Mapping[str, TargetStatistics], gains: SourceGains, figure: str) -> str:
    """The answer in bold, what supports it, and what is missing."""
    first, *others = answers(study, statistics)
    items = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in others)
    lead = f'<p class="lead"><strong>{html.escape(first)}</strong></p>'
    parts = [f'{lead}\n<div class="beside">{figure}<ul>{items}</ul></div>']
    if study.missing:
        whole = len(study.missing) + sum(len(result.seeds) for result in study.results.values())
        names = html.escape(", ".join(map(str, study.missing)))
        parts.append(_folded(f"Incomplete: {len(study.missing)} of {whole} evaluations missing", f"<p>{names}</p>"))
    parts.append(_table(targets_table(study, statistics)))
    ranked = teachers(study, statistics)
    if ranked:
        parts.append(_table(teachers_table(ranked, gains.means())))
    return "\n".join(parts)


def _pairs(study: Study, statistics: Mapping[str, TargetStatistics], gains: SourceGains) -> str:
    """On average, in sight; target by target, to be opened. Empty where there are no two sources to compare."""
    pairs = gains.pairs()
    mean = _table(mean_pairs_table(study, pairs)) if pairs else ""
    return mean + _by_target(source_pairs_table(study, statistics))


def _by_target(table: Table) -> str:
    """A table for each target, to be opened, the words of its rows in one column: narrow enough for a telephone."""
    targets = dict.fromkeys(row[0].value for row in table.rows)
    words = slice(1, table.text_columns)
    header = (" · ".join(table.header[words]), *table.header[table.text_columns :])
    tables = []
    for target in targets:
        rows = tuple(
            (Cell(" · ".join(cell.value for cell in row[words])), *row[table.text_columns :])
            for row in table.rows
            if row[0].value == target
        )
        tables.append(_folded(target, _scrolling(Table("", header, rows, text_columns=1))))
    return f'<p class="caption">{html.escape(table.caption)}</p>\n{"".join(tables)}' if tables else ""


def _folded(summary: str, content: str) -> str:
    return f"<details><summary>{html.escape(summary)}</summary>\n{content}</details>\n" if content else ""


def _table(table: Table) -> str:
    return f'<p class="caption">{html.escape(table.caption)}</p>\n{_scrolling(table)}'


def _scrolling(table: Table) -> str:
    """In a box of its own, so that a wide table scrolls within itself and not the page."""
    return f'<div class="scroll" tabindex="0">{to_html(table)}</div>\n'


def _runs(study: Study) -> str:
    sentences = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in summary_sentences(study))
    return (
        f"{sentences}{_table(data_table(study))}{_table(versions_table(study))}"
        f"{_folded('Every run', _table(runs_table(study)))}"
    )


def _figures(paths: Sequence[Path]) -> str:
    return "".join(map(_figure, paths))


def _figure(path: Path) -> str:
    """The picture at the size it was drawn for; on narrow screens it shrinks a little, then scrolls."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read the figure {path} ({error.strerror}); run python -m study.figures") from error
    width, height = (round(int.from_bytes(content[at : at + 4], "big") * 96 / DPI) for at in (16, 20))  # IHDR
    words = html.escape(path.stem.replace("_", " "))
    size = f'width="{width}" height="{height}" style="min-width: {round(width * SMALLEST)}px"'
    data = base64.b64encode(content).decode()
    return (
        f'<figure class="scroll" tabindex="0"><img alt="{words}" {size} src="data:image/png;base64,{data}"></figure>\n'
    )


_FIGURE_ORDER = (
    ANSWER_FIGURE,
    "transfer_matrix",
    "culture_map",
    "gain_by_size",
    "tag_families",
    "tag_gains",
    "learning_curves",
)


def figure_files(directory: Path) -> list[Path]:
    """The PNG files of `study.figures` in the order of the report."""

    def place(path: Path) -> tuple[int, int, str]:
        kind = next((i for i, name in enumerate(_FIGURE_ORDER) if re.match(name, path.stem)), len(_FIGURE_ORDER))
        of = next((i for i, name in enumerate((*MODELS, *DATASETS)) if path.stem.endswith(f"_{name}")), 0)
        return kind, of, path.stem

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
