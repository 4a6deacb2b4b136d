"""Preprocessing under faults that really happen: kills, crashes, hangs, full disks, mutated files."""

import ctypes
import faulthandler
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from threadpoolctl import threadpool_info

from preprocessing.audio import stream_audio
from preprocessing.mel import mel_frames
from preprocessing.workers import Crash, run_in_workers
from runtime.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_STOPPED, AudioError

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "preprocessing" / "create_mel_spectrograms.py"


# --- the pool of workers ---------------------------------------------------------------------


def misbehave(task: str) -> str:
    faulthandler.disable()  # pytest's would print a long report of what is done here on purpose
    if task == "crash":
        ctypes.string_at(0)  # reads address 0
    if task == "abort":
        os.abort()
    if task.startswith("killed"):
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "hang":
        ctypes.CDLL(None).pause()  # in C, where no Python handler runs
    if task == "noise":
        os.write(2, b"a decoder written in C\n")
    return task.upper()


def test_a_dead_worker_costs_only_its_own_task():
    good = [f"task {number}" for number in range(20)]
    tasks = [*good[:5], "crash", *good[5:10], "killed", "hang", "abort", *good[10:]]
    results = dict(run_in_workers(misbehave, tasks, workers=3, time_limit=2))
    assert {task: results.pop(task) for task in good} == {task: task.upper() for task in good}
    assert results == {
        "crash": Crash("the decoder crashed (SIGSEGV)"),
        "abort": Crash("the decoder crashed (SIGABRT)"),
        "killed": Crash("the worker was killed (out of memory?)"),
        "hang": Crash("not done after 2 s"),
    }


def test_many_deaths_leak_nothing():
    tasks = [f"{kind} {number}" for number in range(40) for kind in ("killed", "task")]
    before = len(list(Path("/proc/self/fd").iterdir()))
    results = dict(run_in_workers(misbehave, tasks, workers=2, time_limit=60))
    assert [results[task] for task in tasks if task.startswith("task")] == [f"TASK {number}" for number in range(40)]
    assert sum(isinstance(result, Crash) for result in results.values()) == 40
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_workers_keep_their_noise_to_themselves(capfd):
    assert dict(run_in_workers(misbehave, ["noise"], 1, 60)) == {"noise": "NOISE"}
    assert capfd.readouterr().err == ""


def threads(_: int) -> list[int]:
    return [library["num_threads"] for library in threadpool_info()]


def test_workers_have_one_thread():
    for _, counts in run_in_workers(threads, [0, 1], 2, 60):
        assert counts
        assert set(counts) == {1}


def own_pid(_: int) -> int:
    time.sleep(0.01)
    return os.getpid()


def test_closing_the_pool_leaves_no_process():
    outcomes = run_in_workers(own_pid, range(1000), 3, 60)
    pids = {next(outcomes)[1] for _ in range(20)}
    assert len(pids) == 3
    outcomes.close()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


# --- the script ------------------------------------------------------------------------------


def make_clips(audios: Path, count: int, seconds: float = 20) -> None:
    audios.mkdir(parents=True)
    rate = 44100
    samples = np.random.default_rng(0).normal(scale=0.1, size=(int(seconds * rate), 2)).astype(np.float32)
    soundfile.write(audios / "000.mp3", samples, rate)
    for index in range(1, count):
        (audios / f"{index:03}.mp3").symlink_to("000.mp3")


def start(data_dir: Path, *options: str, **popen) -> subprocess.Popen:
    command = [sys.executable, SCRIPT, "--dataset", "fma", "--data_dir", data_dir, "--workers", "2", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **popen)


def finish(data_dir: Path) -> str:
    process = start(data_dir)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


def contents(data_dir: Path) -> dict[str, bytes]:
    """Everything in the output directory, part files too; a run killed at once may not have made it."""
    (data_dir / "mel-spectrograms").mkdir(exist_ok=True)
    return {path.name: path.read_bytes() for path in (data_dir / "mel-spectrograms").iterdir()}


def workers_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_until(true, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.005)


def wait_for_some(data_dir: Path, count: int) -> None:
    wait_until(lambda: len(list((data_dir / "mel-spectrograms").glob("*.npy"))) >= count)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict[str, bytes]:
    data_dir = tmp_path_factory.mktemp("undisturbed")
    make_clips(data_dir / "audios", 30)
    finish(data_dir)
    return contents(data_dir)


@pytest.fixture
def corpus(tmp_path) -> Path:
    make_clips(tmp_path / "audios", 30)
    return tmp_path


def check_finals(data_dir: Path, undisturbed: dict[str, bytes]) -> None:
    """Whatever carries a final name is whole."""
    finals = {name: data for name, data in contents(data_dir).items() if not name.endswith(".part")}
    assert finals.items() <= undisturbed.items()


def kill_at_random_moments(data_dir: Path, undisturbed: dict[str, bytes], times: int, seed: int) -> None:
    """kill -9 the run, or one of its workers, `times` times; then let it finish."""
    rng = random.Random(seed)
    for _ in range(times):
        process = start(data_dir, "--overwrite")
        time.sleep(rng.uniform(0.1, 1.2))
        workers = workers_of(process.pid) if process.poll() is None else []
        if workers and rng.random() < 0.5:
            os.kill(rng.choice(workers), signal.SIGKILL)
            time.sleep(rng.uniform(0, 0.2))
        process.kill()
        process.communicate(timeout=60)
        wait_until(lambda workers=workers: not any(Path(f"/proc/{pid}").exists() for pid in workers))
        check_finals(data_dir, undisturbed)
        for path in (data_dir / "mel-spectrograms").glob("*.npy"):
            if rng.random() < 0.7:
                path.unlink()
    finish(data_dir)
    assert contents(data_dir) == undisturbed


def test_kill_9_loses_nothing(corpus, undisturbed):
    kill_at_random_moments(corpus, undisturbed, times=4, seed=1)


@pytest.mark.slow
def test_kill_9_loses_nothing_many_times(corpus, undisturbed):
    kill_at_random_moments(corpus, undisturbed, times=60, seed=2)


def test_killed_worker_costs_one_file_which_the_next_run_makes(corpus, undisturbed):
    process = start(corpus)
    wait_for_some(corpus, 2)
    os.kill(workers_of(process.pid)[0], signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    left = contents(corpus)
    failed = left.pop("failed.tsv", b"").decode().splitlines()
    assert len(failed) == (1 if process.returncode else 0)  # it may have been between two files
    assert all("killed" in line for line in failed), err
    assert len(left) == 30 - len(failed)
    finish(corpus)
    assert contents(corpus) == undisturbed


@pytest.mark.parametrize(
    ("number", "code", "whole_group"),
    [
        (signal.SIGINT, EXIT_INTERRUPTED, True),
        (signal.SIGINT, EXIT_INTERRUPTED, False),
        (signal.SIGTERM, EXIT_STOPPED, False),
    ],
)
def test_signals_stop_cleanly_and_the_same_command_continues(corpus, undisturbed, number, code, whole_group):
    process = start(corpus, start_new_session=True)
    wait_for_some(corpus, 2)
    workers = workers_of(process.pid)
    asked = time.monotonic()
    if whole_group:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert time.monotonic() - asked < 5
    assert process.returncode == code
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("error: ")
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    made = contents(corpus)
    assert 2 <= len(made) < 30
    assert made.items() <= undisturbed.items()  # no part file either
    assert f"{30 - len(made)} made, {len(made)} skipped" in finish(corpus)
    assert contents(corpus) == undisturbed


def test_full_disk_is_one_line_and_the_same_command_continues(corpus, undisturbed):
    """A limit on the size of files has the same effect as a full disk: a write fails in the middle."""
    limit = 400_000  # bytes; a spectrogram has 640 kB
    process = start(corpus, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    _, err = process.communicate(timeout=60)
    assert process.returncode == EXIT_FAILED
    assert "Traceback" not in err
    assert "cannot write" in err.splitlines()[-1]
    assert contents(corpus) == {}
    finish(corpus)
    assert contents(corpus) == undisturbed


# --- mutated files ---------------------------------------------------------------------------

FORMATS = {
    "mp3": {},
    "vbr.mp3": {"bitrate_mode": "VARIABLE"},
    "wav": {},
    "float.wav": {"subtype": "FLOAT"},
    "flac": {},
    "ogg": {},
    "opus": {"format": "OGG", "subtype": "OPUS"},
    "aiff": {},
}


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> list[Path]:
    directory = tmp_path_factory.mktemp("originals")
    time_axis = np.arange(24000) / 24000
    samples = 0.3 * np.sin(2 * np.pi * np.outer(time_axis, [440, 660]))
    paths = []
    for suffix, options in FORMATS.items():
        paths.append(directory / f"tone.{suffix}")
        soundfile.write(paths[-1], samples, 24000, **options)
    return [*paths, write_m4a(directory / "tone.m4a", samples.astype(np.float32))]


def write_m4a(path: Path, samples: np.ndarray) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=24000, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = 24000, 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return path


def mutate(data: bytes, rng: random.Random) -> bytes:
    """One to three kinds of damage, as often in the first hundred bytes (headers) as anywhere."""
    damaged = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        reach = len(damaged) if rng.random() < 0.5 else min(len(damaged), 100)
        position = rng.randrange(max(1, reach))
        kind = rng.randrange(6)
        if kind == 0:
            damaged = damaged[:position]
        elif kind == 1:
            damaged[position : position + rng.randint(1, 300)] = b""
        elif kind == 2:
            damaged[position:position] = rng.randbytes(rng.randint(1, 300))
        elif kind == 3:
            size = rng.choice([1, 2, 4, 8])
            damaged[position : position + size] = rng.choice([b"\0", b"\xff", b"\x7f", b"\x80"]) * size
        elif kind == 4 and damaged:
            for _ in range(rng.randint(1, 20)):
                damaged[rng.randrange(max(1, reach)) % len(damaged)] ^= 1 << rng.randrange(8)
        else:
            damaged[position : position + 500] = rng.randbytes(500)
    return bytes(damaged)


def decode(task: tuple[Path, int]) -> tuple[str, float]:
    """What became of one mutated file, and the worker's peak memory in MB."""
    original, seed = task
    mutated = original.with_name(f"{os.getpid()}.{original.name}")
    mutated.write_bytes(mutate(original.read_bytes(), random.Random(seed)))
    try:
        finite = all(np.isfinite(block).all() for block in mel_frames(stream_audio(mutated, max_seconds=330)))
        outcome = "decoded" if finite else "not finite"
    except AudioError as error:
        outcome = "refused" if "\n" not in str(error) else "several lines"
    except Exception as error:
        outcome = f"{type(error).__name__}: {error} ({original.name}, seed {seed})"
    return outcome, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def fuzz(originals: list[Path], files: int, seed: int) -> Counter:
    tasks = [(original, seed * 10**6 + number) for number in range(files // len(originals)) for original in originals]
    counts, before = Counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    for task, result in run_in_workers(decode, tasks, 2, time_limit=60):
        assert not isinstance(result, Crash), (task, result)
        outcome, megabytes = result
        counts[outcome] += 1
        assert megabytes < before + 200, task
    assert set(counts) == {"decoded", "refused"}, counts
    return counts


def test_mutated_audio_is_decoded_or_refused(originals):
    counts = fuzz(originals, files=900, seed=1)
    assert min(counts.values()) > 100  # neither all harmless nor all hopeless


@pytest.mark.slow
def test_mutated_audio_is_decoded_or_refused_many_times(originals):
    print(dict(fuzz(originals, files=20_000, seed=2)))
