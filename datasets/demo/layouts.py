"""The files of a demo corpus, placed, named and typed as those of the real corpus."""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from config import DATASETS
from datasets.demo.design import Recording
from datasets.demo.recipes.lyra import REGIONS, instruments
from runtime.atomic_files import atomic_write, make_directory

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Entry:
    """A recording with its name."""

    recording: Recording
    id: str  # what its mel-spectrogram is called
    file: Path  # of its audio (Lyra: its mel-spectrogram), relative to the corpus

    @property
    def split(self) -> str | None:
        return self.recording.split


def name(dataset: str, recordings: list[Recording], rng: np.random.Generator) -> list[Entry]:
    """Give each recording an identifier and a file, as the corpus `dataset` would."""
    namer: Callable[[list[Recording], np.random.Generator], list[Entry]] = {
        "magnatagatune": _name_magnatagatune,
        "fma": _name_fma,
        "lyra": _name_lyra,
    }.get(dataset, _name_compmusic)
    return namer(recordings, rng)


def write_labels(dataset: str, entries: list[Entry], out: Path) -> None:
    """Write the split and label files of `dataset` into `{out}/split`."""
    folder = make_directory(out / "split")
    {
        "magnatagatune": _write_magnatagatune,
        "metadata": _write_metadata,
        "lyra": _write_lyra,
    }[DATASETS[dataset].layout](entries, folder)


def _name_magnatagatune(recordings: list[Recording], rng: np.random.Generator) -> list[Entry]:
    # The published split goes by folder: 0...9, a and b to train, c to valid, d, e and f to test.
    folders = {"train": "0123456789ab", "valid": "c", "test": "def", None: "0123456789abcdef"}
    titles = ("allegro", "ballad", "dance", "etude", "hymn", "march", "nocturne", "prelude", "rondo", "study")
    entries = []
    for recording in recordings:
        folder = rng.choice(list(folders[recording.split]))
        title = f"{recording.number:03d}-{rng.choice(titles)}-0-{round(recording.seconds)}"
        stem = f"the_synthetic_players-demo_corpus-{title}"
        entries.append(Entry(recording, stem, Path("audios", folder, f"{stem}.mp3")))
    return entries


def _name_fma(recordings: list[Recording], rng: np.random.Generator) -> list[Entry]:
    numbers = np.sort(rng.choice(np.arange(2, 155_320), size=len(recordings), replace=False))
    ids = [f"{number:06d}" for number in numbers]
    return [Entry(r, i, Path("audios", i[:3], f"{i}.mp3")) for r, i in zip(recordings, ids, strict=True)]


def _name_compmusic(recordings: list[Recording], rng: np.random.Generator) -> list[Entry]:
    ids = [str(uuid.UUID(bytes=rng.bytes(16), version=4)) for _ in recordings]
    return [Entry(r, i, Path("audios", f"{i}.mp3")) for r, i in zip(recordings, ids, strict=True)]


def _name_lyra(recordings: list[Recording], rng: np.random.Generator) -> list[Entry]:
    ids = [f"{r.choice['region']}-synthetic-{r.number}" for r in recordings]
    return [Entry(r, i, Path("mel-spectrograms", f"{i}.npy")) for r, i in zip(recordings, ids, strict=True)]


def _save(path: Path, array: np.ndarray | dict) -> None:
    with atomic_write(path) as file:
        np.save(file, array, allow_pickle=isinstance(array, dict))


def _write_magnatagatune(entries: list[Entry], folder: Path) -> None:
    """`tags.npy`, most frequent first; `binary.npy`, a row for each clip in a split or not; the split lists."""
    support: dict[str, int] = {}
    for entry in entries:
        for tag in entry.recording.tags:
            support[tag] = support.get(tag, 0) + 1
    tags = sorted(support, key=lambda tag: (-support[tag], tag))
    binary = np.array([[tag in entry.recording.tags for tag in tags] for entry in entries], np.int64)
    _save(folder / "tags.npy", np.array(tags))
    _save(folder / "binary.npy", binary)
    for split in SPLITS:
        lines = [f"{row}\t{Path(*e.file.parts[1:]).as_posix()}" for row, e in enumerate(entries) if e.split == split]
        _save(folder / f"{split}.npy", np.array(lines))


def _write_metadata(entries: list[Entry], folder: Path) -> None:
    """`metadata.npy`, a pickled dict of every recording's tags; the split lists of identifiers."""
    _save(folder / "metadata.npy", {entry.id: list(entry.recording.tags) for entry in entries})
    for split in SPLITS:
        _save(folder / f"{split}.npy", np.array([entry.id for entry in entries if entry.split == split]))


def _write_lyra(entries: list[Entry], folder: Path) -> None:
    """`training.tsv` and `test.tsv` with all of Lyra's columns.

    Which tenth of the training rows is the validation set follows from their order (NumPy's
    legacy generator, seed 10), so those rows are given to the recordings meant for it.
    """
    train, valid, test = ([e for e in entries if e.split == split] for split in SPLITS)
    order = np.arange(len(train) + len(valid))
    np.random.RandomState(10).shuffle(order)
    rows: list[Entry] = [None] * len(order)
    for place, entry in zip(order, [*valid, *train], strict=True):
        rows[place] = entry
    for file, listed in (("training.tsv", rows), ("test.tsv", test)):
        text = io.StringIO()
        table = csv.writer(text, delimiter="\t", lineterminator="\n")
        table.writerow(
            ("id", "instruments", "genres", "place", "coordinates", "is-danced", "youtube-id", "start-ts", "end-ts")
        )
        for entry in listed:
            region = REGIONS[entry.recording.choice["region"]]
            names = "|".join(instruments(entry.recording.choice))
            labels = (names, region.genres, region.place, region.coordinates, int(region.place != "None"))
            table.writerow((entry.id, *labels, "synthetic", 0, round(entry.recording.seconds)))
        with atomic_write(folder / file, "w", encoding="utf-8") as out:
            out.write(text.getvalue())
