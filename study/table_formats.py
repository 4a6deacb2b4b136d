"""A table of results as Markdown, LaTeX and HTML.

A cell is a value, which may be set in bold, and what stands behind it in plain type.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "—": "---",
    "▲": r"$\blacktriangle$",
    "▼": r"$\blacktriangledown$",
}


@dataclass(frozen=True)
class Cell:
    """A value and what stands behind it."""

    value: str
    rest: str = ""
    bold: bool = False


@dataclass(frozen=True)
class Table:
    """Rows under a header, with a caption that says how to read them.

    Attributes:
        caption: plain sentences.
        header: one text a column.
        rows: as many cells each.
        text_columns: how many columns at the left are words, not figures.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    text_columns: int


def to_markdown(table: Table) -> str:
    """The caption, then a pipe table."""

    def cell(of: Cell) -> str:
        value = f"**{of.value}**" if of.bold else of.value
        return f"{value} {of.rest}".strip().replace("|", "\\|")

    rules = ["---"] * table.text_columns + ["--:"] * (len(table.header) - table.text_columns)
    lines = [table.header, rules, *([cell(of) for of in row] for row in table.rows)]
    return f"{table.caption}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def to_latex(table: Table) -> str:
    """A `longtable` in the style of booktabs; needs the packages booktabs, longtable and amssymb."""

    def cell(of: Cell) -> str:
        value = rf"\textbf{{{_latex(of.value)}}}" if of.bold else _latex(of.value)
        return f"{value} {_latex(of.rest)}".strip()

    def line(cells: Sequence[str]) -> str:
        return f"{' & '.join(cells)} \\\\\n"

    columns = "l" * table.text_columns + "r" * (len(table.header) - table.text_columns)
    return (
        "% needs \\usepackage{booktabs,longtable,amssymb}\n"
        f"\\begin{{longtable}}{{{columns}}}\n\\caption{{{_latex(table.caption)}}}\\\\\n\\toprule\n"
        f"{line([_latex(text) for text in table.header])}\\midrule\n\\endhead\n\\bottomrule\n\\endfoot\n"
        + "".join(line([cell(of) for of in row]) for row in table.rows)
        + "\\end{longtable}\n"
    )


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def to_html(table: Table) -> str:
    """A `<table>` without its caption; words in the columns at the left are `<th scope="row">`."""

    def cell(of: Cell, column: int) -> str:
        value = html.escape(of.value)
        value = f"<b>{value}</b>" if of.bold else value
        rest = f" <small>{html.escape(of.rest)}</small>" if of.rest else ""
        return f'<th scope="row">{value}{rest}</th>' if column < table.text_columns else f"<td>{value}{rest}</td>"

    def head(text: str, column: int) -> str:
        words = ' class="words"' if column < table.text_columns else ""
        return f'<th scope="col"{words}>{html.escape(text)}</th>'

    header = "".join(head(text, i) for i, text in enumerate(table.header))
    body = "\n".join(f"<tr>{''.join(cell(of, i) for i, of in enumerate(row))}</tr>" for row in table.rows)
    return f"<table>\n<thead><tr>{header}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n"
