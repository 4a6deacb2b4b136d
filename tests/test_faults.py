"""Faults that are really caused, through the real command lines: kills, signals, full disks, vanishing files."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import random
import resource
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from models.checkpoints import CheckpointInfo, load_checkpoint, save_checkpoint
from tests.commands import EVALUATE, ROOT, TRAIN, run, start, told, wait_for
from tests.corpora import make_corpus, write_spectrogram

EPOCHS = 4
MUSICNN = (*TRAIN, "--model_name", "musicnn", "--epochs", EPOCHS, "--batch_size", 6)
EVERY_STEP = ("--save_every", 1e-9)


def weights_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(load_checkpoint(path).state_dict.items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def contents(directory: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of everything in a directory."""
    found = [directory, *directory.rglob("*")]
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


@dataclasses.dataclass(frozen=True)
class Reference:
    """A training that nothing interrupted."""

    corpus: Path
    models: Path

    @property
    def checkpoint(self) -> Path:
        return self.models / "makam" / "musicnn.pth"


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    root = tmp_path_factory.mktemp("reference")
    corpus = make_corpus(root / "corpus", counts=(12, 6, 8), n_frames=190)
    before = contents(corpus)
    code, output, errors = run(*MUSICNN, "--data_dir", corpus, "--models_dir", root / "models")
    assert code == 0, errors
    assert f"epoch   {EPOCHS}/{EPOCHS}" in output
    assert contents(corpus) == before, "training writes into the data directory"
    return Reference(corpus, root / "models")


def train_command(reference: Reference, models: Path, *more: object) -> tuple[object, ...]:
    return (*MUSICNN, *EVERY_STEP, "--data_dir", reference.corpus, "--models_dir", models, *more)


def check_no_half_written(models: Path) -> None:
    """Whatever carries a final name can be read."""
    for path in models.rglob("*.pth"):
        load_checkpoint(path)


def interrupt(reference: Reference, models: Path, number: int, delay: float) -> int | None:
    """Train, send a signal `delay` seconds after the first save of this process; its exit code, None if it finished."""
    state = models / "makam" / "musicnn.resume"
    before = state.stat().st_mtime_ns if state.exists() else 0
    process = start(*train_command(reference, models))
    finished = models / "makam" / "musicnn.pth"
    wait_for(process, lambda: finished.exists() or (state.exists() and state.stat().st_mtime_ns != before))
    time.sleep(delay)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    check_no_half_written(models)
    if finished.exists():  # the signal came on its way out
        return None
    if number != signal.SIGKILL:
        assert process.returncode == 75, errors
        assert signal.Signals(number).name in told(errors)
        assert state.is_file()
    return process.returncode


def check_finishes_alike(reference: Reference, models: Path) -> None:
    code, _, errors = run(*train_command(reference, models))
    assert code == 0, errors
    assert weights_sha256(models / "makam" / "musicnn.pth") == weights_sha256(reference.checkpoint)
    left = {path.name for path in (models / "makam").iterdir()}
    assert left == {"musicnn.pth", "musicnn.history.csv", "musicnn.tensorboard"}, "something is left behind"


def test_a_training_stopped_by_every_means_ends_as_if_never_stopped(reference, tmp_path):
    codes = [interrupt(reference, tmp_path, number, 0.1) for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)]
    assert codes == [-signal.SIGKILL, 75, 75]
    check_finishes_alike(reference, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_training_killed_again_and_again_ends_as_if_never_stopped(reference, tmp_path, seed):
    generator = random.Random(seed)
    killed = 0
    for _ in range(8):
        if generator.random() < 0.3:  # at any moment, also before anything has been saved
            process = start(*train_command(reference, tmp_path))
            time.sleep(generator.uniform(0, 8))
            process.kill()
            process.communicate()
            killed += process.returncode == -signal.SIGKILL
        else:
            killed += interrupt(reference, tmp_path, signal.SIGKILL, generator.uniform(0, 0.6)) is not None
        check_no_half_written(tmp_path)
    print(f"killed: {killed}")
    check_finishes_alike(reference, tmp_path)


def test_a_second_sigint_stops_at_once_and_a_running_training_keeps_others_out(reference, tmp_path):
    first = start(*train_command(reference, tmp_path, "--epochs", 1000))
    state = tmp_path / "makam" / "musicnn.resume"
    wait_for(first, state.exists)
    code, _, errors = run(*train_command(reference, tmp_path))
    assert code == 1
    assert f"already being trained in {tmp_path / 'makam'} (process {first.pid} " in told(errors)
    for _ in range(2):
        first.send_signal(signal.SIGINT)
        time.sleep(0.002)
    _, errors = first.communicate(timeout=30)
    # Both may arrive within one step of Python; then the second insists on nothing that was not done.
    assert first.returncode in (130, 75), errors
    told(errors)
    assert not list(tmp_path.rglob("*.part"))


@contextmanager
def tmpfs(directory: Path, size: str) -> Iterator[Path]:
    directory.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", directory], capture_output=True
    ).returncode:
        pytest.skip("this user may not mount a tmpfs")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", directory], check=True)


def limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000_000, 4_000_000))


def test_a_file_size_limit_is_told_and_leaves_no_half_written_file(reference, tmp_path):
    code, _, errors = run(*train_command(reference, tmp_path), preexec_fn=limit_files)
    assert code == 1
    assert "grew past the allowed size" in told(errors) and "musicnn.resume" in told(errors)
    assert not list(tmp_path.rglob("*.part")) and not list(tmp_path.rglob("*.resume")) + list(tmp_path.rglob("*.pth"))


@pytest.mark.slow
def test_a_full_disk_keeps_the_last_state_and_training_goes_on_when_there_is_room(reference, tmp_path):
    with tmpfs(tmp_path / "small", "64m") as models:
        process = start(*train_command(reference, models))
        wait_for(process, (models / "makam" / "musicnn.resume").exists)
        filling = models / "filling"
        with filling.open("wb", buffering=0) as file:
            while True:
                try:
                    file.write(bytes(2**12))
                except OSError:
                    break
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 1 and "the disk is full" in told(errors)
        assert not list(models.rglob("*.part"))
        filling.unlink()
        check_finishes_alike(reference, models)


@pytest.mark.slow
def test_an_evaluation_on_a_full_disk_is_told_and_leaves_no_half_of_a_result(reference, tmp_path):
    with tmpfs(tmp_path / "small", "16k") as results:
        (results / "filling").write_bytes(bytes(8192))
        code, _, errors = run(*evaluate_command(reference, results))
        assert code == 1 and "space" in told(errors)
        assert not list(results.rglob("*.json")) and not list(results.rglob("*.part"))


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_a_read_only_data_directory_is_enough(reference, tmp_path, command):
    data = tmp_path / "data"
    data.mkdir()
    if subprocess.run(["mount", "--bind", reference.corpus, data], capture_output=True).returncode:
        pytest.skip("this user may not mount")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", data], check=True)
        with pytest.raises(OSError, match="Read-only"):
            (data / "x").touch()
        mounted = dataclasses.replace(reference, corpus=data)
        if command == "train":
            check_finishes_alike(mounted, tmp_path / "models")
        else:
            code, _, errors = run(*evaluate_command(mounted, tmp_path / "results"))
            assert code == 0, errors
    finally:
        subprocess.run(["umount", "-l", data], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["models", "results"])
def test_a_read_only_directory_for_results_is_told(reference, tmp_path, where):
    with tmpfs(tmp_path / where, "1m") as target:
        subprocess.run(["mount", "-o", "remount,ro", target], check=True)
        command = train_command(reference, target) if where == "models" else evaluate_command(reference, target)
        code, _, errors = run(*command)
        assert code == 1 and "read-only" in told(errors).lower()


def damage(path: Path, how: str) -> None:
    if how == "deleted":
        path.unlink()
    elif how == "truncated":
        os.truncate(path, path.stat().st_size // 2)
    elif how == "replaced":
        write_spectrogram(path.with_name("new.npy"), np.zeros((230, 128)))
        path.with_name("new.npy").replace(path)
    elif how == "made a directory":
        path.unlink()
        path.mkdir()
    else:
        path.unlink()
        os.mkfifo(path)


@pytest.mark.parametrize(
    "how",
    [
        "truncated",
        *(
            pytest.param(how, marks=pytest.mark.slow)
            for how in ("deleted", "replaced", "made a directory", "made a pipe")
        ),
    ],
)
def test_a_spectrogram_that_changes_under_a_training_is_told_and_the_state_kept(tmp_path, how):
    corpus = make_corpus(tmp_path / "corpus", counts=(12, 6, 8), n_frames=190)
    path = corpus / "mel-spectrograms" / "train-005.npy"
    command = (*MUSICNN, *EVERY_STEP, "--epochs", 1000, "--data_dir", corpus, "--models_dir", tmp_path / "models")
    process = start(*command)
    state = tmp_path / "models" / "makam" / "musicnn.resume"
    wait_for(process, state.exists)
    damage(path, how)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1, errors
    assert str(path) in told(errors)
    assert state.is_file() and not state.with_suffix(".pth").exists()
    assert not list(tmp_path.rglob("*.part"))


def evaluate_command(reference: Reference, results: Path) -> tuple[object, ...]:
    options = ("--data_dir", reference.corpus, "--models_dir", reference.models, "--evaluation_dir", results)
    return (*EVALUATE, "--model_name", "musicnn", *options, "--batch_size", 4)


def results_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (directory / "makam").iterdir()}


def kill_an_evaluation(reference: Reference, results: Path, delay: float) -> None:
    process = start(*evaluate_command(reference, results))
    wait_for(process, (results / "makam").exists)  # made just before scoring begins
    time.sleep(delay)
    process.kill()
    process.communicate()
    json = results / "makam" / "musicnn.json"
    if json.exists():  # the mark of a complete evaluation
        from evaluation.reports import read_report, read_scores

        read_report(json)
        read_scores(json)


def evaluate_to_the_end(reference: Reference, results: Path) -> dict[str, bytes]:
    code, _, errors = run(*evaluate_command(reference, results))
    assert code == 0, errors
    return results_of(results)


def test_a_killed_evaluation_leaves_nothing_and_is_simply_repeated(reference, tmp_path):
    kill_an_evaluation(reference, tmp_path / "killed", 0.0)
    again = evaluate_to_the_end(reference, tmp_path / "killed")
    assert again.keys() == {"musicnn.txt", "musicnn.json", "musicnn.csv"}


@pytest.mark.slow
def test_an_evaluation_killed_again_and_again_ends_as_if_never_stopped(reference, tmp_path):
    whole = evaluate_to_the_end(reference, tmp_path / "whole")
    generator = random.Random(0)
    for _ in range(20):
        kill_an_evaluation(reference, tmp_path / "killed", generator.uniform(0, 1.0))
    assert evaluate_to_the_end(reference, tmp_path / "killed") == whole


def in_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, *arguments: object) -> tuple[int, str]:
    """Exit code and standard error of a script run within this process, which spares the imports."""
    monkeypatch.setattr(sys, "argv", [str(argument) for argument in arguments])
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / str(arguments[0])), run_name="__main__")
    return stopped.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--model_name", ""], 2, "unknown model ''"),
        (["--model_name", "musicnn_from_"], 2, "unknown source ''"),
        (["--model_name", "musicnn_from_makam"], 2, "another corpus"),
        (["--model_name", "../../musicnn"], 2, "unknown model"),
        (["--dataset", ""], 2, "unknown dataset"),
        (["--dataset", "../makam"], 2, "unknown dataset"),
        (["--seed", "-1"], 2, "not from 0"),
        (["--seed", "1" * 30], 2, "not from 0"),
        (["--seed", "one"], 2, "invalid"),
        (["--epochs", "0"], 2, "not at least 1"),
        (["--batch_size", "-3"], 2, "not at least 1"),
        (["--lr", "nan"], 2, "not a number above 0"),
        (["--lr", "1e999"], 2, "not a number above 0"),
        (["--save_every", "0"], 2, "not a number above 0"),
        (["--num_workers", "-1"], 2, "not from 0"),
        (["--num_workers", "1000000"], 2, "not from 0"),
        (["--device", ""], 2, "unknown device"),
        (["--device", "gpu"], 2, "unknown device"),
        (["--device", "cuda:999"], 2, "there is no cuda:999"),
        (["--device", "cuda:-1"], 2, "unknown device"),
        (["--device", "cuda:99999999999999999999"], 2, "there is no cuda:9999"),
        (["--device", "meta"], 2, "unknown device"),
        (["--data_dir", "missing"], 2, "there is no directory missing"),
        (["--data_dir", "{a file}"], 2, "there is no directory"),
        (["--data_dir", "{an empty directory}"], 1, "no split files"),
        (["--data_dir", "/dev/null"], 2, "there is no directory"),
        (["--data_dir", "x" * 5000], 1, "too long"),
        (["--models_dir", "{a file}"], 1, "cannot create the directory"),
        (["--models_dir", "{a file}/within"], 1, "cannot create the directory"),
        (["--models_dir", "x" * 5000], 1, "cannot create the directory"),
        (["--models_dir", "/proc/nowhere"], 1, "cannot create the directory"),
        (["--model_name", "ast", "--ast_init", ""], 1, "no initial weights"),
        (["--model_name", "ast", "--ast_init", "{a file}"], 1, "initial weights"),
        (["--model_name", "ast_from_fma"], 1, "train it with: python train.py"),
        (["--unknown"], 2, "unrecognized arguments"),
    ],
)
def test_a_bad_argument_of_train_is_told_in_one_line(corpus_dir, tmp_path, monkeypatch, capsys, options, code, said):
    (tmp_path / "file").write_text("nothing")
    (tmp_path / "empty").mkdir()
    places = {"{a file}": str(tmp_path / "file"), "{an empty directory}": str(tmp_path / "empty")}
    for name, place in places.items():
        options = [option.replace(name, place) for option in options]
    command = ["train.py", "--dataset", "makam", "--model_name", "musicnn", "--data_dir", corpus_dir]
    command += ["--models_dir", tmp_path / "models", *options]
    found, errors = in_process(monkeypatch, capsys, *command)
    assert found == code, errors
    assert "Traceback" not in errors and said in errors.splitlines()[-1]
    assert errors.count("error: ") == 1
    assert not list(tmp_path.rglob("*.pth")) and not list(tmp_path.rglob("*.lock"))


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--model_name", "musicnn"], 1, "there is no checkpoint"),
        (["--model_name", "vgg_ish"], 1, "damaged"),
        (["--model_name", "ast"], 1, "there is no checkpoint"),
        (["--batch_size", "0"], 2, "not at least 1"),
        (["--ast_normalisation", "0", "0"], 2, "above 0"),
        (["--ast_normalisation", "nan", "1"], 2, "above 0"),
        (["--ast_normalisation", "1"], 2, "expected 2 arguments"),
        (["--models_dir", "{a file}"], 1, "there is no checkpoint"),
        (["--device", "cuda:999"], 2, "there is no cuda:999"),
    ],
)
def test_a_bad_argument_of_evaluate_is_told_in_one_line(corpus_dir, tmp_path, monkeypatch, capsys, options, code, said):
    (tmp_path / "file").write_text("nothing")
    models = tmp_path / "models" / "makam"
    models.mkdir(parents=True)
    (models / "vgg_ish.pth").write_bytes(b"no checkpoint")
    options = [option.replace("{a file}", str(tmp_path / "file")) for option in options]
    command = ["evaluate.py", "--dataset", "makam", "--model_name", "musicnn", "--data_dir", corpus_dir]
    command += ["--models_dir", tmp_path / "models", "--evaluation_dir", tmp_path / "results", *options]
    found, errors = in_process(monkeypatch, capsys, *command)
    assert found == code, errors
    assert "Traceback" not in errors and said in errors.splitlines()[-1]
    assert errors.count("error: ") == 1


@pytest.mark.parametrize("place", ["{a file}", "{a file}/within", "/proc/nowhere"])
def test_an_evaluation_that_cannot_be_written_is_told_before_it_is_computed(
    reference, tmp_path, monkeypatch, capsys, place
):
    (tmp_path / "file").write_text("nothing")
    results = Path(place.replace("{a file}", str(tmp_path / "file")))
    monkeypatch.setattr("evaluation.run.score_recordings", lambda *_: pytest.fail("it was computed"))
    code, errors = in_process(monkeypatch, capsys, *evaluate_command(reference, results))
    assert code == 1 and "cannot create the directory" in told(errors)


def test_the_traceback_is_shown_with_debug_only(monkeypatch, capsys, tmp_path):
    command = ["train.py", "--dataset", "makam", "--model_name", "musicnn", "--data_dir", tmp_path / "missing"]
    command += ["--models_dir", tmp_path / "models"]
    code, errors = in_process(monkeypatch, capsys, *command)
    assert code == 2 and "Traceback" not in errors
    debug_code, debug_errors = in_process(monkeypatch, capsys, *command, "--debug")
    assert debug_code == 2 and "Traceback" in debug_errors and told(errors) in debug_errors


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 1, "out of memory"),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), 1, "out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"), 1, "out of memory"),
        (OSError(28, "No space left on device", "/x/y"), 1, "the disk is full; free some space and run the same"),
        (OSError(30, "Read-only file system", "/x/y"), 1, "read-only"),
        (OSError(37, "No locks available"), 1, "locks"),
        (OSError(116, "Stale file handle", "/x/y"), 1, "Stale file handle: /x/y"),
        (RecursionError("too deep"), 70, "this program failed (RecursionError: too deep); --debug shows where"),
        (KeyError("a\nb"), 70, "this program failed (KeyError"),
        (BrokenPipeError(), 1, ""),
    ],
)
def test_whatever_goes_wrong_is_one_line_and_an_exit_code(capsys, error, code, said):
    from runtime.errors import run_script

    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as stopped:
        run_script(main, debug=False)
    written = capsys.readouterr().err
    assert stopped.value.code == code
    assert said in written and written.count("\n") == bool(said)


def test_ctrl_c_while_the_libraries_are_imported_shows_no_traceback(reference, tmp_path):
    process = start(*train_command(reference, tmp_path))
    time.sleep(0.8)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "interrupted" in told(errors)


@pytest.mark.parametrize("closed", ["stdout", "full"])
def test_an_output_that_takes_nothing_is_no_traceback(closed):
    command = f"{sys.executable} train.py --dataset makam --model_name musician"
    shell = command + (" >&-" if closed == "stdout" else " >/dev/full")
    done = subprocess.run(["sh", "-c", shell], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode in (1, 2) and told(done.stderr)


def test_a_checkpoint_is_replaced_whole_or_not_at_all(reference, tmp_path):
    """A write that fails half-way, as on a full disk, keeps what was there."""
    checkpoint = load_checkpoint(reference.checkpoint)
    path = tmp_path / "model.pth"
    save_checkpoint(path, checkpoint.state_dict, checkpoint.info)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
    try:
        with pytest.raises(OSError, match="too large") as error:
            save_checkpoint(path, checkpoint.state_dict, checkpoint.info)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert error.value.filename == str(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["model.pth"]  # noqa: PTH208
    assert isinstance(load_checkpoint(path).info, CheckpointInfo)
