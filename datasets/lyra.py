"""Lyra: `training.tsv` and `test.tsv`, tags in three columns.

Tags are `instruments--X`, `genres--X` and `place--X`, each cell split at "|". The vocabulary is
the most frequent tags of `training.tsv` as a whole; a tenth of its rows is then set apart for
validation, by the published shuffle.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from datasets.corpus import LabelFiles, label_matrix, most_frequent_tags
from runtime.errors import DataError

TAG_COLUMNS = ("instruments", "genres", "place")
VALIDATION_SEED = 10  # of the published choice


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
        # The text "None" is a value (a recording with no known place), not a missing cell.
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, na_filter=False, encoding="utf-8")
    except (ValueError, UnicodeError, OSError, OverflowError, pd.errors.ParserError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path} is not a readable table ({first_line:.120}); fetch it again") from error
    missing = [column for column in ("id", *TAG_COLUMNS) if column not in table.columns]
    if missing:
        raise DataError(f"{path} has no column {', '.join(missing)}; fetch it again")
    if not all(isinstance(value, str) for column in ("id", *TAG_COLUMNS) for value in table[column]):
        raise DataError(f"{path} has rows of different lengths; fetch it again")
    tag_lists = [
        [f"{column}--{value}" for column in TAG_COLUMNS for value in getattr(row, column).split("|") if value]
        for row in table.itertuples(index=False)
    ]
    return table["id"].tolist(), tag_lists
