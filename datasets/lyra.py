"""Lyra: `training.tsv` and `test.tsv`, tags in three columns.

Tags are `instruments--X`, `genres--X` and `place--X`, each cell split at "|". The vocabulary is
the most frequent tags of `training.tsv` as a whole; a tenth of its rows is then set apart for
validation, by the published shuffle.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from datasets.corpus import LabelFiles, label_matrix, most_frequent_tags
from runtime.errors import DataError

TAG_COLUMNS = ("instruments", "genres", "place")
VALIDATION_SEED = 10  # of the published choice

_LARGEST = 16 * 2**20  # bytes; the published tables have some hundred kilobytes


def read(split_dir: Path, n_tags: int) -> LabelFiles:
    """Read the splits and labels in `split_dir`; see `datasets.corpus.LabelFiles`.

    Raises:
        DataError: a file is missing, damaged or of another form.
    """
    training_ids, training_tags = _read_tsv(split_dir / "training.tsv")
    test_ids, test_tags = _read_tsv(split_dir / "test.tsv")
    tags = most_frequent_tags(training_tags, n_tags)
    train_rows, valid_rows = split_training(len(training_ids))
    rows = {"train": train_rows, "valid": valid_rows}
    ids = {name: tuple(training_ids[i] for i in rows[name]) for name in rows} | {"test": tuple(test_ids)}
    tag_lists = {name: [training_tags[i] for i in rows[name]] for name in rows} | {"test": test_tags}
    labels = {name: label_matrix(tag_lists[name], tags) for name in ids}
    return LabelFiles(tags=tags, ids=ids, labels=labels, unlabelled=dict.fromkeys(ids, ()))


def split_training(n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of `training.tsv` for training and for validation (a tenth), as published."""
    order = np.arange(n_rows)
    np.random.RandomState(VALIDATION_SEED).shuffle(order)  # the published split was drawn with it
    n_valid = n_rows // 10
    return order[n_valid:], order[:n_valid]


def _read_tsv(path: Path) -> tuple[list[str], list[list[str]]]:
    """Ids and tags of each row."""
    if not path.is_file():
        raise DataError(f"{path} is missing; fetch it with: python preprocessing/get_splits.py --dataset lyra")
    try:
        header, *rows = _read_rows(path)
    except (ValueError, OSError, csv.Error) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path} is not a readable table ({reason:.120}); fetch it again") from error
    missing = [column for column in ("id", *TAG_COLUMNS) if column not in header]
    if missing:
        raise DataError(f"{path} has no column {', '.join(missing)}; fetch it again")
    if any(len(row) != len(header) for row in rows):
        raise DataError(f"{path} has rows of different lengths; fetch it again")
    place = {column: header.index(column) for column in ("id", *TAG_COLUMNS)}
    tag_lists = [
        [f"{column}--{value}" for column in TAG_COLUMNS for value in row[place[column]].split("|") if value]
        for row in rows
    ]
    return [row[place["id"]] for row in rows], tag_lists


def _read_rows(path: Path) -> list[list[str]]:
    """All cells as text: "None" is a value (a recording with no known place), not a missing cell."""
    size = path.stat().st_size
    if size > _LARGEST:
        raise ValueError(f"{size} bytes are too many")
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = [row for row in csv.reader(file, delimiter="\t", strict=True) if row]
    if not rows:
        raise ValueError("it is empty")
    return rows
