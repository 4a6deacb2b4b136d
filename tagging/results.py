"""What a model says of a recording: scores of each tag, over all and chunk by chunk, and embeddings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FAMILY_MARK = "--"  # tags of most corpora are "family--name"
FAMILIES_WITHOUT_MARK = {"fma": "genre"}  # by corpus; elsewhere just "tag"


@dataclass(frozen=True)
class Analysis:
    """A recording as one model hears it.

    Attributes:
        label: of the model, "corpus/model_name".
        dataset: the corpus it was trained on.
        tags: names of the tags.
        scores: (tags,) float32 in [0, 1], of the whole recording.
        chunk_scores: (chunks, tags) float32 in [0, 1].
        embeddings: (chunks, embedding_size) float32, the input of the model's final layer.
        starts: (chunks,) start of each chunk in seconds.
        chunk_seconds: length of a chunk.
        hop_seconds: from the start of one chunk to that of the next.
        seconds: how much of the recording was heard, to a frame (16 ms), the rest after the last
            chunk included.
    """

    label: str
    dataset: str
    tags: tuple[str, ...]
    scores: np.ndarray
    chunk_scores: np.ndarray
    embeddings: np.ndarray
    starts: np.ndarray
    chunk_seconds: float
    hop_seconds: float
    seconds: float

    @property
    def embedding(self) -> np.ndarray:
        """(embedding_size,) float32: the mean over the chunks."""
        return self.embeddings.mean(axis=0, dtype=np.float64).astype(np.float32)

    def as_dict(self) -> dict[str, float]:
        """Score of each tag."""
        return dict(zip(self.tags, self.scores.tolist(), strict=True))

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The tags of the highest scores, best first."""
        return top_tags(self.as_dict(), count)

    def top_by_family(self, count: int = 3) -> dict[str, list[tuple[str, float]]]:
        """The same for each family of tags (instrument, makam, usul, …), without its name in front of the tags."""
        return top_by_family(self.as_dict(), self.dataset, count)


def top_tags(scores: dict[str, float], count: int) -> list[tuple[str, float]]:
    """The `count` tags of the highest scores, best first, equal ones in their own order."""
    return sorted(scores.items(), key=lambda item: -item[1])[:count]


def top_by_family(scores: dict[str, float], dataset: str, count: int) -> dict[str, list[tuple[str, float]]]:
    """See `Analysis.top_by_family`."""
    families: dict[str, dict[str, float]] = {}
    for tag, score in scores.items():
        family, name = split_tag(tag, dataset)
        families.setdefault(family, {})[name] = score
    return {family: top_tags(members, count) for family, members in families.items()}


def split_tag(tag: str, dataset: str) -> tuple[str, str]:
    """Family and name of a tag: "usul--Sofyan" is ("usul", "Sofyan")."""
    family, mark, name = tag.partition(FAMILY_MARK)
    return (family, name) if mark else (FAMILIES_WITHOUT_MARK.get(dataset, "tag"), tag)
