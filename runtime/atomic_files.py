"""Write beside, then rename: no half-written file ever carries a final name."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from runtime.errors import DataError

PART_SUFFIX = ".part"
_HOST = "".join(c if c.isalnum() or c == "-" else "_" for c in platform.node()[:64])  # one dot-free word
_LONGEST_NAME = 150  # bytes
_FORGOTTEN = 24 * 3600.0  # seconds


def part_path(path: Path) -> Path:
    """The name a file carries while this process writes it."""
    name = path.name
    if len(os.fsencode(name)) > _LONGEST_NAME:  # file systems take 255 bytes
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return path.with_name(f".{name}.{_HOST}.{os.getpid()}{PART_SUFFIX}")


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

    Raises:
        OSError: it cannot be written; names `path`.
    """
    part = part_path(path)
    try:
        with errors_name(path), part.open(mode, **open_options) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise


@contextmanager
def errors_name(path: Path) -> Iterator[None]:
    """An OSError that names no file, as that of a full disk, is given this one's name."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def remove_stale_parts(directory: Path, stem: str = "") -> int:
    """Remove what killed processes left half-written in `directory`; returns how many.

    With `stem`, only parts of files whose names begin with it and a dot.

    The part file of a process that is still alive is left alone, and so is that of another
    machine (which shares the directory), unless it has not been touched for a day.
    """
    removed = 0
    for part in directory.glob(f".{glob.escape(stem)}.*{PART_SUFFIX}" if stem else f".*{PART_SUFFIX}"):
        host, pid = part.name.removesuffix(PART_SUFFIX).split(".")[-2:]
        if not (pid.isascii() and pid.isdigit()):
            continue  # not of our making
        with contextlib.suppress(FileNotFoundError):
            if (host == _HOST and not _is_alive(int(pid))) or time.time() - part.stat().st_mtime > _FORGOTTEN:
                part.unlink()
                removed += 1
    return removed


def _is_alive(pid: int) -> bool:
    if pid == os.getpid():
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
