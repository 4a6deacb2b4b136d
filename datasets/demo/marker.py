"""The file that tells a directory this project made a corpus in from one that is the user's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from runtime.atomic_files import atomic_write, make_directory
from runtime.errors import UsageError

MARKER = "demo_corpus.json"  # of a SYNTHETIC corpus


def claim(out: Path, marker: str, settings: Mapping) -> None:
    """Take `out` for a corpus with these settings, unless something else is in it.

    Args:
        out: directory of the corpus, created if need be.
        marker: name of the marker file, which tells the kinds of corpora apart.
        settings: what the corpus is made from, as JSON can hold it.

    Raises:
        UsageError: `out` holds something else, or such a corpus with other settings.
        DataError: `out` cannot be created.
    """
    make_directory(out)
    path = out / marker
    if path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            found = None
        if found != dict(settings):
            raise UsageError(f"{out} holds a corpus made with other settings; remove it or choose another --out")
    elif any(not content.name.startswith(".") for content in out.iterdir()):
        raise UsageError(f"{out} is not empty and was not made by this command; choose a new or empty --out")
    else:
        with atomic_write(path, "w", encoding="utf-8") as file:
            json.dump(dict(settings), file, indent=2)
