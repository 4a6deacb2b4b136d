"""A journal of finished recordings: one JSON line each, so that an interrupted run can go on."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from runtime.atomic_files import atomic_write
from runtime.errors import DataError


class Journal:
    """Tags of recordings, kept in a file of lines `{"id": ..., "tags": [...]}`.

    A line that was cut by a crash is dropped when the journal is opened, and its recording is
    fetched again.
    """

    def __init__(self, path: Path) -> None:
        """
        Raises:
            DataError: the file cannot be read.
        """
        self.path = path
        self._lock = threading.Lock()
        self.tags: dict[str, list[str]] = {}
        try:
            lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror})") from error
        entries = [_entry(line) for line in lines[:-1]]
        self.tags = dict(entry for entry in entries if entry is not None)
        if lines[-1] or None in entries:  # a cut line: what is added next must not be joined to it
            with atomic_write(path) as file:
                file.writelines(_line(id_, tags) for id_, tags in self.tags.items())

    def add(self, id_: str, tags: list[str]) -> None:
        """Keep the tags of a recording; may be called from several threads."""
        with self._lock:
            with self.path.open("ab") as file:
                file.write(_line(id_, tags))
            self.tags[id_] = tags


def _line(id_: str, tags: list[str]) -> bytes:
    return json.dumps({"id": id_, "tags": tags}).encode("ascii") + b"\n"


def _entry(line: bytes) -> tuple[str, list[str]] | None:
    try:
        content = json.loads(line)
        id_, tags = content["id"], content["tags"]
    except (ValueError, KeyError, TypeError):
        return None
    good = isinstance(id_, str) and isinstance(tags, list) and all(isinstance(tag, str) for tag in tags)
    return (id_, tags) if good else None
