"""The common interface of the corpora: ids, tag names and label matrices of three splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from config import DATA_DIR, DatasetConfig, dataset_config
from runtime.errors import DataError, UsageError, listed
from runtime.tag_names import is_tag_name

SPLIT_NAMES = ("train", "valid", "test")


@dataclass(frozen=True)
class Split:
    """The recordings of one split and their tags.

    Attributes:
        name: "train", "valid" or "test".
        ids: the recordings' ids; `{data_dir}/mel-spectrograms/{id}.npy` is a recording's spectrogram.
        labels: (recordings, tags) uint8, 1 where a recording has a tag of the vocabulary. A row
            may be all zeros.
        spectrogram_dir: where the spectrograms are.
        unlabelled: ids left out because their tags are unknown (only with `skip_missing`).
    """

    name: str
    ids: tuple[str, ...]
    labels: np.ndarray
    spectrogram_dir: Path
    unlabelled: tuple[str, ...] = ()


@dataclass(frozen=True)
class Corpus:
    """A corpus as its split and label files describe it.

    Attributes:
        tags: the tag vocabulary, in the order of the labels' columns.
    """

    config: DatasetConfig
    data_dir: Path
    split_dir: Path
    tags: tuple[str, ...]
    train: Split
    valid: Split
    test: Split

    @property
    def splits(self) -> tuple[Split, Split, Split]:
        return self.train, self.valid, self.test


@dataclass(frozen=True)
class LabelFiles:
    """What a reader makes of a corpus' split and label files.

    Attributes:
        tags: the tag vocabulary.
        ids: split name → ids.
        labels: split name → (recordings, tags) uint8.
        unlabelled: split name → ids whose tags are unknown; they are not in `ids`.
    """

    tags: tuple[str, ...]
    ids: Mapping[str, tuple[str, ...]]
    labels: Mapping[str, np.ndarray]
    unlabelled: Mapping[str, tuple[str, ...]]


def open_corpus(dataset: str, data_dir: Path | str | None = None, *, skip_missing: bool = False) -> Corpus:
    """Read the labels and splits of a corpus; no spectrogram is touched.

    Args:
        dataset: a name of `config.DATASETS`.
        data_dir: where the corpus is; `data/{dataset}` if not given. The split and label files
            are looked for in `{data_dir}/split`, then in `data/{dataset}/split`.
        skip_missing: leave out recordings whose tags are unknown instead of failing.

    Raises:
        UsageError: no such corpus or directory.
        DataError: a split or label file is missing, damaged or contradicts another.
    """
    config = dataset_config(dataset)
    data_dir = DATA_DIR / dataset if data_dir is None else Path(data_dir)
    if not data_dir.is_dir():
        raise UsageError(f"there is no directory {data_dir}; --data_dir names the folder that holds {config.title}")
    split_dir = _find_split_dir(config, data_dir)
    files = _reader(config.layout)(split_dir, config.n_tags)
    _check_tags(files, split_dir)
    _check_ids(files, split_dir)
    _check_unlabelled(files, split_dir, skip_missing)
    splits = {
        name: Split(
            name=name,
            ids=files.ids[name],
            labels=files.labels[name],
            spectrogram_dir=data_dir / "mel-spectrograms",
            unlabelled=files.unlabelled[name],
        )
        for name in SPLIT_NAMES
    }
    return Corpus(config=config, data_dir=data_dir, split_dir=split_dir, tags=files.tags, **splits)


def _reader(layout: str) -> Callable[[Path, int], LabelFiles]:
    from datasets import lyra, magnatagatune, metadata

    return {"magnatagatune": magnatagatune.read, "metadata": metadata.read, "lyra": lyra.read}[layout]


def _find_split_dir(config: DatasetConfig, data_dir: Path) -> Path:
    candidates = list(dict.fromkeys([data_dir / "split", DATA_DIR / config.name / "split"]))
    for candidate in candidates:
        if candidate.is_dir() and any(candidate.iterdir()):
            return candidate
    raise DataError(
        f"no split files of {config.title} in {' or '.join(map(str, candidates))}; "
        f"fetch them with: python preprocessing/get_splits.py --dataset {config.name}"
    )


def _check_tags(files: LabelFiles, split_dir: Path) -> None:
    unfit = [f"{tag[:40]!r}" for tag in files.tags if not is_tag_name(tag)]
    if unfit:
        raise DataError(f"the labels in {split_dir} have tags that are no line of text: {listed(unfit)}")


def _check_ids(files: LabelFiles, split_dir: Path) -> None:
    seen: dict[str, str] = {}
    for name in SPLIT_NAMES:
        all_ids = files.ids[name] + files.unlabelled[name]
        if not all_ids:
            raise DataError(f"the {name} split in {split_dir} is empty; fetch the split files again")
        unsafe = [repr(id_)[:80] for id_ in all_ids if not is_safe_id(id_)]
        if unsafe:
            raise DataError(f"the {name} split in {split_dir} has ids that are no file names: {listed(unsafe)}")
        for id_ in all_ids:
            if id_ in seen:
                where = f"twice in the {name} split" if seen[id_] == name else f"in the {seen[id_]} and {name} splits"
                raise DataError(f"the recording {id_} is {where} of {split_dir}; each may be listed once only")
            seen[id_] = name


def is_safe_id(recording_id: str) -> bool:
    """Whether an id is a plain file name, which cannot lead out of the spectrogram directory."""
    return (
        bool(recording_id)
        and not recording_id.startswith(".")
        and len(recording_id.encode("utf-8", "replace")) < 250  # with ".npy", what file systems take
        and not any(character in "/\\" or not character.isprintable() for character in recording_id)
    )


def _check_unlabelled(files: LabelFiles, split_dir: Path, skip_missing: bool) -> None:
    unlabelled = [id_ for name in SPLIT_NAMES for id_ in files.unlabelled[name]]
    if unlabelled and not skip_missing:
        raise DataError(
            f"{len(unlabelled)} recordings of the splits in {split_dir} have no tags in the metadata (unknown, or "
            f"they could not be fetched): {listed(unlabelled)}; fetch the metadata again, or leave them out with "
            "--skip_missing"
        )
    for name in SPLIT_NAMES:
        if not files.ids[name]:
            raise DataError(f"no recording of the {name} split in {split_dir} has tags; fetch the metadata again")


def most_frequent_tags(tag_lists: Iterable[Sequence[str]], n_tags: int) -> tuple[str, ...]:
    """The `n_tags` tags that most recordings have, ties broken by code-point order."""
    counts = Counter(tag for tags in tag_lists for tag in set(tags))
    return tuple(sorted(counts, key=lambda tag: (-counts[tag], tag))[:n_tags])


def label_matrix(tag_lists: Sequence[Sequence[str]], tags: Sequence[str]) -> np.ndarray:
    """(recordings, tags) uint8: 1 where a recording has the tag; tags outside the vocabulary are dropped."""
    column = {tag: i for i, tag in enumerate(tags)}
    labels = np.zeros((len(tag_lists), len(tags)), dtype=np.uint8)
    for row, recording_tags in enumerate(tag_lists):
        for tag in recording_tags:
            if tag in column:
                labels[row, column[tag]] = 1
    return labels
