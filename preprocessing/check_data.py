"""Is a corpus complete? Counts what is there, split by split and tag by tag.

python preprocessing/check_data.py --dataset makam --data_dir /data/makam

Only names, sizes and headers are read, so it takes seconds. The exit code is 0 if training and
evaluation could start as things are, 1 if training could not, 3 if only evaluation could not.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError  # what NumPy's parser raises on some damaged headers

if __name__ == "__main__":  # the repository's packages, not this folder, come first
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from config import DATA_DIR, DATASETS, MODELS, SPECTROGRAM, DatasetConfig, dataset_config
from datasets import Corpus, Split, open_corpus
from datasets.spectrograms import SpectrogramFile, read_header
from preprocessing.audio_files import find_audio_files, recording_id
from runtime.errors import DataError, IncompleteError, UsageError, listed, run_script

_THREADS = 16  # a header is a few hundred bytes: waiting for the disk is all there is


@dataclass(frozen=True)
class SplitReport:
    """What there is of one split.

    Attributes:
        split: the split with its ids, labels and the ids whose tags are unknown.
        audio: how many of its recordings have an audio file.
        frames: lengths in frames of the spectrograms that can be read.
        missing: ids without a spectrogram.
        unreadable: id → what is wrong with its spectrogram.
        usable: how many recordings have tags and a spectrogram that can be read.
    """

    split: Split
    audio: int
    frames: Sequence[int]
    missing: Sequence[str]
    unreadable: dict[str, str]
    usable: int

    @property
    def n_ids(self) -> int:
        return len(self.split.ids) + len(self.split.unlabelled)

    @property
    def hours(self) -> float:
        return sum(self.frames) / SPECTROGRAM.frames_per_second / 3600

    def shorter_than(self, frames: int) -> int:
        """How many spectrograms have fewer frames."""
        return sum(n < frames for n in self.frames)

    def problems(self, skip_missing: bool) -> list[str]:
        """Why the split cannot be used as it is, a line each.

        Args:
            skip_missing: whether recordings without tags or spectrogram may be left out.
        """
        name, found = self.split.name, []
        if len(self.missing) == self.n_ids:
            return [f"all {self.n_ids} spectrograms of {name} are missing"]
        if self.split.unlabelled and not skip_missing:
            unlabelled = list(self.split.unlabelled)
            found.append(f"{len(unlabelled)} recordings of {name} have unknown tags: {listed(unlabelled)}")
        if self.missing and not skip_missing:
            found.append(f"{len(self.missing)} spectrograms of {name} are missing: {listed(list(self.missing))}")
        if self.unreadable:
            found.append(
                f"{len(self.unreadable)} spectrograms of {name} cannot be read: {listed(list(self.unreadable))}"
            )
        if not found and not self.usable:
            found.append(f"no recording of {name} has both tags and a spectrogram")
        return found


def report_split(split: Split, audio: set[str]) -> SplitReport:
    """Look for the recordings of a split.

    Args:
        split: a split of `open_corpus`.
        audio: ids of the recordings with an audio file.
    """
    ids = split.ids + split.unlabelled
    with ThreadPoolExecutor(_THREADS) as pool:
        headers = list(pool.map(_header, [split.spectrogram_dir / f"{id_}.npy" for id_ in ids], chunksize=64))
    by_id = dict(zip(ids, headers, strict=True))
    return SplitReport(
        split=split,
        audio=sum(id_ in audio for id_ in ids),
        frames=[header.n_frames for header in headers if isinstance(header, SpectrogramFile)],
        missing=[id_ for id_, header in by_id.items() if header is None],
        unreadable={id_: header for id_, header in by_id.items() if isinstance(header, str)},
        usable=sum(isinstance(by_id[id_], SpectrogramFile) for id_ in split.ids),
    )


def _header(path: Path) -> SpectrogramFile | str | None:
    """A spectrogram's header, what is wrong with it, or None if there is no such file."""
    try:
        return read_header(path)
    except FileNotFoundError:
        return None
    except (DataError, TokenError) as error:
        return str(error)


def overview(config: DatasetConfig, reports: Sequence[SplitReport]) -> list[list[str]]:
    """The rows of the table of splits, headings first."""
    rows = [["", *(report.split.name for report in reports), "total"]]

    def add(title: str, counts: Iterable[int]) -> None:
        counts = list(counts)
        rows.append([title, *(str(count) for count in counts), str(sum(counts))])

    add("ids in the split", (report.n_ids for report in reports))
    if config.has_audio:
        add("audio found", (report.audio for report in reports))
    add("spectrograms found", (len(report.frames) + len(report.unreadable) for report in reports))
    add("missing", (len(report.missing) for report in reports))
    add("unreadable", (len(report.unreadable) for report in reports))
    for model in sorted(MODELS.values(), key=lambda model: model.input_frames):
        title = f"too short for {model.name} (< {model.input_seconds:g} s)"
        add(title, (report.shorter_than(model.input_frames) for report in reports))
    add("tags unknown", (len(report.split.unlabelled) for report in reports))
    add("no tag of the vocabulary", (int((~report.split.labels.any(axis=1)).sum()) for report in reports))
    hours = [report.hours for report in reports]
    rows.append(["hours", *(f"{value:.1f}" for value in hours), f"{sum(hours):.1f}"])
    return rows


def tag_supports(corpus: Corpus) -> list[list[str]]:
    """The rows of the table of tags, headings first: how many recordings of each split have each tag."""
    supports = [split.labels.sum(axis=0, dtype=int) for split in corpus.splits]
    heading = ["tag", *(split.name for split in corpus.splits)]
    return [heading] + [
        [tag, *(str(support[column]) for support in supports)] for column, tag in enumerate(corpus.tags)
    ]


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as text: the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(cells)
        ).rstrip()
        for cells in (list(zip(row, widths, strict=True)) for row in rows)
    )


def main(arguments: list[str] | None = None) -> None:
    """The command line.

    Raises:
        DataError: training could not start; says why.
        IncompleteError: training could start, evaluation could not.
    """
    parser = argparse.ArgumentParser(
        description="Check that a corpus is complete.", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--dataset", required=True, default=argparse.SUPPRESS, help=f"one of {', '.join(DATASETS)}")
    parser.add_argument(
        "--data_dir", type=Path, default=argparse.SUPPRESS, help="the corpus' folder (default: data/{dataset})"
    )
    parser.add_argument(
        "--skip_missing", action="store_true", help="as in training: leave out recordings without tags or spectrogram"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of errors")
    options = parser.parse_args(arguments)
    config = dataset_config(options.dataset)
    data_dir = getattr(options, "data_dir", DATA_DIR / config.name)
    if not data_dir.is_dir():
        raise UsageError(f"there is no directory {data_dir}; --data_dir names the folder that holds {config.title}")

    audio = {recording_id(path) for path in find_audio_files(data_dir / "audios")} if _has_audio(data_dir) else set()
    spectrograms = sum(1 for _ in (data_dir / "mel-spectrograms").glob("[!.]*.npy"))
    print(f"{config.title} in {data_dir}: {len(audio)} recordings of audio, {spectrograms} spectrogram files")
    corpus = open_corpus(config.name, data_dir, skip_missing=True)
    reports = [report_split(split, audio) for split in corpus.splits]
    print(f"splits and labels in {corpus.split_dir}\n\n{aligned(overview(config, reports))}\n")
    print(f"{aligned(tag_supports(corpus))}\n")
    for report in reports:
        for reason in list(report.unreadable.values())[:3]:
            print(f"unreadable: {reason}")

    train, valid, test = (report.problems(options.skip_missing) for report in reports)
    if train or valid:
        raise DataError(f"training cannot start: {'; '.join(train + valid)}{_advice(config, options, reports)}")
    if test:
        raise IncompleteError(f"training can start, evaluation cannot: {'; '.join(test)}")
    left_out = sum(len(report.missing) + len(set(report.split.unlabelled) - set(report.missing)) for report in reports)
    print(f"training and evaluation can start{f', without {left_out} recordings' if left_out else ''}")


def _has_audio(data_dir: Path) -> bool:
    return (data_dir / "audios").is_dir()


def _advice(config: DatasetConfig, options: argparse.Namespace, reports: Sequence[SplitReport]) -> str:
    """What to do about missing spectrograms, if any are."""
    missing = sum(len(report.missing) for report in reports)
    if not missing or options.skip_missing:
        return ""
    if not config.has_audio:
        return "; put them into place with preprocessing/lyra_spectrograms.py"
    silent = sum(report.n_ids - report.audio for report in reports)
    fetch = f"fetch the audio of the {silent} recordings without, then " if silent else ""
    return f"; {fetch}make them with preprocessing/create_mel_spectrograms.py, or leave them out with --skip_missing"


if __name__ == "__main__":
    run_script(main)
