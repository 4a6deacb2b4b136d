"""Tables of results as CSV and JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from runtime.atomic_files import atomic_write
from tagging.results import Analysis

DIGITS = 6  # decimals of a score


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table, UTF-8 with a line of column names.

    Raises:
        OSError: it cannot be written.
    """
    with atomic_write(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def write_json(path: Path, content: Any) -> None:
    """Write plain values as JSON.

    Raises:
        OSError: it cannot be written.
    """
    with atomic_write(path, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)


def score_table(results: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], list[list[object]]]:
    """One row a recording, one column a tag; of several models "corpus/model: tag", side by side.

    Args:
        results: by recording, {"seconds", "models": {label: {"scores": {tag: score}}}}, all of the
            same models.
    """
    first = next(iter(results.values()), None)
    if first is None:
        return ["recording", "seconds"], []
    several = len(first["models"]) > 1
    header = ["recording", "seconds"]
    for label, model in first["models"].items():
        header += [f"{label}: {tag}" if several else tag for tag in model["scores"]]
    rows: list[list[object]] = []
    for name, result in results.items():
        scores = [score for model in result["models"].values() for score in model["scores"].values()]
        rows.append([name, f"{result['seconds']:.2f}", *(f"{score:.{DIGITS}f}" for score in scores)])
    return header, rows


def taggram_table(analysis: Analysis) -> tuple[list[str], list[list[object]]]:
    """One row a chunk: its start and end in seconds and its score of each tag."""
    header = ["start_seconds", "end_seconds", *analysis.tags]
    rows: list[list[object]] = []
    for start, scores in zip(analysis.starts, analysis.chunk_scores, strict=True):
        end = start + analysis.chunk_seconds
        rows.append([f"{start:.3f}", f"{end:.3f}", *(f"{score:.{DIGITS}f}" for score in scores)])
    return header, rows
