"""Embeddings of many recordings in one file: an array with an index, or a Parquet table."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from runtime.atomic_files import atomic_write, make_directory
from runtime.errors import UsageError
from tagging.recordings import Recording, work_through
from tagging.records import Records
from tagging.tables import write_csv
from tagging.tagger import Tagger

FORMATS = ("npy", "parquet")
ROWS_AT_ONCE = 4096  # of a Parquet file
Row = tuple[str, float, float, np.ndarray]  # recording, start and end in seconds, embedding


def embed(
    recordings: Sequence[Recording],
    tagger: Tagger,
    out: Path,
    *,
    per_chunk: bool = False,
    file_format: str = "npy",
    overlap: float = 0.0,
    max_seconds: float | None = None,
    as_in_study: bool = False,
) -> tuple[list[Path], dict[str, str]]:
    """Write the embeddings of recordings.

    `{out}/embeddings.npy` is float32 (rows, embedding_size) with `{out}/index.csv` naming the recording
    and the seconds of each row; `{out}/embeddings.parquet` has all of it. What is finished is kept in
    `{out}/recordings`, chunk by chunk, so that a second run does only the rest. Failures are listed
    in `{out}/failed.csv`.

    Args:
        recordings: what to embed.
        tagger: the model.
        out: the folder of results.
        per_chunk: a row for each chunk instead of the mean over a recording's chunks.
        file_format: one of `FORMATS`.
        overlap: see `tagging.analyse`, as the following.
        max_seconds: use only the beginning.
        as_in_study: use what the study uses.

    Returns:
        The files written, and the reason of each failure by recording.

    Raises:
        UserError: the output cannot be written, or a signal stopped the work.
    """
    if file_format == "parquet" and importlib.util.find_spec("pyarrow") is None:
        raise UsageError("Parquet needs the package pyarrow: pip install -r requirements-export.txt, or take npy")
    records = Records(
        out / "recordings",
        {
            "checkpoint": tagger.sha256,
            "model": dict(tagger.model.settings),
            "precision": tagger.precision.name,
            "overlap": overlap,
            "max_seconds": max_seconds,
            "as_in_study": as_in_study,
        },
    )
    finished: dict[str, tuple[Recording, dict[str, Any]]] = {}

    def work(recording: Recording) -> None:
        content = records.load(recording)
        if content is None or not records.path(recording, ".embeddings.npy").is_file():
            analysis = tagger.tag(recording.path, overlap=overlap, max_seconds=max_seconds, as_in_study=as_in_study)
            content = {
                "starts": analysis.starts.tolist(),
                "chunk_seconds": analysis.chunk_seconds,
                "seconds": analysis.seconds,
            }
            part = records.path(recording, ".embeddings.npy")
            make_directory(part.parent)
            with atomic_write(part) as file:
                np.save(file, analysis.embeddings)
            records.save(recording, content)
        finished[recording.name] = recording, content

    failures = work_through(recordings, work)
    make_directory(out)
    if failures:
        write_csv(out / "failed.csv", ["recording", "reason"], failures.items())
    else:
        (out / "failed.csv").unlink(missing_ok=True)

    def rows() -> Iterator[Row]:
        for name, (recording, content) in finished.items():
            embeddings = np.load(records.path(recording, ".embeddings.npy"), allow_pickle=False)
            if per_chunk:
                for start, embedding in zip(content["starts"], embeddings, strict=True):
                    yield name, start, start + content["chunk_seconds"], embedding
            else:
                yield name, 0.0, content["seconds"], embeddings.mean(axis=0, dtype=np.float64).astype(np.float32)

    if not finished:
        return [], failures
    count = sum(len(content["starts"]) for _, content in finished.values()) if per_chunk else len(finished)
    write = _write_parquet if file_format == "parquet" else _write_array
    return write(out, rows(), count, tagger.model.embedding_size), failures


def _write_array(out: Path, rows: Iterator[Row], count: int, size: int) -> list[Path]:
    array, index = out / "embeddings.npy", out / "index.csv"
    places: list[Sequence[object]] = []
    with atomic_write(array) as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (count, size)}
        np.lib.format.write_array_header_1_0(file, header)
        for row, (name, start, end, embedding) in enumerate(rows):
            file.write(embedding.astype("<f4").tobytes())
            places.append((row, name, f"{start:.3f}", f"{end:.3f}"))
    write_csv(index, ["row", "recording", "start_seconds", "end_seconds"], places)
    return [array, index]


def _write_parquet(out: Path, rows: Iterator[Row], count: int, size: int) -> list[Path]:
    import pyarrow as pa
    import pyarrow.parquet

    path = out / "embeddings.parquet"
    schema = pa.schema(
        {
            "recording": pa.string(),
            "start_seconds": pa.float64(),
            "end_seconds": pa.float64(),
            "embedding": pa.list_(pa.float32(), size),
        }
    )
    with atomic_write(path) as file, pyarrow.parquet.ParquetWriter(file, schema) as writer:
        for _ in range(0, count, ROWS_AT_ONCE):
            names, starts, ends, embeddings = zip(*islice(rows, ROWS_AT_ONCE), strict=True)
            values = pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(embeddings)), size)
            texts = [name.encode("utf-8", "replace").decode() for name in names]
            writer.write_table(pa.table([pa.array(texts), pa.array(starts), pa.array(ends), values], schema=schema))
    return [path]
