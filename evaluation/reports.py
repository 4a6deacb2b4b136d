"""The files of an evaluation: `{evaluation_dir}/{dataset}/{model_name}.txt`, `.csv` and `.json`.

`.txt`   what the study publishes: a title, `ROC-AUC score: …`, `PR-AUC score: …`, the classification report.
`.csv`   the scores of each recording (`evaluation.recording_scores`).
`.json`  everything, as strict JSON (null where a value is not defined):

    format                      FORMAT, the version of this layout
    dataset, model_name
    n_recordings, roc_auc, pr_auc, per_tag, excluded, threshold,
    classification_report, classification_report_text
                                the fields of `evaluation.metrics.Metrics`
    notes                       sentences a reader must know, for example of recordings left out
    provenance                  what the caller knows: checkpoint, configuration, seed, versions, data, device …
    scores_sha256               SHA-256 of the `.csv`
    recordings                  id and true tags of each recording, in the order of the `.csv`

The `.json` is the mark of a complete evaluation: it is removed first and takes its name last, so where
it exists the other two belong to it, whenever the process was killed. Pictures of an earlier evaluation
(`evaluation.plots`) are removed with it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.metrics import Metrics, TagMetrics
from evaluation.recording_scores import RecordingScores, scores_from_csv, scores_to_csv
from runtime.atomic_files import atomic_write, make_directory, part_path, remove_stale_parts
from runtime.errors import DataError

FORMAT = 1


@dataclass(frozen=True)
class ReportFiles:
    """Where the files of one evaluation are."""

    directory: Path
    model_name: str

    @property
    def text(self) -> Path:
        return self.directory / f"{self.model_name}.txt"

    @property
    def json(self) -> Path:
        return self.directory / f"{self.model_name}.json"

    @property
    def scores(self) -> Path:
        return self.directory / f"{self.model_name}.csv"

    @property
    def curves(self) -> Path:
        return self.directory / f"{self.model_name}_curves.png"

    @property
    def tag_bars(self) -> Path:
        return self.directory / f"{self.model_name}_tags.png"


@dataclass(frozen=True)
class Report:
    """An evaluation as it was written."""

    dataset: str
    model_name: str
    metrics: Metrics
    notes: tuple[str, ...]
    provenance: Mapping[str, Any]
    scores_sha256: str


def report_files(evaluation_dir: Path, dataset: str, model_name: str) -> ReportFiles:
    return ReportFiles(evaluation_dir / dataset, model_name)


def prepare_report(evaluation_dir: Path, dataset: str, model_name: str) -> ReportFiles:
    """Create the directory of a report and see that it takes files, before the scoring is paid for.

    Raises:
        DataError: the directory cannot be created or written to.
    """
    files = report_files(evaluation_dir, dataset, model_name)
    make_directory(files.directory)
    remove_stale_parts(files.directory)
    with _told(files.directory):
        probe = part_path(files.json)
        probe.touch()
        probe.unlink()
    return files


def write_report(
    evaluation_dir: Path,
    dataset: str,
    model_name: str,
    metrics: Metrics,
    recordings: RecordingScores,
    provenance: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> ReportFiles:
    """Write the three files of an evaluation; an earlier one of the same run is replaced as a whole.

    Args:
        metrics: of the labels and scores of `recordings`.
        provenance: where the figures come from: text, numbers, paths, None, and lists and mappings of them.
        notes: sentences for the end of the `.txt`, the one on excluded tags being there by itself.

    Raises:
        DataError: the directory cannot be written to, or the disk is full.
    """
    files = report_files(evaluation_dir, dataset, model_name)
    make_directory(files.directory)
    scores = scores_to_csv(recordings)
    document = {
        "format": FORMAT,
        "dataset": dataset,
        "model_name": model_name,
        **asdict(metrics),
        "notes": list(notes),
        "provenance": provenance,
        "scores_sha256": hashlib.sha256(scores).hexdigest(),
    }
    text = _report_text(dataset, model_name, metrics, notes).encode()
    json_text = _report_json(document, recordings)
    # Contexts are left in the opposite order: the scores take their name first, the .json last.
    with (
        _told(files.directory),
        atomic_write(files.json) as json_file,
        atomic_write(files.text) as text_file,
        atomic_write(files.scores) as scores_file,
    ):
        for file, content in ((json_file, json_text), (text_file, text), (scores_file, scores)):
            file.write(content)
            file.flush()  # a full disk shows here, while the earlier evaluation is still whole
        for path in (files.json, files.curves, files.tag_bars):
            path.unlink(missing_ok=True)
    return files


def read_report(path: Path) -> Report:
    """Read the `.json` of an evaluation.

    Raises:
        DataError: there is none, or it is damaged or not of this layout.
    """
    return _report(_read_document(path), path)


def read_scores(path: Path) -> RecordingScores:
    """Read labels and scores of each recording, given the `.json` of an evaluation.

    Raises:
        DataError: the `.json` or the `.csv` beside it is missing or damaged, or they do not belong together.
    """
    document = _read_document(path)
    report = _report(document, path)
    tags = tuple(row.tag for row in report.metrics.per_tag)
    column = {tag: i for i, tag in enumerate(tags)}
    csv_path = path.with_suffix(".csv")
    try:
        content = csv_path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read the scores {csv_path} ({error.strerror}); run the evaluation again") from error
    if hashlib.sha256(content).hexdigest() != report.scores_sha256:
        raise DataError(f"{csv_path} is not the file that {path.name} describes; run the evaluation again")
    with _damaged(path):
        ids, columns, scores = scores_from_csv(content)
        if columns != tags or ids != tuple(row["id"] for row in document["recordings"]):
            raise ValueError(f"its tags or recordings are not those of {csv_path.name}")
        labels = np.zeros(scores.shape, dtype=np.uint8)
        for row, recording in zip(labels, document["recordings"], strict=True):
            row[[column[tag] for tag in recording["tags"]]] = 1
    return RecordingScores(ids, tags, labels, scores)


def _report_text(dataset: str, model_name: str, metrics: Metrics, notes: Sequence[str]) -> str:
    def figure(value: float) -> str:
        return "not defined" if math.isnan(value) else repr(value)

    lines = [
        f'Evaluation of the model "{model_name}" on the test set of "{dataset}":',
        f"ROC-AUC score: {figure(metrics.roc_auc)}",
        f"PR-AUC score: {figure(metrics.pr_auc)}",
        "",
        metrics.classification_report_text,
    ]
    note = metrics.exclusion_note
    lines += [*([note] if note else []), *notes]
    return "\n".join(lines).rstrip("\n") + "\n"


def _report_json(document: Mapping[str, Any], recordings: RecordingScores) -> bytes:
    """The document with its recordings, one a line, at the end."""
    head = json.dumps(_strict(document), indent=2, ensure_ascii=False, allow_nan=False).removesuffix("\n}")
    rows = ({"id": recording_id, "tags": recordings.true_tags(i)} for i, recording_id in enumerate(recordings.ids))
    body = ",\n".join(f"    {json.dumps(row, ensure_ascii=False)}" for row in rows)
    return f'{head},\n  "recordings": [\n{body}\n  ]\n}}\n'.encode()


def _strict(value: Any) -> Any:
    """`value` in the types of JSON; numbers that are not finite become null."""
    if isinstance(value, Mapping):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    if isinstance(value, np.generic):
        return _strict(value.item())
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _read_document(path: Path) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise ValueError(f"it holds {constant}")

    with _damaged(path):
        document = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
        if not isinstance(document, dict) or "format" not in document:
            raise ValueError("it is not an evaluation")
        if document["format"] != FORMAT:
            raise ValueError(f"it is of format {document['format']}, and this version reads format {FORMAT}")
    return document


def _report(document: dict[str, Any], path: Path) -> Report:
    with _damaged(path):
        values = {field.name: document[field.name] for field in fields(Metrics)}
        values["per_tag"] = tuple(
            TagMetrics(str(row["tag"]), int(row["support"]), _area(row["roc_auc"]), _area(row["pr_auc"]))
            for row in document["per_tag"]
        )
        values["excluded"] = tuple(document["excluded"])
        values |= {name: _area(document[name]) for name in ("roc_auc", "pr_auc")}
        if not values["per_tag"]:
            raise ValueError("it has no tags")
        if len(document["recordings"]) != document["n_recordings"]:
            raise ValueError(f"{len(document['recordings'])} of {document['n_recordings']} recordings are there")
        return Report(
            dataset=str(document["dataset"]),
            model_name=str(document["model_name"]),
            metrics=Metrics(**values),
            notes=tuple(document["notes"]),
            provenance=dict(document["provenance"]),
            scores_sha256=str(document["scores_sha256"]),
        )


def _area(value: float | None) -> float:
    if value is None:
        return math.nan
    if not 0 <= value <= 1:
        raise ValueError(f"{value} is no area under a curve")
    return float(value)


@contextmanager
def _damaged(path: Path):
    """Errors of reading `path` as one line."""
    try:
        yield
    except OSError as error:
        raise DataError(f"cannot read the evaluation {path} ({error.strerror}); run evaluate.py for it") from error
    except KeyError as error:
        raise DataError(f"the evaluation {path} is damaged ({error} is missing); run evaluate.py again") from error
    except (ValueError, TypeError, AttributeError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"the evaluation {path} is damaged ({reason}); run evaluate.py again") from error


@contextmanager
def _told(directory: Path):
    """Errors of writing to `directory` as one line."""
    try:
        yield
    except OSError as error:
        raise DataError(f"cannot write to {directory} ({error.strerror}); free space or choose another one") from error
