"""The real command lines, run as processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TRAIN = ("train.py", "--dataset", "makam", "--device", "cpu", "--precision", "float32")
EVALUATE = ("evaluate.py", "--dataset", "makam", "--device", "cpu", "--precision", "float32")


def start(*arguments: object, **options) -> subprocess.Popen[str]:
    """Start a script with one thread of computation."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"} | options.pop("env", {})
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=options.pop("cwd", ROOT),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


def run(*arguments: object, timeout: float = 300, **options) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a script."""
    process = start(*arguments, **options)
    output, errors = process.communicate(timeout=timeout)
    return process.returncode, output, errors


def wait_for(process: subprocess.Popen[str], condition: Callable[[], bool], timeout: float = 120) -> None:
    """Wait until something has happened that a running script does."""
    end = time.monotonic() + timeout
    while not condition():
        if process.poll() is not None:
            raise AssertionError(f"it ended before: {process.communicate()}")
        if time.monotonic() > end:
            process.send_signal(signal.SIGKILL)
            raise AssertionError(f"it did not happen within {timeout} s: {process.communicate()}")
        time.sleep(0.01)


def told(errors: str) -> str:
    """The one line of error a script has told; anything else on standard error must be progress."""
    assert "Traceback" not in errors, errors
    lines = [line for line in errors.replace("\r", "\n").splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, errors
    return lines[0]
