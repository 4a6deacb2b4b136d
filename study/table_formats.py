"""A table of results as Markdown, LaTeX and HTML.

A cell is a value, which may be set in bold, and what stands behind it in plain type.
"""

from __future__ import annotations

import html
import re
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
    "≤": r"$\le$",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    "·": r"$\cdot$",
    "…": r"\ldots{}",
    "▲": r"$\blacktriangle$",
    "▼": r"$\blacktriangledown$",
}
_WIDE = 5  # columns that fit a page upright


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
    """A `longtable` in the style of booktabs; needs the packages booktabs, longtable, amssymb and pdflscape.

    Tables of many columns lie on their side in small type, what stands behind a value below it.
    """
    wide = len(table.header) > _WIDE

    def stacked(*lines: str) -> str:
        # The braces keep a line that begins with "[" from being taken for an option of the line break.
        return r"\shortstack[r]{" + r"\\{}".join(lines) + "}" if len(lines) > 1 else lines[0]

    def cell(of: Cell) -> str:
        value = rf"\textbf{{{_latex(of.value)}}}" if of.bold else _latex(of.value)
        if wide and of.rest:
            return stacked(value, _latex(of.rest))
        return f"{value} {_latex(of.rest)}".strip()

    def head(text: str) -> str:
        return stacked(*map(_latex, re.split(r"(?<=:) | (?=\()", text))) if wide else _latex(text)

    def line(cells: Sequence[str]) -> str:
        return f"{' & '.join(cells)} \\\\\n"

    columns = "l" * table.text_columns + "r" * (len(table.header) - table.text_columns)
    text = (
        f"\\begin{{longtable}}{{{columns}}}\n\\caption{{{_latex(table.caption)}}}\\\\\n\\toprule\n"
        f"{line([head(text) for text in table.header])}\\midrule\n\\endhead\n\\bottomrule\n\\endfoot\n"
        + "".join(line([cell(of) for of in row]) for row in table.rows)
        + "\\end{longtable}\n"
    )
    if wide:
        text = f"\\begin{{landscape}}\n\\tiny\\setlength{{\\tabcolsep}}{{3pt}}\n{text}\\end{{landscape}}\n"
    return f"% needs \\usepackage{{booktabs,longtable,amssymb,pdflscape}}\n{text}"


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
