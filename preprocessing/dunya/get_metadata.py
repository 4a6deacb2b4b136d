"""Fetch the tags of Turkish-makam, Hindustani or Carnatic recordings from Dunya.

export DUNYA_TOKEN=...   # from your profile at dunya.compmusic.upf.edu
python preprocessing/dunya/get_metadata.py --dataset makam

Writes `metadata.npy` beside the published lists: a dict from MusicBrainz id to the recording's
tags. What has been fetched is kept in `metadata.jsonl` as it comes, so that the same command
goes on after an interruption. What could not be had is listed in `metadata_failed.tsv`, and
`metadata.npy` is written only when nothing is missing, or with `--allow_incomplete` (the
recordings that are missing are None in it, and training leaves them out on `--skip_missing`).
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

if __name__ == "__main__":  # the repository's packages, not this folder, come first
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np

from config import DATA_DIR, DATASETS
from preprocessing.dunya.fetch import (
    REFUSED_ID,
    Outcome,
    add_arguments,
    failed_last,
    fetch_all,
    find_split_dir,
    is_safe,
    make_client,
    split_ids,
    write_failed,
)
from preprocessing.dunya.journal import Journal
from preprocessing.dunya.tags import FIELDS, recording_tags
from runtime.atomic_files import atomic_write, make_directory, remove_stale_parts
from runtime.errors import IncompleteError, run_script


def main(arguments: list[str] | None = None) -> None:
    """The command line.

    Raises:
        IncompleteError: some recordings could not be had; `metadata_failed.tsv` lists them.
        AccessDenied: Dunya does not accept the token.
    """
    parser = argparse.ArgumentParser(
        description="Fetch the tags of a corpus from Dunya.", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add_arguments(parser)
    parser.add_argument(
        "--allow_incomplete", action="store_true", help="write metadata.npy even if some recordings are missing"
    )
    parser.add_argument("--refresh", action="store_true", help="fetch everything again, not only what is missing")
    options = parser.parse_args(arguments)
    stop = threading.Event()
    client = make_client(options, stop)
    data_dir = getattr(options, "data_dir", DATA_DIR / options.dataset)
    if options.all:
        split_dir = make_directory(data_dir / "split")
        ids = client.recording_ids()
    else:
        split_dir = find_split_dir(options.dataset, data_dir)
        ids = split_ids(split_dir)

    remove_stale_parts(split_dir)
    journal_path, failed = split_dir / "metadata.jsonl", split_dir / "metadata_failed.tsv"
    if options.refresh:
        journal_path.unlink(missing_ok=True)
    journal = Journal(journal_path)
    print(
        f"{DATASETS[options.dataset].title}: {len(ids)} recordings, "
        f"{sum(id_ in journal.tags for id_ in ids)} already in {journal_path}"
    )
    wanted = failed_last((id_ for id_ in ids if is_safe(id_) and id_ not in journal.tags), failed)
    outcome = Outcome()
    if wanted:
        client.check_token(wanted[0])
        outcome = fetch_all(
            wanted,
            lambda id_: journal.add(id_, recording_tags(options.dataset, client.recording(id_))),
            options.workers,
            stop,
            "metadata",
        )
    outcome.failed |= {id_: REFUSED_ID for id_ in ids if not is_safe(id_)}
    missing = write_failed(failed, ids, lambda id_: id_ in journal.tags, outcome)
    _report(options.dataset, ids, journal.tags)
    if outcome.stopped_by is not None:
        raise outcome.stopped_by

    target = split_dir / "metadata.npy"
    if missing and not options.allow_incomplete:
        raise IncompleteError(
            f"{missing} recordings are missing ({failed} lists them with the reasons), so {target} was not written; "
            "run the same command again, or add --allow_incomplete"
        )
    write_metadata(target, {id_: journal.tags.get(id_) for id_ in ids if is_safe(id_)})
    print(f"written: {target}")
    if missing:
        raise IncompleteError(f"{missing} recordings are without tags in {target}; {failed} lists them")


def write_metadata(path: Path, metadata: Mapping[str, list[str] | None]) -> None:
    """Write a `metadata.npy` as published: a dict in a 0-dimensional object array."""
    with atomic_write(path) as file:
        np.save(file, np.array(dict(metadata), dtype=object), allow_pickle=True)


def _report(dataset: str, ids: list[str], tags: Mapping[str, list[str]]) -> None:
    """How many recordings have tags of each kind, so that nothing is missing unnoticed."""
    known = [tags[id_] for id_ in ids if id_ in tags]
    print(f"{len(known)} of {len(ids)} recordings fetched, {sum(not one for one in known)} of them without any tag")
    for prefix, field, _ in FIELDS[dataset]:
        have = sum(any(tag.startswith(f"{prefix}--") for tag in one) for one in known)
        print(f"  {prefix:<11}{have:>6} have it, {len(known) - have:>6} do not ({field})")


if __name__ == "__main__":
    run_script(main)
