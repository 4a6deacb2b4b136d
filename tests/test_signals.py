"""Signals at every moment of a script's life: told in a line, an exit code, nothing half-written."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands import EVALUATE, ROOT, TRAIN, start, told, wait_for
from tests.corpora import make_corpus

# A script of ours whose `main` says when it has begun, and ends when it is told to, or by itself.
SCRIPT = """
import sys, time
from runtime.errors import UserError, run_script

def main():
    print("begun", flush=True)
    time.sleep(float(sys.argv[1]))

run_script(main)
for number in range(5):  # as PyTorch's way out, which takes its time
    time.sleep(0.2)
"""


def begun(*options: object, seconds: float = 30, **popen) -> subprocess.Popen:
    process = start("-c", SCRIPT, seconds, *options, **popen)
    assert process.stdout.readline() == "begun\n"
    return process


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_script_that_has_no_safe_point_ends_at_once_and_says_so(name):
    process = begun()
    process.send_signal(getattr(signal, name))
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 75
    assert told(errors) == f"error: stopped by {name}; the same command goes on from what is finished"


def test_under_nohup_a_closed_terminal_stops_nothing():
    process = begun(seconds=1, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.send_signal(signal.SIGHUP)
    assert process.communicate(timeout=20)[1] == "" and process.returncode == 0


@pytest.mark.parametrize("first", ["SIGTERM", "SIGINT"])
def test_further_signals_on_the_way_out_change_nothing_and_show_no_traceback(first):
    process = begun()
    process.send_signal(getattr(signal, first))
    end = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < end:
        for name in ("SIGTERM", "SIGHUP", "SIGINT"):
            process.send_signal(getattr(signal, name))
        time.sleep(0.003)
    _, errors = process.communicate(timeout=20)
    assert process.returncode in (75, 130), errors  # signals sent together arrive in any order
    told(errors)


def test_a_signal_after_the_work_is_done_does_not_unmake_its_success():
    script = "import atexit, time; atexit.register(time.sleep, 1.5); " + SCRIPT.partition("for number")[0]
    process = start("-c", script.replace("; \n", "\n"), 0)
    assert process.stdout.readline() == "begun\n"
    time.sleep(0.7)
    for name in ("SIGTERM", "SIGHUP", "SIGINT"):
        process.send_signal(getattr(signal, name))
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("data") / "corpus", counts=(12, 6, 8), n_frames=190)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_training_that_has_not_begun_leaves_nothing_behind(corpus, tmp_path, number):
    process = start(*TRAIN, "--model_name", "musicnn", "--data_dir", corpus, "--models_dir", tmp_path)
    wait_for(process, (tmp_path / "makam" / "musicnn.lock").exists)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75 and number.name in told(errors)
    assert [path.name for path in (tmp_path / "makam").rglob("*") if path.suffix in (".lock", ".part", ".pth")] == []


def test_a_hang_up_lets_training_save(corpus, tmp_path):
    options = ("--epochs", 1000, "--batch_size", 6, "--data_dir", corpus, "--models_dir", tmp_path)
    process = start(*TRAIN, "--model_name", "musicnn", *options)
    state = tmp_path / "makam" / "musicnn.resume"
    wait_for(process, state.exists)
    process.send_signal(signal.SIGHUP)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "SIGHUP: stopped in epoch" in told(errors) and str(state) in told(errors)


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.5, 1.5, 2.5, 3.5, 5.0])
def test_an_evaluation_is_stopped_at_any_moment(corpus, tmp_path, delay):
    from tests.saved_models import save_random

    tags = ("instrument--Ud", "instrument--Ney", "instrument--Kanun")
    save_random(tmp_path / "models" / "makam" / "vgg_ish.pth", tags=tags)
    options = ("--data_dir", corpus, "--models_dir", tmp_path / "models", "--evaluation_dir", tmp_path / "results")
    process = start(*EVALUATE, "--model_name", "vgg_ish", *options)
    time.sleep(delay)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in (75, 0), errors
    if process.returncode:
        assert "SIGTERM" in told(errors)
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("stderr", ["2>/dev/full", "2>&-", "2>&- >&-"])
def test_progress_that_cannot_be_shown_does_not_stop_a_training(corpus, tmp_path, stderr):
    options = f"--data_dir {corpus} --models_dir {tmp_path} --epochs 1 --batch_size 6"
    command = f"{sys.executable} {' '.join(TRAIN)} --model_name musicnn {options} {stderr}"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "makam" / "musicnn.pth").is_file()
