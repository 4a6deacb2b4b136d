"""Check Lyra's downloaded mel-spectrograms and put them into place.

python preprocessing/lyra_spectrograms.py --source mel-spectrograms.zip   # unpacks what is missing
python preprocessing/lyra_spectrograms.py --source /downloads/mel-spectrograms   # links the folder
python preprocessing/lyra_spectrograms.py   # checks what is in place

Lyra's audio is not distributed; its authors offer two archives of spectrograms. The study uses
`mel-spectrograms.zip` (62.5 frames a second), not `mel-spectrograms_initial.zip` (20 frames a
second). Which one it is shows in the number of frames, since the tables say how long each
recording is.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import statistics
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tokenize import TokenError  # what NumPy's parser raises on some damaged headers
from typing import BinaryIO

if __name__ == "__main__":  # the repository's packages, not this folder, come first
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from tqdm import tqdm

from config import DATA_DIR, SPECTROGRAM
from datasets import open_corpus
from datasets.safe_numpy import read_npy_header
from runtime.atomic_files import atomic_write, make_directory, remove_stale_parts
from runtime.errors import DataError, UsageError, listed, run_script
from runtime.paths import real_path

# What reading a damaged or an encrypted archive raises.
_DAMAGED = (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, ValueError, struct.error)
N_RECORDINGS = 1570  # of the release
_RATE_OF_OTHER_ARCHIVE = 20.0  # frames a second: 8000 Hz, hop 400


@dataclass(frozen=True)
class Spectrogram:
    """A mel-spectrogram in an archive or a folder.

    Attributes:
        where: its path, for messages.
        size: bytes.
        open: opens it for reading.
    """

    where: Path
    size: int
    open: Callable[[], BinaryIO]


def find_in_folder(folder: Path) -> dict[str, Spectrogram]:
    """The `.npy` files anywhere under a folder: id → spectrogram."""
    paths = [path for path in sorted(folder.rglob("*.npy")) if not path.name.startswith(".")]
    found = [(path.stem, Spectrogram(path, path.stat().st_size, partial(path.open, "rb"))) for path in paths]
    return _without_repetition(found, folder)


def find_in_archive(archive: zipfile.ZipFile) -> dict[str, Spectrogram]:
    """The `.npy` members of an archive, in whatever folder: id → spectrogram.

    Only the last part of a member's name is used, so no member can lead out of the folder.
    """
    found = []
    for info in archive.infolist():
        name = info.filename.replace("\\", "/").rsplit("/", 1)[-1]
        if name.endswith(".npy") and not name.startswith(".") and "__MACOSX" not in info.filename:
            where = Path(archive.filename or "archive") / info.filename
            found.append((name.removesuffix(".npy"), Spectrogram(where, info.file_size, partial(archive.open, info))))
    return _without_repetition(found, Path(archive.filename or "archive"))


def _without_repetition(found: list[tuple[str, Spectrogram]], where: Path) -> dict[str, Spectrogram]:
    spectrograms = dict(found)
    if len(spectrograms) < len(found):
        raise DataError(f"{where} holds several files of one name; keep one folder of spectrograms")
    return spectrograms


def check(spectrograms: Mapping[str, Spectrogram], durations: Mapping[str, float], where: Path) -> float:
    """Check that all of Lyra's spectrograms are there and are what the study uses.

    Headers are read, not values.

    Args:
        spectrograms: id → spectrogram.
        durations: id → seconds, of every recording of the splits.
        where: the archive or folder, for messages.

    Returns:
        Their total length in hours.

    Raises:
        DataError: some are missing or damaged, or they are those of the other archive.
    """
    missing = [id_ for id_ in durations if id_ not in spectrograms]
    if missing:
        raise DataError(
            f"{len(missing)} of Lyra's {len(durations)} spectrograms are not in {where}: {listed(missing)}; "
            "download the archive again"
        )
    frames = {id_: _frames(spectrograms[id_]) for id_ in tqdm(durations, desc="checking", unit="file", delay=2)}
    rate = statistics.median(frames[id_] / seconds for id_, seconds in durations.items() if seconds > 0)
    if abs(rate / _RATE_OF_OTHER_ARCHIVE - 1) < 0.2:
        raise DataError(
            f"{where} has {rate:.0f} frames a second, so it is mel-spectrograms_initial.zip; the study uses the other "
            "archive of that page, mel-spectrograms.zip"
        )
    if abs(rate / SPECTROGRAM.frames_per_second - 1) > 0.2:
        raise DataError(
            f"{where} has {rate:.1f} frames a second where the study has {SPECTROGRAM.frames_per_second}; it is not "
            "Lyra's mel-spectrograms.zip"
        )
    return sum(frames.values()) / SPECTROGRAM.frames_per_second / 3600


def _frames(spectrogram: Spectrogram) -> int:
    try:
        with spectrogram.open() as file:
            header = read_npy_header(file, spectrogram.size, spectrogram.where)
    except (*_DAMAGED, OSError, TokenError) as error:
        raise DataError(f"{spectrogram.where} cannot be read ({error}); download the archive again") from error
    shape = header.shape
    if len(shape) != 2 or shape[0] != SPECTROGRAM.n_mels or shape[1] == 0 or header.dtype != "float32":
        raise DataError(
            f"{spectrogram.where} is {header.dtype} of shape {shape} instead of float32 of shape "
            f"({SPECTROGRAM.n_mels}, frames); download the archive again"
        )
    return shape[1]


def unpack(spectrograms: Mapping[str, Spectrogram], target: Path) -> int:
    """Unpack spectrograms into `target`, those that are there with the right size excepted; returns how many.

    Raises:
        DataError: a member is damaged, or there is too little space.
    """
    make_directory(target)
    remove_stale_parts(target)
    todo = {id_: one for id_, one in spectrograms.items() if _size(target / f"{id_}.npy") != one.size}
    needed, free = sum(one.size for one in todo.values()), shutil.disk_usage(target).free
    if needed > free:
        raise DataError(f"unpacking to {target} takes {needed / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free")
    for id_, one in tqdm(todo.items(), desc="unpacking", unit="file"):
        with atomic_write(target / f"{id_}.npy") as file:
            try:
                with one.open() as member:
                    shutil.copyfileobj(member, file, 1 << 20)
            except _DAMAGED as error:
                raise DataError(f"{one.where} is damaged ({error}); download the archive again") from error
    return len(todo)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def link(spectrograms: Mapping[str, Spectrogram], target: Path) -> None:
    """Make `target` a link to the folder that holds the spectrograms.

    Raises:
        DataError: they are in several folders.
        UsageError: something else is in the place of `target`.
    """
    folders = {real_path(one.where.parent) for one in spectrograms.values()}
    if len(folders) > 1:
        raise DataError(f"the spectrograms are in several folders: {listed(sorted(map(str, folders)))}; join them")
    (folder,) = folders
    if target.exists() and real_path(target) == folder:
        return
    if target.is_dir() and not target.is_symlink() and not any(target.iterdir()):
        target.rmdir()
    if target.exists() or target.is_symlink():
        raise UsageError(f"{target} is there already; move it away, or check it by leaving out --source")
    make_directory(target.parent)
    target.symlink_to(folder, target_is_directory=True)


def read_durations(data_dir: Path) -> dict[str, float]:
    """Length in seconds of every recording, from the columns start-ts and end-ts of the tables.

    Raises:
        UsageError, DataError: the tables are missing or damaged.
    """
    corpus = open_corpus("lyra", data_dir)
    durations = {}
    for name in ("training.tsv", "test.tsv"):
        with (corpus.split_dir / name).open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                try:
                    durations[row["id"]] = float(row["end-ts"]) - float(row["start-ts"])
                except (KeyError, TypeError, ValueError) as error:
                    raise DataError(f"{corpus.split_dir / name} has no numbers in start-ts and end-ts") from error
    unknown = [id_ for split in corpus.splits for id_ in split.ids if id_ not in durations]
    if unknown:
        raise DataError(f"no length is known of {listed(unknown)} in {corpus.split_dir}; fetch the split files again")
    return durations


def _open_archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except _DAMAGED as error:
        raise DataError(f"{path} is not a whole archive ({error}); download it again") from error


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Check Lyra's mel-spectrograms and put them into place.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--source",
        type=Path,
        default=argparse.SUPPRESS,
        help="mel-spectrograms.zip, or the folder it was unpacked to (default: check what is in place)",
    )
    parser.add_argument("--data_dir", type=Path, default=DATA_DIR / "lyra", help="the corpus' folder")
    parser.add_argument("--debug", action="store_true", help="show the traceback of errors")
    options = parser.parse_args(arguments)

    durations = read_durations(options.data_dir)
    if len(durations) != N_RECORDINGS:
        print(f"note: the tables have {len(durations)} recordings, the release has {N_RECORDINGS}")
    target = options.data_dir / "mel-spectrograms"
    source = getattr(options, "source", target)
    if source.is_dir():
        found = find_in_folder(source)
        hours = check(found, durations, source)
        if source != target:
            link({id_: found[id_] for id_ in durations}, target)
    elif source.is_file():
        with _open_archive(source) as archive:
            found = find_in_archive(archive)
            hours = check(found, durations, source)
            unpack({id_: found[id_] for id_ in durations}, target)
    else:
        raise DataError(f"{source} is missing; data/README.md says where Lyra's mel-spectrograms.zip is")
    others = len(found.keys() - durations.keys())
    print(
        f"{len(durations)} spectrograms, {hours:.1f} hours, in {target}"
        + (f"; {others} others passed over" * (others > 0))
    )


if __name__ == "__main__":
    run_script(main)
