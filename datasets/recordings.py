"""The recordings of a split with their mel-spectrograms on disk, headers read and checked."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from datasets.corpus import Corpus, Split
from datasets.spectrograms import SpectrogramFile, read_header
from runtime.errors import DataError, listed

_HEADERS_AT_ONCE = 64  # recordings a task
_SLOW_HEADER = 2e-4  # seconds, ten times what one takes that is in memory
_HEADER_THREADS = 8  # where headers are slow: they wait for a network or a disk. Else they would wait for each other


@dataclass(frozen=True)
class Recordings:
    """The recordings of a split that can be used.

    Attributes:
        split: "train", "valid" or "test".
        ids: the recordings' ids.
        labels: (recordings, tags) uint8.
        files: their mel-spectrograms.
        skipped: ids of the split left out for want of a spectrogram or of tags.
    """

    split: str
    ids: tuple[str, ...]
    labels: np.ndarray
    files: tuple[SpectrogramFile, ...]
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def n_frames(self) -> np.ndarray:
        """(recordings,) int64: length of each in frames."""
        return np.array([file.n_frames for file in self.files], dtype=np.int64)

    def read(self, index: int, start: int = 0, count: int | None = None) -> np.ndarray:
        """Frames of one recording, (count, 128) float32 dB; see `SpectrogramFile.read`."""
        return self.files[index].read(start, count)


def open_recordings(split: Split, *, skip_missing: bool = False) -> Recordings:
    """Find the mel-spectrograms of a split and check their headers.

    Args:
        split: a split of `datasets.open_corpus`.
        skip_missing: leave out recordings without a spectrogram instead of failing. Damaged
            files are an error all the same.

    Raises:
        DataError: spectrograms are missing (says how many, and the first few) or damaged.
    """
    directory = split.spectrogram_dir
    if not directory.is_dir():
        raise DataError(
            f"there is no directory {directory}; make it with preprocessing/create_mel_spectrograms.py "
            "(Lyra's spectrograms are downloaded)"
        )

    def header(recording_id: str) -> SpectrogramFile | DataError | None:
        try:
            return read_header(directory / f"{recording_id}.npy")
        except FileNotFoundError:
            return None
        except DataError as error:
            return error

    def headers(ids: Sequence[str]) -> list[SpectrogramFile | DataError | None]:
        return [header(id_) for id_ in ids]

    first, *some = [split.ids[i : i + _HEADERS_AT_ONCE] for i in range(0, len(split.ids), _HEADERS_AT_ONCE)] or [()]
    started = time.perf_counter()
    found = headers(first)
    slow = time.perf_counter() - started > _SLOW_HEADER * len(first)
    with ThreadPoolExecutor(_HEADER_THREADS if slow else 1) as pool:
        for results in pool.map(headers, some):
            found += results

    damaged = [result for result in found if isinstance(result, DataError)]
    if damaged:
        more = f" (and {len(damaged) - 1} more damaged files)" if len(damaged) > 1 else ""
        raise DataError(f"{damaged[0]}{more}")
    missing = [id_ for id_, result in zip(split.ids, found, strict=True) if result is None]
    if missing and not skip_missing:
        raise DataError(
            f"{len(missing)} of the {len(split.ids)} spectrograms of the {split.name} split are not in {directory}: "
            f"{listed(missing)}; make them with preprocessing/create_mel_spectrograms.py, or leave the recordings "
            "out with --skip_missing"
        )
    kept = [i for i, result in enumerate(found) if isinstance(result, SpectrogramFile)]
    if not kept:
        raise DataError(f"none of the {len(split.ids)} spectrograms of the {split.name} split is in {directory}")
    return Recordings(
        split=split.name,
        ids=tuple(split.ids[i] for i in kept),
        labels=split.labels[kept],
        files=tuple(found[i] for i in kept),
        skipped=tuple(missing) + split.unlabelled,
    )


def data_fingerprint(corpus: Corpus, recordings: Iterable[Recordings]) -> str:
    """SHA-256 over what the given splits consist of: tags, ids, labels and lengths in frames.

    Values of the spectrograms do not enter, so that it costs no more than the headers.
    """
    digest = hashlib.sha256()
    digest.update("\0".join((corpus.config.name, *corpus.tags)).encode())
    for split in recordings:
        digest.update("\0".join(("", split.split, *split.ids, "")).encode())
        digest.update(np.ascontiguousarray(split.labels).tobytes())
        digest.update(split.n_frames.astype("<i8").tobytes())
    return digest.hexdigest()
