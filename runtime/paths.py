"""Where a path leads."""

from __future__ import annotations

import os
from pathlib import Path


def real_path(path: Path) -> Path:
    """`path` without links; one that leads to itself is left as it is, where `Path.resolve` fails."""
    return Path(os.path.realpath(path))
