"""Run one of the project's scripts as a job of the workflow: never twice at once, and on a card of its own.

    python -m study.job --lock saved_models/.locks/makam.ast --gpus 1 -- train.py --dataset makam --model_name ast

If Snakemake was killed, the trainings it had begun go on without it; started again, it would begin
them a second time. A job therefore waits until nobody holds its lock. It then takes free cards, one
lock each, and becomes the script (the process is replaced), which so holds the locks to its end,
however that comes; the operating system gives them back.

Under SLURM, cards are SLURM's to give: a job that sees as many as it asks for has them for itself.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from runtime.atomic_files import make_directory
from runtime.errors import UsageError, run_script

POLL = 1.0  # seconds between looks for a free card


def cards() -> list[str]:
    """The cards jobs of this machine may use, as CUDA_VISIBLE_DEVICES names them; empty without any."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [card.strip() for card in visible.split(",") if card.strip() not in ("", "-1")]
    try:
        found = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [str(i) for i, _ in enumerate(line for line in found.stdout.splitlines() if line.startswith("GPU "))]


def try_lock(path: Path, *, wait: bool = False) -> int | None:
    """Take the lock `path`, for this process and what it becomes; its descriptor, or None if another holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(descriptor)
        return None
    os.set_inheritable(descriptor, True)
    return descriptor


def take_cards(count: int, available: list[str], directory: Path) -> list[str]:
    """Wait for `count` of the cards to be free and take them.

    Raises:
        UsageError: there are not as many.
    """
    if count > len(available):
        raise UsageError(f"{count} GPUs a run are asked for and this machine has {len(available)}; set gpus_per_run")
    taken: dict[str, int] = {}
    while len(taken) < count:
        for card in available:
            if card not in taken and len(taken) < count:
                descriptor = try_lock(directory / f"crosstag-{os.getuid()}-card-{card.replace('/', '_')}.lock")
                if descriptor is not None:
                    taken[card] = descriptor
        if len(taken) < count:
            for descriptor in taken.values():  # else two jobs could wait for each other's card
                os.close(descriptor)
            taken.clear()
            time.sleep(POLL)
    return list(taken)


def own_cards(count: int) -> list[str]:
    """`count` cards no other job of this machine has, as CUDA_VISIBLE_DEVICES names them.

    Raises:
        UsageError: there are not as many.
    """
    available = cards()
    slurm_job = os.environ.get("SLURM_JOB_ID")
    if slurm_job is not None and len(available) == count:
        return available  # each job of SLURM may call its own card 0: no lock must be had on that name
    directory = Path(tempfile.gettempdir())
    if slurm_job is not None:  # several runs within one allocation
        directory = make_directory(directory / f"crosstag-{os.getuid()}-slurm-{slurm_job}")
    return take_cards(count, available, directory)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m study.job",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of errors")
    parser.add_argument("--lock", type=Path, required=True, help="one job at a time holds this file")
    parser.add_argument("--gpus", type=int, default=0, help="cards to take (default: 0)")
    parser.add_argument("command", nargs="+", help="after --, what python is given: a script or -m and a module, …")
    arguments = parser.parse_args()

    make_directory(arguments.lock.parent)
    if try_lock(arguments.lock) is None:
        print("waiting for an earlier job of the same run to end", flush=True)
        try_lock(arguments.lock, wait=True)
    if arguments.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(own_cards(arguments.gpus))
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *arguments.command])


if __name__ == "__main__":
    run_script(main)
