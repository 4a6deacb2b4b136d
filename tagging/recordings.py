"""The recordings that a command names, files and folders, and the work done on each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from preprocessing.audio_files import find_audio_files
from runtime.errors import DataError, IncompleteError, Stopped, UsageError, UserError, listed
from runtime.paths import real_path
from runtime.signals import StopRequest


@dataclass(frozen=True)
class Recording:
    """A file to work on; `name` is its place in the folder that was named, with "/", or the file's name."""

    name: str
    path: Path


def find_recordings(inputs: Sequence[Path], out: Path | None = None) -> list[Recording]:
    """The audio files and mel-spectrograms (`.npy`) that `inputs` name, folders at any depth.

    Args:
        inputs: files, which are taken whatever they are, and folders.
        out: a folder of results, not to be taken for input.

    Raises:
        DataError: there is none, or two would have the same name in the results.
    """
    found: dict[str, Path] = {}
    for given in inputs:
        for recording in _walk(given, out) if given.is_dir() else [Recording(given.name, given)]:
            other = found.setdefault(recording.name, recording.path)
            if real_path(other) != real_path(recording.path):
                raise DataError(
                    f"{other} and {recording.path} would both be called '{recording.name}' in the results; give "
                    "the folder above them instead"
                )
    if not found:
        raise DataError(f"no audio file or mel-spectrogram (.npy) in {listed([str(given) for given in inputs])}")
    return [Recording(name, path) for name, path in found.items()]


def _walk(folder: Path, out: Path | None) -> list[Recording]:
    files = find_audio_files(folder) + [path for path in folder.rglob("*.npy") if path.is_file()]
    recordings = []
    for path in sorted(files):
        relative = path.relative_to(folder)
        is_hidden = any(part.startswith(".") for part in relative.parts)
        if not is_hidden and not (out is not None and real_path(path).is_relative_to(real_path(out))):
            recordings.append(Recording(relative.as_posix(), path))
    return recordings


def work_through(recordings: Sequence[Recording], work: Callable[[Recording], None]) -> dict[str, str]:
    """Do `work` on each recording, with progress; one that fails is put down and does not stop the rest.

    SIGINT and SIGTERM stop before the next recording.

    Returns:
        The reason of each failure, by name.

    Raises:
        Stopped: a signal came.
    """
    failures: dict[str, str] = {}
    with StopRequest() as stop, tqdm(recordings, unit="rec", disable=len(recordings) < 2) as progress:
        for recording in progress:
            if stop.requested:
                raise Stopped(f"stopped by {stop.requested}; the same command goes on from what is finished")
            try:
                work(recording)
            except UsageError:  # the command's fault, not this file's
                raise
            except DataError as error:
                failures[recording.name] = str(error).removeprefix(f"{recording.path}: ")
    return failures


def failure(failures: dict[str, str], n_recordings: int) -> UserError | None:
    """What to raise at the end: None if nothing failed."""
    if not failures:
        return None
    lines = [f"{name} ({reason})" for name, reason in failures.items()]
    if len(failures) == n_recordings:
        return DataError(lines[0] if n_recordings == 1 else f"all {n_recordings} recordings failed: {listed(lines, 3)}")
    return IncompleteError(f"{len(failures)} of {n_recordings} recordings failed: {listed(lines)}")
