"""Make FMA's `metadata.npy` from the corpus' own release, `fma_metadata.zip`.

python preprocessing/fma_labels.py --metadata fma_metadata.zip --data_dir /data/fma

The labels of a track are the titles of its genres and of all their ancestors in the genre tree
(Defferrard et al. 2017, arXiv 1612.01840). The published split needs the "medium" subset; with
`--subset` the labels of another one, or of a newer release, can be made for a split of your own.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

if __name__ == "__main__":  # the repository's packages, not this folder, come first
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from config import DATA_DIR
from datasets.safe_numpy import load_metadata
from runtime.atomic_files import atomic_write, make_directory
from runtime.errors import DataError, UsageError, listed, run_script

SUBSETS = ("small", "medium", "large")  # each contains the ones before it


@dataclass(frozen=True)
class Genre:
    """A node of the genre tree; `parent` is 0 for a root."""

    title: str
    parent: int


def read_genres(metadata: Path) -> dict[int, Genre]:
    """The genre tree of `genres.csv`: genre id → title and parent.

    Args:
        metadata: `fma_metadata.zip`, or the folder it was unpacked to.

    Raises:
        DataError: the file is missing or has another form.
    """
    with _open(metadata, "genres.csv") as file:
        rows = csv.DictReader(file)
        missing = {"genre_id", "parent", "title"} - set(rows.fieldnames or ())
        if missing:
            raise DataError(f"genres.csv in {metadata} has no column {', '.join(sorted(missing))}")
        try:
            return {int(row["genre_id"]): Genre(row["title"], int(row["parent"])) for row in rows}
        except (ValueError, TypeError) as error:
            raise DataError(f"genres.csv in {metadata}, line {rows.line_num}: an id is not a number") from error


def read_track_genres(metadata: Path, subset: str) -> dict[str, list[int]]:
    """The genre ids of each track of a subset, as `tracks.csv` gives them: track id → genre ids.

    The file has three header rows: the group of each column, its name, and the name of the index.

    Args:
        metadata: `fma_metadata.zip`, or the folder it was unpacked to.
        subset: one of `SUBSETS`.

    Raises:
        DataError: the file is missing or has another form.
    """
    wanted = set(SUBSETS[: SUBSETS.index(subset) + 1])
    tracks = {}
    csv.field_size_limit(1 << 26)  # biographies run to more than the default of 128 KiB
    with _open(metadata, "tracks.csv") as file:
        rows = csv.reader(file)
        columns = {pair: i for i, pair in enumerate(zip(next(rows, []), next(rows, []), strict=False))}
        next(rows, None)
        needed = [("set", "subset"), ("track", "genres"), ("track", "genres_all")]
        missing = [f"{group}.{name}" for group, name in needed if (group, name) not in columns]
        if missing:
            raise DataError(f"tracks.csv in {metadata} has no column {', '.join(missing)} in its header rows")
        subset_column, genres_column, all_column = (columns[pair] for pair in needed)
        for row in rows:
            try:
                if row[subset_column] in wanted:
                    ids = _id_list(row[genres_column]) + _id_list(row[all_column])
                    tracks[f"{int(row[0]):06d}"] = list(dict.fromkeys(ids))
            except (ValueError, IndexError) as error:
                raise DataError(f"tracks.csv in {metadata}, line {rows.line_num}: not as in the release") from error
    return tracks


def _id_list(cell: str) -> list[int]:
    """A cell such as "[21, 103]"."""
    values = json.loads(cell) if cell.strip() else []
    return [int(value) for value in values]


def labels_of(tracks: Mapping[str, list[int]], genres: Mapping[int, Genre]) -> dict[str, list[str]]:
    """Track id → titles of its genres and of their ancestors, a genre before its parents.

    Raises:
        DataError: a genre is not in the tree, or the tree has a loop.
    """
    with_ancestors = {genre: _lineage(genre, genres) for genre in genres}
    unknown = {genre for ids in tracks.values() for genre in ids if genre not in with_ancestors}
    if unknown:
        raise DataError(f"tracks.csv has genres that genres.csv does not: {listed(sorted(map(str, unknown)))}")
    return {
        track: list(dict.fromkeys(title for genre in ids for title in with_ancestors[genre]))
        for track, ids in tracks.items()
    }


def _lineage(genre: int, genres: Mapping[int, Genre]) -> list[str]:
    titles: list[str] = []
    while genre:
        if genre not in genres or len(titles) > len(genres):
            raise DataError(f"genres.csv: the parents of a genre lead to {genre}, which is missing or goes in circles")
        titles.append(genres[genre].title)
        genre = genres[genre].parent
    return titles


def compare(ours: Mapping[str, list[str]], theirs: Mapping[str, list[str] | None]) -> tuple[int, list[str]]:
    """How many tracks both have, and which of those have other labels (in whatever order)."""
    both = [track for track in ours if track in theirs]
    return len(both), [track for track in both if set(ours[track]) != set(theirs[track] or ())]


@contextmanager
def _open(metadata: Path, name: str) -> Iterator[TextIO]:
    """A text file of the release, from the archive or from the unpacked folder."""
    try:
        if metadata.is_dir():
            path = next((path for path in (metadata / name, metadata / "fma_metadata" / name) if path.is_file()), None)
            if path is None:
                raise DataError(f"there is no {name} in {metadata}; unpack fma_metadata.zip there")
            with path.open(encoding="utf-8", newline="") as file:
                yield file
            return
        with zipfile.ZipFile(metadata) as archive:
            members = [member for member in archive.namelist() if member.rsplit("/", 1)[-1] == name]
            if not members:
                raise DataError(f"there is no {name} in {metadata}; is it fma_metadata.zip?")
            with archive.open(members[0]) as file:
                yield io.TextIOWrapper(file, encoding="utf-8", newline="")
    except FileNotFoundError:
        raise DataError(f"{metadata} is missing; the corpus' README says where to get fma_metadata.zip") from None
    except (zipfile.BadZipFile, zlib.error, RuntimeError, UnicodeDecodeError, csv.Error, EOFError) as error:
        raise DataError(f"{name} in {metadata} is damaged ({error}); fetch the release again") from error


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Make FMA's metadata.npy from fma_metadata.zip.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--metadata",
        type=Path,
        required=True,
        default=argparse.SUPPRESS,
        help="fma_metadata.zip, or the folder it was unpacked to",
    )
    parser.add_argument("--data_dir", type=Path, default=DATA_DIR / "fma", help="the corpus' folder")
    parser.add_argument("--subset", choices=SUBSETS, default="medium", help="which tracks")
    parser.add_argument("--overwrite", action="store_true", help="replace a metadata.npy that is there")
    parser.add_argument("--debug", action="store_true", help="show the traceback of errors")
    options = parser.parse_args(arguments)

    labels = labels_of(read_track_genres(options.metadata, options.subset), read_genres(options.metadata))
    if not labels:
        raise DataError(f"tracks.csv in {options.metadata} has no track of the subset '{options.subset}'")
    unlabelled = sum(not titles for titles in labels.values())
    print(f"{len(labels)} tracks of the subset '{options.subset}', {unlabelled} of them without a genre")
    target = options.data_dir / "split" / "metadata.npy"
    if target.exists():
        both, different = compare(labels, load_metadata(target))
        print(f"{target} has {both} of these tracks, {len(different)} with other labels: {listed(different) or 'none'}")
        if not options.overwrite:
            raise UsageError(f"{target} is there already; add --overwrite to replace it")
    make_directory(target.parent)
    with atomic_write(target) as file:
        np.save(file, np.array(labels, dtype=object), allow_pickle=True)
    print(f"written: {target}")


if __name__ == "__main__":
    run_script(main)
