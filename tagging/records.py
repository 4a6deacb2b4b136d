"""One small JSON file for each finished recording: what makes a second run skip it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime.atomic_files import atomic_write, make_directory
from tagging.recordings import Recording


class Records:
    """The records in a folder of results, `{folder}/{name}.json`.

    A record counts only for the same settings (checkpoints, chunks) and the same file (size, time
    of change).
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """
        Args:
            folder: where the records are.
            settings: all that the results depend on, beside the file; plain values only.
        """
        self.folder = folder
        self.settings = json.loads(json.dumps(settings))

    def path(self, recording: Recording, suffix: str = ".json") -> Path:
        """Where the record is; with another suffix, a file beside it."""
        return self.folder / f"{recording.name}{suffix}"

    def load(self, recording: Recording) -> dict[str, Any] | None:
        """What was saved, or None if there is nothing that counts."""
        try:
            record = json.loads(self.path(recording).read_text(encoding="utf-8"))
            if record["settings"] == self.settings and record["file"] == _identity(recording.path):
                return record["content"]
        except (OSError, ValueError, KeyError, TypeError):  # none, damaged, or the recording is gone
            pass
        return None

    def save(self, recording: Recording, content: Mapping[str, Any]) -> None:
        """Write a record.

        Raises:
            OSError: it cannot be written.
        """
        record = {"settings": self.settings, "file": _identity(recording.path), "content": content}
        path = self.path(recording)
        make_directory(path.parent)
        with atomic_write(path, "w", encoding="utf-8") as file:
            json.dump(record, file, indent=1)


def _identity(path: Path) -> dict[str, int]:
    status = path.stat()
    return {"size": status.st_size, "modified": status.st_mtime_ns}
