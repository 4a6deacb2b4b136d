"""Make the mel-spectrograms of a corpus from its audio files.

python preprocessing/create_mel_spectrograms.py --dataset makam --data_dir /data/makam

Reads {data_dir}/audios/** and writes {data_dir}/mel-spectrograms/{id}.npy, where the id is the
audio file's name up to the first dot. What is finished is skipped, so the same command continues
a run that was stopped. Files that fail are listed in {data_dir}/mel-spectrograms/failed.tsv and
tried again by the next run.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":  # the repository's packages, not this folder, come first
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from tqdm import tqdm

from config import DATA_DIR, DATASETS, DatasetConfig, dataset_config
from preprocessing.audio import stream_audio
from preprocessing.audio_files import find_audio_files, recording_id
from preprocessing.mel import mel_frames
from preprocessing.spectrogram_files import is_complete, write_spectrogram
from preprocessing.workers import Crash, run_in_workers
from runtime.arguments import ScriptParser, positive_int
from runtime.atomic_files import atomic_write, make_directory, remove_stale_parts
from runtime.errors import (
    AudioError,
    DataError,
    IncompleteError,
    UsageError,
    listed,
    run_script,
)

TIME_LIMIT = 900  # seconds for one file; decoding runs some hundred times faster than the music


@dataclass(frozen=True)
class Job:
    """One recording to make the mel-spectrogram of."""

    audio: Path
    spectrogram: Path
    max_seconds: int | None
    overwrite: bool


@dataclass(frozen=True)
class Outcome:
    """What became of a job: "made", "skipped", "failed" (that file alone) or "stop" (no file can be written)."""

    status: str
    reason: str = ""
    details: str = ""  # traceback of an error we did not foresee


def create_mel_spectrograms(
    dataset: DatasetConfig, data_dir: Path, workers: int, overwrite: bool = False, debug: bool = False
) -> tuple[Counter[str], dict[Path, str]]:
    """Make the mel-spectrograms of all audio files under `data_dir / "audios"`.

    Returns:
        How many were made, skipped and failed; and each failed file with its reason.

    Raises:
        UsageError: the corpus is distributed as spectrograms, and there is no audio.
        DataError: there is no audio, or the output directory cannot be written to.
    """
    audio_files = _audio_files(dataset, data_dir)
    output = make_directory(data_dir / "mel-spectrograms")
    remove_stale_parts(output)
    failures = _clashes(audio_files)
    jobs = [
        Job(audio, output / f"{recording_id(audio)}.npy", dataset.max_seconds, overwrite)
        for audio in audio_files
        if audio not in failures
    ]
    counts = Counter(made=0, skipped=0, failed=len(failures))
    outcomes = run_in_workers(make_mel_spectrogram, jobs, workers, TIME_LIMIT)
    bar = tqdm(total=len(audio_files), initial=len(failures), desc=dataset.name, unit="file", disable=not jobs)
    try:
        with bar, closing(outcomes):
            for job, outcome in outcomes:
                if isinstance(outcome, Crash):
                    outcome = Outcome("failed", outcome.reason)
                if outcome.status == "stop":
                    raise DataError(outcome.reason)
                if outcome.status == "failed":
                    failures[job.audio] = outcome.reason
                if debug and outcome.details:
                    bar.write(outcome.details, file=sys.stderr)
                counts[outcome.status] += 1
                bar.update()
    finally:
        remove_stale_parts(output)  # of workers killed in the middle of a file
    _write_failures(output / "failed.tsv", failures)
    return counts, failures


def make_mel_spectrogram(job: Job) -> Outcome:
    """Decode one file and write its mel-spectrogram; runs in a worker process."""
    try:
        if not job.overwrite and is_complete(job.spectrogram):
            return Outcome("skipped")
        write_spectrogram(job.spectrogram, mel_frames(stream_audio(job.audio, job.max_seconds)))
    except AudioError as error:
        return Outcome("failed", str(error).removeprefix(f"{job.audio}: "))
    except OSError as error:  # reading gives AudioError, so this is from writing
        return Outcome("stop", f"cannot write {job.spectrogram} ({error.strerror}); mend it, then run the same command")
    except Exception as error:
        return Outcome("failed", f"unexpected {type(error).__name__}: {error}", traceback.format_exc())
    return Outcome("made")


def _audio_files(dataset: DatasetConfig, data_dir: Path) -> list[Path]:
    if not data_dir.is_dir():
        raise DataError(f"there is no directory {data_dir}; say where the corpus is with --data_dir")
    audios = data_dir / "audios"
    audio_files = find_audio_files(audios) if audios.is_dir() else []
    if audio_files:
        return audio_files
    if not dataset.has_audio:
        raise UsageError(
            f"{dataset.title} is distributed as mel-spectrograms, not as audio: put its .npy files into "
            f"{data_dir / 'mel-spectrograms'}"
        )
    missing = "no audio files (mp3, wav, flac, ogg, m4a, …) under" if audios.is_dir() else "there is no directory"
    raise DataError(f"{missing} {audios}; put the recordings of {dataset.title} there")


def _clashes(audio_files: Sequence[Path]) -> dict[Path, str]:
    """The files whose recording another file has too: neither may silently win."""
    files_of = defaultdict(list)
    for audio in audio_files:
        files_of[recording_id(audio)].append(audio)
    clashes = {}
    for name, files in files_of.items():
        for audio in files if len(files) > 1 else []:
            others = listed([str(other) for other in files if other != audio])
            clashes[audio] = f"the id '{name}' is also that of {others}; rename one"
    return clashes


def _write_failures(path: Path, failures: dict[Path, str]) -> None:
    """Write `file<TAB>reason` lines, or remove an earlier list when nothing failed."""
    if not failures:
        if path.exists():  # the directory may be read-only when there was nothing to do
            path.unlink()
        return
    with atomic_write(path, "w", encoding="utf-8", errors="surrogateescape") as file:
        for audio, reason in sorted(failures.items()):
            file.write(f"{_one_field(str(audio))}\t{_one_field(reason)}\n")


def _one_field(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _arguments() -> argparse.Namespace:
    parser = ScriptParser(__doc__)
    parser.add_argument("--dataset", required=True, help=f"one of {', '.join(DATASETS)}")
    parser.add_argument("--data_dir", type=Path, help="the corpus' directory; data/DATASET if not given")
    parser.add_argument("--workers", type=positive_int, default=_cores(), help="processes of one thread each")
    parser.add_argument("--overwrite", action="store_true", help="make the finished ones again")
    return parser.parse_args()


def main() -> None:
    """The script."""
    arguments = _arguments()
    dataset = dataset_config(arguments.dataset)
    data_dir = arguments.data_dir or DATA_DIR / dataset.name
    counts, failures = create_mel_spectrograms(
        dataset, data_dir, arguments.workers, arguments.overwrite, arguments.debug
    )
    print(f"{dataset.title}: {counts['made']} made, {counts['skipped']} skipped, {counts['failed']} failed")
    if failures:
        names = listed([audio.name for audio in sorted(failures)])
        raise IncompleteError(f"{names} failed; the reasons are in {data_dir / 'mel-spectrograms' / 'failed.tsv'}")


if __name__ == "__main__":
    run_script(main)
