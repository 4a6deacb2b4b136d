"""MagnaTagATune: split lists that point into the rows of one label matrix.

`{train,valid,test}.npy` hold lines `index<TAB>folder/file.mp3`; `index` is a row of
`binary.npy` (clips × tags), whose columns `tags.npy` names. A clip's spectrogram is called as
its file, without folder and ending.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np

from datasets.corpus import SPLIT_NAMES, LabelFiles
from datasets.metadata import read_ids
from datasets.safe_numpy import load_array
from runtime.errors import DataError


def read(split_dir: Path, n_tags: int) -> LabelFiles:
    """Read the splits and labels in `split_dir`; see `datasets.corpus.LabelFiles`.

    Raises:
        DataError: a file is missing, damaged or contradicts another.
    """
    tags = read_ids(split_dir / "tags.npy")
    if len(set(tags)) != len(tags) or not 0 < len(tags) <= n_tags:
        raise DataError(f"{split_dir / 'tags.npy'} should name up to {n_tags} different tags; fetch it again")
    binary = _read_binary(split_dir / "binary.npy", len(tags))
    ids, labels = {}, {}
    for name in SPLIT_NAMES:
        path = split_dir / f"{name}.npy"
        rows, ids[name] = _read_lines(path)
        if rows.size and rows.max() >= len(binary):
            raise DataError(f"{path} points at row {rows.max()} of the {len(binary)} of binary.npy; fetch both again")
        labels[name] = binary[rows]
    return LabelFiles(tags=tags, ids=ids, labels=labels, unlabelled=dict.fromkeys(SPLIT_NAMES, ()))


def _read_binary(path: Path, n_tags: int) -> np.ndarray:
    """The label matrix, (clips, tags) uint8."""
    binary = load_array(path)
    if binary.ndim != 2 or binary.shape[1] != n_tags or binary.dtype.kind not in "biuf":
        raise DataError(
            f"{path} should be clips × {n_tags} tags of 0 and 1, as many columns as tags.npy has names, "
            f"but is {binary.dtype} of shape {binary.shape}; fetch both again"
        )
    if not np.isin(binary, (0, 1)).all():
        raise DataError(f"{path} holds values other than 0 and 1; fetch it again")
    return binary.astype(np.uint8)


def _read_lines(path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Rows of the label matrix, (clips,) int64, and the clips' ids."""
    rows, ids = [], []
    for line in read_ids(path):
        index, tab, file = line.partition("\t")
        if not tab or not (index.isascii() and index.isdigit()) or len(index) > 9:
            raise DataError(f"{path}: the line {line!r:.80} is not `index<TAB>folder/file.mp3`; fetch it again")
        rows.append(int(index))
        ids.append(PurePosixPath(file).stem)
    return np.array(rows, dtype=np.int64), tuple(ids)
