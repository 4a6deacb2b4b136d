"""Fetch the audio of Turkish-makam, Hindustani or Carnatic recordings from Dunya.

export DUNYA_TOKEN=...   # from your profile at dunya.compmusic.upf.edu
python preprocessing/dunya/get_audios.py --dataset makam

Each recording goes to `{data_dir}/audios/{MusicBrainz id}.mp3`, which appears when it is whole.
The same command goes on after an interruption, and tries again what failed; what could not be
had is listed in `{data_dir}/audios/failed.tsv` with the reason.
"""

from __future__ import annotations

import argparse
import sys
import threading
from pathlib import Path

if __name__ == "__main__":  # the repository's packages, not this folder, come first
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from config import DATA_DIR, DATASETS
from preprocessing.audio_files import find_audio_files, recording_id
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
from runtime.atomic_files import make_directory, remove_stale_parts
from runtime.errors import IncompleteError, run_script


def main(arguments: list[str] | None = None) -> None:
    """The command line.

    Raises:
        IncompleteError: some recordings could not be had; `failed.tsv` lists them.
        AccessDenied: Dunya does not accept the token, or refuses the audio.
    """
    parser = argparse.ArgumentParser(
        description="Fetch the audio of a corpus from Dunya.", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add_arguments(parser)
    options = parser.parse_args(arguments)
    stop = threading.Event()
    client = make_client(options, stop)
    data_dir = getattr(options, "data_dir", DATA_DIR / options.dataset)
    ids = client.recording_ids() if options.all else split_ids(find_split_dir(options.dataset, data_dir))

    audio_dir = make_directory(data_dir / "audios")
    remove_stale_parts(audio_dir)
    here = {recording_id(path) for path in find_audio_files(audio_dir)}
    print(f"{DATASETS[options.dataset].title}: {len(ids)} recordings, {len(here & set(ids))} already in {audio_dir}")
    failed = audio_dir / "failed.tsv"
    wanted = failed_last((id_ for id_ in ids if is_safe(id_) and id_ not in here), failed)
    outcome = Outcome()
    if wanted:
        client.check_token(wanted[0])
        outcome = fetch_all(
            wanted, lambda id_: client.save_mp3(id_, audio_dir / f"{id_}.mp3"), options.workers, stop, "audio"
        )
    outcome.failed |= {id_: REFUSED_ID for id_ in ids if not is_safe(id_)}

    def is_there(id_: str) -> bool:
        return is_safe(id_) and (id_ in here or (audio_dir / f"{id_}.mp3").is_file())

    missing = write_failed(failed, ids, is_there, outcome)
    print(f"{len(ids) - missing} of {len(ids)} recordings are in {audio_dir}, {missing} are missing")
    if outcome.stopped_by is not None:
        raise outcome.stopped_by
    if missing:
        raise IncompleteError(f"{missing} recordings are missing; {failed} lists them with the reasons")


if __name__ == "__main__":
    run_script(main)
