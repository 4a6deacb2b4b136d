"""FMA, Turkish-makam, Hindustani and Carnatic: id lists and one `metadata.npy`.

`{train,valid,test}.npy` hold ids; `metadata.npy` a dict from id to tags. The vocabulary is the
most frequent tags of the training list.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from datasets.corpus import SPLIT_NAMES, LabelFiles, label_matrix, most_frequent_tags
from datasets.safe_numpy import load_array, load_metadata
from runtime.errors import DataError


def read(split_dir: Path, n_tags: int) -> LabelFiles:
    """Read the splits and labels in `split_dir`; see `datasets.corpus.LabelFiles`.

    Raises:
        DataError: a file is missing, damaged or of another form.
    """
    metadata = load_metadata(split_dir / "metadata.npy")
    listed_ids = {name: read_ids(split_dir / f"{name}.npy") for name in SPLIT_NAMES}
    ids = {name: tuple(id_ for id_ in listed_ids[name] if metadata.get(id_) is not None) for name in SPLIT_NAMES}
    unlabelled = {name: tuple(id_ for id_ in listed_ids[name] if metadata.get(id_) is None) for name in SPLIT_NAMES}
    tag_lists = {name: [metadata[id_] or [] for id_ in ids[name]] for name in SPLIT_NAMES}
    tags = most_frequent_tags(tag_lists["train"], n_tags)
    if not tags and ids["train"]:
        raise DataError(f"no recording of the training split has a tag in {split_dir / 'metadata.npy'}")
    labels = {name: label_matrix(tag_lists[name], tags) for name in SPLIT_NAMES}
    return LabelFiles(tags=tags, ids=ids, labels=labels, unlabelled=unlabelled)


def read_ids(path: Path) -> tuple[str, ...]:
    """The ids of a split file.

    Raises:
        DataError: missing, damaged, or not a list of strings.
    """
    array = load_array(path)
    if array.ndim != 1 or array.dtype.kind != "U":
        raise DataError(f"{path} is not a list of ids but {array.dtype} of shape {array.shape}; fetch it again")
    # NumPy makes strings of whatever it finds, and Python fails on code points beyond Unicode later.
    code_point = np.dtype(np.uint32).newbyteorder(array.dtype.byteorder)
    if array.nbytes and array.view(code_point).max() > sys.maxunicode:
        raise DataError(f"{path} holds damaged text; fetch it again")
    return tuple(array.tolist())
