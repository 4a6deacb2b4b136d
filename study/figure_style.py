"""How the study's figures look, and how they are written: SVG for print, PNG for everything else.

Nothing is told by colour alone: models differ by marker, gains carry their sign and marks, and the
one colour scale gets darker evenly, so that a grey print reads the same.
"""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from evaluation.fonts import font_families
from runtime.atomic_files import atomic_write, make_directory

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

DPI = 150
PALETTE = 128  # colours of a .png: all that is drawn here, in a third of the bytes
LONGEST_NAME = 40  # characters; longer tag names are cut
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
COLORS = ("#0b3c7d", "#c2570c", "#3d8a5f", "#7b3f98", "#8c6d1f", "#5a5a5a")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
_POINT_SIZE = 9  # points, of the marks that have names
_PLACES = (  # of a name: offset in points from its mark, and how it is aligned there; the first that is free
    ((0, 7), "center", "bottom"),
    ((0, -7), "center", "top"),
    ((7, 0), "left", "center"),
    ((-7, 0), "right", "center"),
    ((6, 6), "left", "bottom"),
    ((-6, 6), "right", "bottom"),
    ((6, -6), "left", "top"),
    ((-6, -6), "right", "top"),
    ((0, 20), "center", "bottom"),
    ((0, -20), "center", "top"),
)
_SETTINGS = {
    "font.size": 9,
    "text.parse_math": False,  # a tag with two $ is no formula
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "svg.hashsalt": "study",  # the same results give the same file
}


@contextmanager
def figure_style(texts: Sequence[str]) -> Iterator[None]:
    """matplotlib's own settings, whatever the user's are, with fonts for `texts` (tag names, notes)."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS, **{"font.family": font_families(texts)})
        yield


def new_figure(width: float, height: float, title: str, notes: Sequence[str]) -> Figure:
    """An empty figure (inches) with a title, and sentences underneath that belong to it."""
    from matplotlib.figure import Figure

    lines = [line for note in notes for line in textwrap.wrap(note, int(width * 14))]
    figure = Figure(figsize=(width, height + 0.17 * len(lines)), layout="constrained")
    figure.suptitle(title, fontsize=11.5)
    if lines:
        figure.supxlabel("\n".join(lines), fontsize=8, x=0.01, ha="left")
    return figure


def draw_legend(axes: Axes, handles: Mapping[str, Artist], columns: int = 3) -> None:
    """A legend that fills axes of its own: outside of axes it would overlap with the title or the notes."""
    axes.set_axis_off()
    axes.legend(
        handles.values(),
        handles,
        ncols=columns,
        loc="center",
        frameon=False,
        fontsize=8,
        borderpad=0,
        columnspacing=1.2,
    )


def draw_names(axes: Axes, points: np.ndarray, names: Sequence[str]) -> list[Annotation]:
    """Names beside points, each where it covers no other name and no point, as far as there is such a place.

    Args:
        axes: with the limits they will have; the rest of its figure is drawn already.
        points: (names, 2).
        names: one for each point.
    """
    from matplotlib.transforms import Bbox

    figure = axes.get_figure()
    figure.draw_without_rendering()  # lays the axes out
    frame, half = axes.get_window_extent(), _POINT_SIZE / 2 * figure.dpi / 72
    marks = [Bbox.from_extents(x - half, y - half, x + half, y + half) for x, y in axes.transData.transform(points)]
    labels, boxes = [], []
    for number, (name, point) in enumerate(zip(names, points, strict=True)):
        label = axes.annotate(name, point, (0, 0), textcoords="offset points")
        others = boxes + marks[:number] + marks[number + 1 :]
        boxes.append(_put(label, min(_PLACES, key=lambda place: _obstacles(_put(label, place), others, frame))))
        labels.append(label)
    return labels


def _put(label: Annotation, place: tuple[tuple[int, int], str, str]) -> Bbox:
    """Move a name to one of `_PLACES`; what it covers there, in pixels."""
    offset, across, upright = place
    label.set(position=offset, horizontalalignment=across, verticalalignment=upright)
    return label.get_window_extent()


def _obstacles(box: Bbox, others: Sequence[Bbox], frame: Bbox) -> int:
    outside = box.x0 < frame.x0 or box.x1 > frame.x1 or box.y0 < frame.y0 or box.y1 > frame.y1
    return box.count_overlaps(others) + outside


def save_figure(figure: Figure, directory: Path, name: str) -> list[Path]:
    """Write `name.svg` and `name.png`; returns their paths.

    Raises:
        DataError: the directory cannot be created.
    """
    make_directory(directory)
    svg, png = io.BytesIO(), io.BytesIO()
    with warnings.catch_warnings():
        # What fonts lack, font_families has said in one line.
        warnings.filterwarnings("ignore", "Glyph .* missing|Matplotlib currently does not support .* natively")
        figure.savefig(svg, format="svg", metadata={"Date": None})
        figure.savefig(png, format="png", dpi=DPI)
    with Image.open(png) as image:
        few_colors = image.convert("RGB").quantize(PALETTE, dither=Image.Dither.NONE)
    small = io.BytesIO()
    few_colors.save(small, "PNG", optimize=True)
    written = []
    for suffix, content in (("svg", svg), ("png", small)):
        path = directory / f"{name}.{suffix}"
        with atomic_write(path) as file:
            file.write(content.getvalue())
        written.append(path)
    return written


def shortened(tag: str) -> str:
    """A tag name on one line of at most `LONGEST_NAME` characters."""
    tag = " ".join(tag.split())
    return tag if len(tag) <= LONGEST_NAME else f"{tag[: LONGEST_NAME - 1]}…"
