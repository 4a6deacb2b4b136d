"""Picture of a taggram: the score of each tag over time, as PNG."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from runtime.atomic_files import atomic_write
from tagging.results import Analysis, split_tag

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 150
LONGEST_NAME = 40  # characters; longer tag names are cut
COLORS = "magma_r"  # light for low scores; evenly ordered in greyscale too
TICK_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)


def save_taggram(path: Path, analysis: Analysis, title: str) -> None:
    """Draw the scores of an analysis over time.

    Time in minutes and seconds runs along x; a cell stands around the middle of its chunk, one hop
    wide. Tags are rows, by family, in each the highest score of the recording on top.

    Args:
        path: the PNG to write.
        analysis: what to draw.
        title: of the picture.

    Raises:
        OSError: the file cannot be written.
    """
    import matplotlib as mpl

    from evaluation.fonts import font_families

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(
            {"font.family": font_families([title, *analysis.tags]), "font.size": 9, "text.parse_math": False}
        )
        figure = taggram_figure(analysis, title)
        with warnings.catch_warnings(), atomic_write(path) as file:
            # What fonts lack, font_families has said in one line.
            warnings.filterwarnings("ignore", "Glyph .* missing|Matplotlib currently does not support .* natively")
            figure.savefig(file, format="png", dpi=DPI)


def taggram_figure(analysis: Analysis, title: str) -> Figure:
    """See `save_taggram`."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MultipleLocator

    order = tag_order(analysis)
    families = [split_tag(analysis.tags[i], analysis.dataset)[0] for i in order]
    end = max(analysis.seconds, analysis.starts[-1] + analysis.chunk_seconds)
    figure = Figure(figsize=(10, 1.4 + 0.19 * len(order)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(
        analysis.chunk_scores[:, order].T,
        extent=(*time_extent(analysis), len(order) - 0.5, -0.5),
        aspect="auto",
        interpolation="nearest",
        cmap=COLORS,
        vmin=0,
        vmax=1,
    )
    axes.set_xlim(0, end)
    names = [f"{_shortened(split_tag(analysis.tags[i], analysis.dataset)[1])}  {analysis.scores[i]:.2f}" for i in order]
    axes.set_yticks(range(len(order)), names, fontsize=8)
    axes.tick_params(axis="y", length=0)
    for row in range(1, len(order)):
        if families[row] != families[row - 1]:
            axes.axhline(row - 0.5, color="black", linewidth=0.8)
    for family in dict.fromkeys(families):
        rows = [row for row, other in enumerate(families) if other == family]
        style = {"rotation": 270 if len(rows) > 2 else 0, "ha": "left", "va": "center", "fontsize": 8}
        axes.annotate(family, (1, np.mean(rows)), (5, 0), ("axes fraction", "data"), "offset points", **style)
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel("time (min:s)")
    axes.xaxis.set_major_locator(MultipleLocator(next((t for t in TICK_SECONDS if end / t <= 12), 7200)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: clock(seconds)))
    figure.colorbar(image, label="score", pad=0.05, fraction=0.03, aspect=30)
    return figure


def time_extent(analysis: Analysis) -> tuple[float, float]:
    """Where the first cell begins and the last one ends, in seconds."""
    first = (analysis.chunk_seconds - analysis.hop_seconds) / 2
    return first, first + len(analysis.starts) * analysis.hop_seconds


def tag_order(analysis: Analysis) -> list[int]:
    """Indices of the tags by family, in order of first appearance, then by falling score."""
    families = [split_tag(tag, analysis.dataset)[0] for tag in analysis.tags]
    rank = {family: i for i, family in enumerate(dict.fromkeys(families))}
    return sorted(range(len(families)), key=lambda i: (rank[families[i]], -analysis.scores[i]))


def clock(seconds: float) -> str:
    """Seconds as m:ss, from an hour on as h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _shortened(tag: str) -> str:
    tag = " ".join(tag.split())
    return tag if len(tag) <= LONGEST_NAME else f"{tag[: LONGEST_NAME - 1]}…"
