"""Words and figures that all tables of the study write alike."""

from __future__ import annotations

from study.table_formats import Cell

WHOLE, FINAL = "whole network", "final layer"
BLANK = Cell("—")
SYNTHETIC = "synthetic"  # column of every .csv: whether the data are, true or false


def signed(value: float, digits: int = 4) -> str:
    """A difference: with its sign, and a minus as long as the plus."""
    return f"{value:+.{digits}f}".replace("-", "−")
