"""What fetching audio and fetching metadata share: which recordings, a few at once, and an honest end."""

from __future__ import annotations

import argparse
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from config import DATA_DIR
from datasets.metadata import read_ids
from preprocessing.download import Cancelled
from preprocessing.dunya.client import DATASETS, HOST, AccessDenied, DunyaClient, RecordingFailed
from runtime.atomic_files import atomic_write
from runtime.errors import DataError, UsageError, UserError

_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")  # a MusicBrainz id is; nothing that could lead elsewhere is
REFUSED_ID = "refused: an id like this could lead out of the folder"
_UNREACHABLE = 10  # recordings in a row that fail for want of a working server before the run stops
_REFUSED = 3  # recordings refused, with none granted, before the run stops
_NOT_TRIED = "not tried: the run was stopped before"
_PATIENCE = 2.0  # seconds that Ctrl-C waits for transfers to end


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that both scripts have."""
    parser.add_argument("--dataset", required=True, choices=DATASETS, default=argparse.SUPPRESS, help="the corpus")
    parser.add_argument(
        "--data_dir", type=Path, default=argparse.SUPPRESS, help="the corpus' folder (default: data/{dataset})"
    )
    parser.add_argument(
        "--token", default=argparse.SUPPRESS, help="your Dunya token (default: the environment variable DUNYA_TOKEN)"
    )
    parser.add_argument("--all", action="store_true", help="every recording Dunya lists, not only the published split")
    parser.add_argument("--workers", type=int, default=4, help="how many recordings are fetched at once (1 to 8)")
    parser.add_argument("--host", default=HOST, help="Dunya's address")
    parser.add_argument("--retries", type=int, default=5, help="how often a failing request is repeated")
    parser.add_argument("--retry_wait", type=float, default=1.0, help="first pause before a repetition, in seconds")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds without an answer that count as a failure")
    parser.add_argument("--debug", action="store_true", help="show the traceback of errors")


def make_client(options: argparse.Namespace, stop: threading.Event) -> DunyaClient:
    """A client as the options ask for it.

    Raises:
        UsageError: there is no token, or an option is out of range.
    """
    if not 1 <= options.workers <= 8:
        raise UsageError("--workers must be from 1 to 8: Dunya is a research server")
    if options.retries < 0 or options.retry_wait < 0 or options.timeout <= 0:
        raise UsageError("--retries and --retry_wait cannot be negative, and --timeout must be positive")
    token = getattr(options, "token", None) or os.environ.get("DUNYA_TOKEN", "")
    if not token.strip():
        raise UsageError(
            f"no Dunya token: make an account at {HOST}, ask there for access to the audio, copy the token from "
            f"{HOST}/user/profile/ and give it as DUNYA_TOKEN or --token"
        )
    return DunyaClient(
        options.dataset,
        token,
        options.host,
        retries=options.retries,
        wait=options.retry_wait,
        timeout=options.timeout,
        connections=options.workers,
        stop=stop,
    )


def find_split_dir(dataset: str, data_dir: Path) -> Path:
    """The folder with the published lists: `{data_dir}/split`, else `data/{dataset}/split` (as `open_corpus` looks).

    Raises:
        DataError: neither has them.
    """
    for candidate in (data_dir / "split", DATA_DIR / dataset / "split"):
        if (candidate / "train.npy").is_file():
            return candidate
    raise DataError(
        f"the published lists of recordings are not in {data_dir / 'split'}; fetch them with: "
        f"python preprocessing/get_splits.py --dataset {dataset} (or take every recording with --all)"
    )


def split_ids(split_dir: Path) -> list[str]:
    """The recordings of the published split: training, validation, test.

    Raises:
        DataError: a list is missing or damaged.
    """
    return [id_ for name in ("train", "valid", "test") for id_ in read_ids(split_dir / f"{name}.npy")]


def is_safe(recording_id: str) -> bool:
    """Whether an id can be part of a file name and of an address without leading anywhere else."""
    return _SAFE_ID.fullmatch(recording_id) is not None


@dataclass
class Outcome:
    """How fetching went.

    Attributes:
        failed: id → why it could not be had.
        stopped_by: what ended the run before its time, if anything did.
    """

    failed: dict[str, str] = field(default_factory=dict)
    stopped_by: BaseException | None = None


def fetch_all(
    ids: Sequence[str], fetch: Callable[[str], None], workers: int, stop: threading.Event, description: str
) -> Outcome:
    """Call `fetch` for every id from a few threads, with a progress bar.

    A recording that fails does not keep the others from being fetched. The run stops at once on
    an error that is not one recording's own (a full disk, a rejected token), when the server has
    been down for several recordings in a row, when access is refused and nothing was granted,
    and on Ctrl-C.
    """
    outcome = Outcome()
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[str, BaseException | None]] = queue.SimpleQueue()
    judge = _Judge()
    for id_ in ids:
        waiting.put(id_)

    def work() -> None:
        while not stop.is_set():
            try:
                id_ = waiting.get_nowait()
            except queue.Empty:
                return
            error: BaseException | None = None
            try:
                fetch(id_)
            except BaseException as raised:  # handed to the main thread, whatever it is
                error = raised
            if (error is not None and not isinstance(error, RecordingFailed)) or judge.gives_up_after(error):
                stop.set()
            done.put((id_, error))

    def note(id_: str, error: BaseException | None) -> None:
        if isinstance(error, RecordingFailed):
            outcome.failed[id_] = str(error)
        elif error is not None and not isinstance(error, Cancelled):
            outcome.stopped_by = outcome.stopped_by or error

    # Daemon threads: a transfer that hangs must not keep Ctrl-C waiting. What they leave is removed next time.
    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(workers, len(ids)))]
    try:
        with tqdm(total=len(ids), desc=description, unit="recording", smoothing=0.05) as bar:
            for thread in threads:
                thread.start()
            while bar.n < len(ids) and not stop.is_set():
                note(*done.get())
                bar.update()
                bar.set_postfix(failed=len(outcome.failed), refresh=False)
    except KeyboardInterrupt as error:
        outcome.stopped_by = error
        stop.set()
    deadline = time.monotonic() + _PATIENCE
    for thread in threads:
        if thread.ident is not None:  # else Ctrl-C came before it was started
            thread.join(max(0.0, deadline - time.monotonic()))
    while not done.empty():
        note(*done.get())
    outcome.stopped_by = outcome.stopped_by or judge.verdict or judge.verdict_at_end()
    return outcome


class _Judge:
    """Decides when failures of single recordings mean that going on is no use."""

    def __init__(self) -> None:
        self.granted = self.refused = self.unreachable = 0
        self.verdict: UserError | None = None
        self._last = ""
        self._lock = threading.Lock()

    def gives_up_after(self, error: RecordingFailed | None) -> bool:
        """Take note of how one recording ended; whether that is the end of the run."""
        with self._lock:
            if error is None:
                self.granted += 1
                self.unreachable = 0
                return False
            self._last = str(error)
            self.refused += error.refused
            self.unreachable = self.unreachable + 1 if error.temporary else 0
            if self.unreachable >= _UNREACHABLE:
                self.verdict = self.verdict or UserError(
                    f"{_UNREACHABLE} recordings in a row failed, the last with: {error}; run the same command later"
                )
            elif self.refused >= _REFUSED and not self.granted:
                self.verdict = self.verdict or self._denied()
            return self.verdict is not None

    def verdict_at_end(self) -> AccessDenied | None:
        """The error that fewer recordings than it takes to stop add up to, if they do."""
        return self._denied() if self.refused and not self.granted else None

    def _denied(self) -> AccessDenied:
        return AccessDenied(
            f"Dunya accepts the token but refuses the recordings ({self._last}); ask for access to this corpus at "
            f"{HOST}, then run the same command again"
        )


def write_failed(path: Path, wanted: Iterable[str], is_there: Callable[[str], bool], outcome: Outcome) -> int:
    """Write `id<TAB>reason` for each recording that is not there; no file if none is missing.

    Returns:
        How many are missing.
    """
    missing = [(id_, outcome.failed.get(id_, _NOT_TRIED)) for id_ in wanted if not is_there(id_)]
    if not missing:
        path.unlink(missing_ok=True)
        return 0
    with atomic_write(path, "w", encoding="utf-8", newline="\n") as file:
        for id_, reason in missing:
            file.write(f"{_one_line(id_)}\t{_one_line(reason)}\n")
    return len(missing)


def failed_last(ids: Iterable[str], path: Path) -> list[str]:
    """`ids` with those that an earlier run listed in `path` as failed at the end.

    So recordings that keep failing cannot stand in the way of the rest.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return list(ids)
    failed = {id_ for id_, tab, reason in (line.partition("\t") for line in lines) if tab and reason != _NOT_TRIED}
    return sorted(ids, key=lambda id_: id_ in failed)


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)[:200]
