"""Tag recordings and write what was found: a table of all, and each recording's scores over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from runtime.atomic_files import make_directory
from tagging.recordings import Recording, work_through
from tagging.records import Records
from tagging.results import Analysis, top_by_family
from tagging.tables import score_table, taggram_table, write_csv, write_json
from tagging.tagger import Tagger, analyse
from tagging.taggram import clock, save_taggram


@dataclass(frozen=True)
class PredictionSettings:
    """The options of `predict.py`.

    Attributes:
        out: where results go (None: nowhere, they are only printed).
        over_time: also write each recording's taggram.
        overlap: see `analyse`.
        max_seconds: see `analyse`.
        as_in_study: see `analyse`.
        top: tags of each family to print.
    """

    out: Path | None = None
    over_time: bool = False
    overlap: float = 0.0
    max_seconds: float | None = None
    as_in_study: bool = False
    top: int = 3


def predict(recordings: Sequence[Recording], taggers: Sequence[Tagger], settings: PredictionSettings) -> dict[str, str]:
    """Tag recordings, print the best tags, and write `{out}/scores.csv` and `.json`.

    What is finished is kept in `{out}/recordings`, so that a second run does only the rest. The
    tables are of the recordings given now; failures are listed in `{out}/failed.csv`.

    Returns:
        The reason of each failure, by recording.

    Raises:
        UserError: the output cannot be written, or a signal stopped the work.
    """
    labels = unique_labels(taggers)
    records = (
        None if settings.out is None else Records(settings.out / "recordings", _identity(labels, taggers, settings))
    )
    results: dict[str, dict[str, Any]] = {}

    def work(recording: Recording) -> None:
        result = _finished(recording, records, labels, settings)
        if result is None:
            result = _tag(recording, labels, taggers, settings)
            if records is not None:
                records.save(recording, result)
        results[recording.name] = result
        tqdm.write(describe(recording.name, result, settings.top))

    try:
        failures = work_through(recordings, work)
    except BaseException:
        _write_tables(settings.out, results, None)
        raise
    _write_tables(settings.out, results, failures)
    return failures


def unique_labels(taggers: Sequence[Tagger]) -> list[str]:
    """A name for each model; where two would have the same, the second gets "#2"."""
    labels: list[str] = []
    for tagger in taggers:
        same = sum(label.partition("#")[0] == tagger.label for label in labels)
        labels.append(f"{tagger.label}#{same + 1}" if same else tagger.label)
    return labels


def describe(name: str, result: dict[str, Any], top: int) -> str:
    """A recording's best tags in words, family by family."""
    lines = [f"{name}  ({clock(result['seconds'])})"]
    for label, model in result["models"].items():
        families = top_by_family(model["scores"], model["dataset"], top)
        width = max(map(len, families))
        lines.append(f"  {label}")
        for family, tags in families.items():
            lines.append(f"    {family:{width}}  " + "   ".join(f"{score:.3f} {tag}" for tag, score in tags))
    return "\n".join(lines)


def taggram_path(out: Path, recording: Recording, label: str, suffix: str) -> Path:
    """Where the scores over time of one recording and one model are."""
    return out / "over_time" / f"{recording.name}.{label.replace('/', '-')}{suffix}"


def _identity(labels: Sequence[str], taggers: Sequence[Tagger], settings: PredictionSettings) -> dict[str, Any]:
    """All that scores depend on."""
    return {
        "checkpoints": {label: tagger.sha256 for label, tagger in zip(labels, taggers, strict=True)},
        "tags": [tagger.tags for tagger in taggers],
        "models": [{"settings": dict(tagger.model.settings), "precision": tagger.precision.name} for tagger in taggers],
        "overlap": settings.overlap,
        "max_seconds": settings.max_seconds,
        "as_in_study": settings.as_in_study,
    }


def _finished(
    recording: Recording, records: Records | None, labels: Sequence[str], settings: PredictionSettings
) -> dict[str, Any] | None:
    if records is None or (result := records.load(recording)) is None:
        return None
    if settings.over_time:
        wanted = [taggram_path(settings.out, recording, label, end) for label in labels for end in (".csv", ".png")]
        if not (result["over_time"] and all(path.is_file() for path in wanted)):
            return None
    return result


def _tag(
    recording: Recording, labels: Sequence[str], taggers: Sequence[Tagger], settings: PredictionSettings
) -> dict[str, Any]:
    analyses = analyse(
        taggers,
        recording.path,
        overlap=settings.overlap,
        max_seconds=settings.max_seconds,
        as_in_study=settings.as_in_study,
    )
    if settings.over_time:
        for label, analysis in zip(labels, analyses, strict=True):
            write_taggram(
                lambda end, label=label: taggram_path(settings.out, recording, label, end),
                label,
                analysis,
                recording.name,
            )
    return {
        "seconds": max(analysis.seconds for analysis in analyses),
        "over_time": settings.over_time,
        "models": {
            label: {
                "dataset": analysis.dataset,
                "seconds": analysis.seconds,
                "chunks": len(analysis.starts),
                "scores": analysis.as_dict(),
            }
            for label, analysis in zip(labels, analyses, strict=True)
        },
    }


def write_taggram(path: Callable[[str], Path], label: str, analysis: Analysis, name: str) -> None:
    """Write an analysis over time as CSV and PNG.

    Args:
        path: gives the file's path for a suffix.
        label: of the model.
        analysis: what to write.
        name: of the recording.
    """
    make_directory(path(".csv").parent)
    write_csv(path(".csv"), *taggram_table(analysis))
    save_taggram(path(".png"), analysis, f"{name} · {label}")


def _write_tables(out: Path | None, results: dict[str, dict[str, Any]], failures: dict[str, str] | None) -> None:
    """The tables of what is finished; `failures` None: the work was stopped, and leaves the list as it is."""
    if out is None:
        return
    make_directory(out)
    write_csv(out / "scores.csv", *score_table(results))
    write_json(out / "scores.json", [{"recording": name, **result} for name, result in results.items()])
    if failures:
        write_csv(out / "failed.csv", ["recording", "reason"], failures.items())
    elif failures is not None:
        (out / "failed.csv").unlink(missing_ok=True)
