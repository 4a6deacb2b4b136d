"""Ctrl-C while a script's libraries are still imported, before `run_script` is there to tell of it."""

from __future__ import annotations

import sys
from types import TracebackType


def tell_of_interrupted_imports() -> None:
    """For packages whose modules are scripts (`python -m study.tables`), before they import anything large.

    Does nothing where the package is imported by something else than `python -m`.
    """
    if sys.argv[:1] == ["-m"]:  # stands there until Python has found the module
        sys.excepthook = _tell


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt) and "--debug" not in sys.argv[1:]:
        print("error: interrupted; the same command goes on from what is finished", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)
