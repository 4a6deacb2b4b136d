"""Words and figures that all tables of the study write alike."""

from __future__ import annotations

from study.table_formats import Cell

WHOLE, FINAL = "whole network", "final layer"
BLANK = Cell("—")


def signed(value: float, digits: int = 4) -> str:
    """A difference: with its sign, and a minus as long as the plus."""
    return f"{value:+.{digits}f}".replace("-", "−")
