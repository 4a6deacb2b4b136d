"""What ran, on what, with which versions and data, and how long: from the provenance in each evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from config import DATASETS
from evaluation.reports import Report
from study.results import Result, Study
from study.table_formats import Cell, Table

NOT_KNOWN = "not known"


def summary_sentences(study: Study) -> list[str]:
    """How many runs, on which devices, for how long altogether."""
    trainings = [_training(report) for _, _, report in _all(study)]
    seconds = sum(training.get("seconds") or 0.0 for training in trainings)
    devices = sorted({str(training.get("device", NOT_KNOWN)) for training in trainings})
    seeds = ", ".join(map(str, study.seeds))
    return [
        f"{len(trainings)} trainings evaluated, of {len(study.results)} different runs; seeds {seeds}.",
        f"Trained on {'; '.join(devices)}. Time in training epochs altogether: {duration(seconds)}.",
    ]


def runs_table(study: Study) -> Table:
    """One row a training."""
    header = ("Target", "Run", "Seed", "Epochs", "Best epoch", "Training time", "Device", "Checkpoint SHA-256")
    rows = []
    for result, seed, report in _all(study):
        training, checkpoint = _training(report), _mapping(report.provenance.get("training"))
        rows.append(
            _row(
                DATASETS[result.dataset].title,
                result.run,
                seed,
                training.get("epochs_trained"),
                checkpoint.get("epoch"),
                duration(training.get("seconds")),
                training.get("device"),
                str(report.provenance.get("checkpoint_sha256", NOT_KNOWN))[:12],
            )
        )
    return Table("Every training of the study.", header, tuple(rows), text_columns=2)


def data_table(study: Study) -> Table:
    """One row a corpus: its size and the fingerprints of its data."""
    header = ("Corpus", "Training", "Validation", "Test recordings", "Tags", "Training data", "Test data")
    rows = []
    for dataset in study.datasets:
        for report in [report for result in study.of(dataset) for report in result.reports][:1]:
            training = _training(report)
            recordings = _mapping(training.get("recordings"))
            fingerprint = _mapping(report.provenance.get("training")).get("data_fingerprint")
            rows.append(
                _row(
                    DATASETS[dataset].title,
                    recordings.get("train"),
                    recordings.get("valid"),
                    report.metrics.n_recordings,
                    report.metrics.n_tags,
                    str(fingerprint or NOT_KNOWN)[:12],
                    str(report.provenance.get("test_fingerprint", NOT_KNOWN))[:12],
                )
            )
    caption = "The data, with the first digits of their fingerprints (SHA-256 over tags, ids, labels and lengths)."
    return Table(caption, header, tuple(rows), text_columns=1)


def versions_table(study: Study) -> Table:
    """Versions of the software; several where runs differ."""
    found: dict[str, set[str]] = {}
    for _, _, report in _all(study):
        for source in (report.provenance, _mapping(report.provenance.get("training"))):
            for package, version in _mapping(source.get("versions")).items():
                found.setdefault(package, set()).add(str(version))
    rows = tuple(_row(package, ", ".join(sorted(versions))) for package, versions in found.items())
    return Table("Versions of the software in training and evaluation.", ("Software", "Version"), rows, text_columns=1)


def duration(seconds: float | None) -> str:
    """Hours and minutes, or seconds below a minute."""
    if seconds is None:
        return NOT_KNOWN
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _all(study: Study) -> Iterator[tuple[Result, int, Report]]:
    for result in study.results.values():
        for seed, report in zip(result.seeds, result.reports, strict=True):
            yield result, seed, report


def _training(report: Report) -> Mapping[str, Any]:
    return _mapping(_mapping(report.provenance.get("training")).get("configuration"))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _row(*values: Any) -> tuple[Cell, ...]:
    return tuple(Cell("—" if value is None else str(value)) for value in values)
