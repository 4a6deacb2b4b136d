"""Finding a corpus' audio files, and the recording each belongs to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from preprocessing.audio import AUDIO_EXTENSIONS
from runtime.errors import DataError


def find_audio_files(directory: Path) -> list[Path]:
    """All audio files under `directory`, at any depth, sorted.

    Links to folders are followed, each folder is visited once. Hidden files and folders, and
    what is not a file (pipes, sockets), are passed over.

    Raises:
        DataError: a folder cannot be listed.
    """
    return sorted(_walk(directory, set()))


def _walk(directory: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    try:
        status = directory.stat()
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(directory) as entries:
            children = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"cannot list the folder {directory} ({error.strerror})") from error
    for entry in children:
        try:
            is_dir, is_file = entry.is_dir(), entry.is_file()
        except OSError:  # a link that leads to itself, a folder that may not be entered
            is_dir = is_file = False
        if is_dir:
            yield from _walk(Path(entry.path), seen)
        elif Path(entry.name).suffix.lower() in AUDIO_EXTENSIONS and (is_file or entry.is_symlink()):
            yield Path(entry.path)  # a link that leads nowhere is listed too, and reported when it is opened


def recording_id(audio: Path) -> str:
    """The id of the recording in a file: its name up to the first dot."""
    return audio.name.partition(".")[0]
