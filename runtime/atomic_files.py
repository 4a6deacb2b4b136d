"""Write beside, then rename: no half-written file ever carries a final name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from runtime.errors import DataError

PART_SUFFIX = ".part"


def part_path(path: Path) -> Path:
    """The name a file carries while this process writes it."""
    return path.with_name(f".{path.name}.{os.getpid()}{PART_SUFFIX}")


def make_directory(path: Path) -> Path:
    """Create `path` with its parents.

    Raises:
        DataError: it cannot be created, or something else is in its place.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot create the directory {path} ({error.strerror}); choose another one") from error
    return path


@contextmanager
def atomic_write(path: Path, mode: str = "wb", **open_options) -> Iterator[IO]:
    """Open a temporary file beside `path`; it takes the name when the block ends well.

    The data are flushed to the disk before the rename, so that a power cut leaves the old file
    or the new one. On any exception the temporary file is removed and `path` is untouched.
    """
    part = part_path(path)
    try:
        with part.open(mode, **open_options) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def remove_stale_parts(directory: Path, stem: str = "") -> int:
    """Remove what killed processes left half-written in `directory`; returns how many.

    With `stem`, only parts of files whose names begin with it and a dot.

    A part file whose process (on this machine) is still alive is left alone.
    """
    removed = 0
    for part in directory.glob(f".{stem}.*{PART_SUFFIX}" if stem else f".*{PART_SUFFIX}"):
        pid = part.name.removesuffix(PART_SUFFIX).rsplit(".", 1)[-1]
        if pid.isdigit() and not _is_alive(int(pid)):
            part.unlink(missing_ok=True)
            removed += 1
    return removed


def _is_alive(pid: int) -> bool:
    if pid == os.getpid():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
