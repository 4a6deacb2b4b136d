"""The scores of each recording, and their `.csv`.

One row a recording, one column a tag, `id` first; digits enough to give each float32 back.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RecordingScores:
    """What a model says of each recording, beside the truth."""

    ids: tuple[str, ...]
    tags: tuple[str, ...]
    labels: np.ndarray  # (recordings, tags), 0 or 1
    scores: np.ndarray  # (recordings, tags), float32 in [0, 1]

    def __post_init__(self) -> None:
        if self.scores.dtype != np.float32:  # else the .csv would not give the same ties back
            raise TypeError(f"scores must be float32, not {self.scores.dtype}")
        if not self.labels.shape == self.scores.shape == (len(self.ids), len(self.tags)):
            raise ValueError(
                f"labels {self.labels.shape} and scores {self.scores.shape} "
                f"of {len(self.ids)} recordings and {len(self.tags)} tags"
            )

    def true_tags(self, row: int) -> list[str]:
        """The tags that recording number `row` has."""
        return [self.tags[column] for column in np.flatnonzero(self.labels[row])]


def scores_to_csv(recordings: RecordingScores) -> bytes:
    """The contents of the `.csv`, UTF-8."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", *recordings.tags])
    for recording_id, row in zip(recordings.ids, recordings.scores, strict=True):
        writer.writerow([recording_id, *map(str, row)])  # the shortest text that gives the float32 back
    return text.getvalue().encode()


def scores_from_csv(content: bytes) -> tuple[tuple[str, ...], tuple[str, ...], np.ndarray]:
    """Ids, tags and scores (recordings, tags) float32 from the contents of a `.csv`.

    Raises:
        ValueError: it is not such a table.
    """
    header, *rows = csv.reader(io.StringIO(content.decode(), newline=""))
    scores = np.array([row[1:] for row in rows], dtype=np.float32).reshape(len(rows), len(header) - 1)
    return tuple(row[0] for row in rows), tuple(header[1:]), scores
