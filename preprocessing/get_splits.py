"""Fetch the published split and label files of a corpus and verify each of them.

python preprocessing/get_splits.py --dataset makam
python preprocessing/get_splits.py --dataset all --base_url /media/mirror

The files are those of the authors' repository at commit 1f20c2f; `published_files.csv` holds
their paths and checksums. Files that are right already are left alone and cost no network.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":  # the repository's packages, not this folder, come first
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from config import DATA_DIR, DATASETS, dataset_config
from preprocessing.download import Checksum, RetryingSession, Source, git_blob_sha1
from runtime.atomic_files import atomic_write, make_directory, remove_stale_parts
from runtime.errors import IncompleteError, UsageError, listed, run_script

TABLE = Path(__file__).with_name("published_files.csv")
BASE_URLS = (  # the checksums decide what is right, so the branch is a safe second
    "https://raw.githubusercontent.com/pxaris/ccml/1f20c2f",
    "https://raw.githubusercontent.com/pxaris/ccml/main",
)

# Where labels come from that are not among the published files, or can also be made.
LABELS_BY_HAND = {
    "magnatagatune": "or make all five from annotations_final.csv: python preprocessing/magnatagatune_labels.py",
    "fma": "or make metadata.npy from fma_metadata.zip: python preprocessing/fma_labels.py",
}
LABELS_FROM_DUNYA = ("makam", "hindustani", "carnatic")


@dataclass(frozen=True)
class PublishedFile:
    """A split or label file of the study: its path in the authors' repository and its checksum."""

    path: str
    checksum: Checksum

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]


def published_files(dataset: str) -> list[PublishedFile]:
    """The published files of a corpus, as `published_files.csv` lists them.

    Raises:
        UsageError: there is no such corpus.
    """
    dataset_config(dataset)
    with TABLE.open(newline="", encoding="utf-8") as file:
        return [
            PublishedFile(row["path"], Checksum(row["git_blob_sha1"], row["sha256"]))
            for row in csv.DictReader(file)
            if row["path"].startswith(f"data/{dataset}/split/")
        ]


def fetch_splits(dataset: str, split_dir: Path, sources: Sequence[Source]) -> list[str]:
    """Bring the published files of a corpus into `split_dir`, and say what was done with each.

    The sources are asked in their order. A file that is there but is not the published one is
    kept beside it, as `<name>.old`.

    Returns:
        What could not be brought, a line each.

    Raises:
        NetworkError: a source cannot be reached or keeps failing.
        DataError: the directory cannot be created or a file cannot be read.
    """
    make_directory(split_dir)
    remove_stale_parts(split_dir)
    problems = []
    for published in published_files(dataset):
        target = split_dir / published.name
        present = target.read_bytes() if target.is_file() else None
        if present is not None and published.checksum.matches(present):
            print(f"  {published.name}: already there")
            continue
        content, problem = _fetch(dataset, published, sources)
        if content is None:
            problems.append(f"{dataset}/{published.name}: {problem}")
            print(f"  {published.name}: {problem}")
            continue
        if present is not None:
            target.replace(target.with_name(f"{target.name}.old"))
        with atomic_write(target) as file:
            file.write(content)
        kept = "" if present is None else f"; the file that was there differs and is kept as {target.name}.old"
        print(f"  {published.name}: fetched, {len(content):,} bytes, verified{kept}")
    return problems


def _fetch(dataset: str, published: PublishedFile, sources: Sequence[Source]) -> tuple[bytes | None, str]:
    """The verified content of a file, or None and what is wrong."""
    problem = f"not found at {' or '.join(source.base for source in sources)}"
    # A clone of the authors' repository, a data folder like ours, or bare folders of split files.
    layouts = (published.path, f"{dataset}/split/{published.name}", f"{dataset}/{published.name}")
    for source, layout in itertools.product(sources, layouts):
        content = source.read(layout)
        if content is not None and published.checksum.matches(content):
            return content, ""
        if content is not None:
            problem = (
                f"{source.base}/{layout} is not the published file: its Git blob SHA-1 is {git_blob_sha1(content)}, "
                f"not {published.checksum.git_blob_sha1} ({len(content):,} bytes)"
            )
    return None, problem


def split_directory(dataset: str, data_dir: Path | None, several: bool) -> Path:
    """Where the split files of a corpus go: `{data_dir}/split`, or `{data_dir}/{dataset}/split` for several corpora."""
    if data_dir is None:
        return DATA_DIR / dataset / "split"
    return (data_dir / dataset if several else data_dir) / "split"


def main(arguments: list[str] | None = None) -> None:
    """The command line.

    Raises:
        IncompleteError: some files could not be brought; the output names them.
    """
    parser = argparse.ArgumentParser(
        description="Fetch and verify the published split and label files.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--dataset", required=True, default=argparse.SUPPRESS, help=f"one of {', '.join(DATASETS)}, or all"
    )
    parser.add_argument(
        "--data_dir",
        type=Path,
        default=argparse.SUPPRESS,
        help="the corpus' folder; with --dataset all, the folder of all corpora (default: data/ of this repository)",
    )
    parser.add_argument(
        "--base_url",
        nargs="+",
        default=list(BASE_URLS),
        help="where to fetch from: addresses of mirrors or local directories, asked in this order",
    )
    parser.add_argument("--retries", type=int, default=5, help="how often a failing request is repeated")
    parser.add_argument("--retry_wait", type=float, default=1.0, help="first pause before a repetition, in seconds")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds without an answer that count as a failure")
    parser.add_argument("--debug", action="store_true", help="show the traceback of errors")
    options = parser.parse_args(arguments)
    if options.retries < 0 or options.retry_wait < 0 or options.timeout <= 0:
        raise UsageError("--retries and --retry_wait cannot be negative, and --timeout must be positive")

    several = options.dataset == "all"
    datasets = list(DATASETS) if several else [dataset_config(options.dataset).name]
    session = RetryingSession(options.retries, options.retry_wait, options.timeout)
    sources = [Source(base, session) for base in options.base_url]
    data_dir = getattr(options, "data_dir", None)
    problems = []
    for dataset in datasets:
        split_dir = split_directory(dataset, data_dir, several)
        print(f"{DATASETS[dataset].title}: {split_dir}")
        found = fetch_splits(dataset, split_dir, sources)
        if found and dataset in LABELS_BY_HAND:
            print(f"  {LABELS_BY_HAND[dataset]}")
        if dataset in LABELS_FROM_DUNYA:
            print(f"  labels come from Dunya: python preprocessing/dunya/get_metadata.py --dataset {dataset}")
        problems += found
    if problems:
        raise IncompleteError(f"{len(problems)} files could not be brought: {listed(problems)}")


if __name__ == "__main__":
    run_script(main)
