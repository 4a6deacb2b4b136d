"""The workflow: its configuration, its jobs' locks and cards, what it plans, and what survives a kill."""

import fcntl
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from config import DATASETS, MODELS, ROOT
from runtime.errors import UsageError
from study.job import cards, take_cards, try_lock
from study.settings import study_settings

needs_snakemake = pytest.mark.skipif(
    importlib.util.find_spec("snakemake") is None, reason="snakemake is not installed (requirements-study.txt)"
)


def snakemake(directory: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "-d", str(directory), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)


def planned(result: subprocess.CompletedProcess) -> dict[str, int]:
    """Jobs by rule, as a dry run lists them."""
    assert result.returncode == 0, result.stderr
    table = (result.stdout + result.stderr).rpartition("Job stats:")[2].partition("\n\n")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, flags=re.MULTILINE)}


# Configuration


def test_the_projects_configurations_are_good():
    settings = study_settings(yaml.safe_load((ROOT / "study.yaml").read_text(encoding="utf-8")))
    assert tuple(settings.corpora) == tuple(DATASETS) and settings.models == tuple(MODELS)
    assert not settings.synthetic
    assert settings.training_options("ast") == "--precision auto"
    demo = study_settings(yaml.safe_load((ROOT / "study" / "demo.yaml").read_text(encoding="utf-8")))
    assert demo.synthetic and len(demo.corpora) == 3 and len(demo.models) == 2
    assert "--ast_size tiny224" in demo.training_options("ast")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"corpora": {"makan": "x"}}, "corpora has unknown makan"),
        ({"corpora": {}}, "corpora is empty"),
        ({"models": ["cnn"]}, "models has unknown cnn"),
        ({"models": "ast"}, "models must be a list"),
        ({"seeds": [0, 0]}, "seeds must be different"),
        ({"seeds": [-1]}, "seeds must be different whole numbers"),
        ({"epochs": 0}, "epochs must be"),
        ({"epochs": {"cnn": 3}}, "epochs has unknown cnn"),
        ({"threads": 0}, "threads must be a whole number of at least 1"),
        ({"gpus_per_run": "many"}, "gpus_per_run must be"),
        ({"epoch": 3}, "unknown epoch"),
    ],
)
def test_mistakes_in_the_configuration_are_named(change, message):
    with pytest.raises(UsageError, match=message) as error:
        study_settings({"corpora": {"makam": "data/makam"}, "models": ["ast"], **change})
    assert "\n" not in str(error.value)


# Jobs: locks and cards


def test_cards_are_those_that_are_visible(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-7f")
    assert cards() == ["2", "GPU-7f"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert cards() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    fake = tmp_path / "nvidia-smi"
    fake.write_text("#!/bin/sh\necho 'GPU 0: A (UUID: x)'\necho 'GPU 1: A (UUID: y)'\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert cards() == ["0", "1"]


def test_each_job_takes_a_card_of_its_own(tmp_path):
    assert take_cards(1, ["0", "1"], tmp_path) == ["0"]
    assert take_cards(1, ["0", "1"], tmp_path) == ["1"]
    with pytest.raises(UsageError, match="this machine has 2"):
        take_cards(3, ["0", "1"], tmp_path)


def test_a_job_waits_for_an_earlier_one_and_holds_its_card_to_its_end(tmp_path):
    """The script must find the lock held by itself, and a card in CUDA_VISIBLE_DEVICES."""
    lock = tmp_path / "run.lock"
    held = try_lock(lock)
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "5,6", "TMPDIR": str(tmp_path)}
    environment.pop("SLURM_JOB_ID", None)
    script = tmp_path / "script.py"
    script.write_text(
        "import fcntl, os, sys\n"
        f"file = open({str(lock)!r})\n"
        "try:\n    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n    state = 'free'\n"
        "except BlockingIOError:\n    state = 'held'\n"
        "print(os.environ['CUDA_VISIBLE_DEVICES'], state, sys.argv[1:])\nsys.exit(75)\n"
    )
    command = [
        sys.executable,
        "-m",
        "study.job",
        "--lock",
        str(lock),
        "--gpus",
        "1",
        "--",
        str(script),
        "--epochs",
        "3",
    ]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "waiting for an earlier job of the same run to end\n"
    assert process.poll() is None
    os.close(held)
    output, _ = process.communicate(timeout=30)
    assert output == "5 held ['--epochs', '3']\n"
    assert process.returncode == 75  # the script's own
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # given back


# Planning


@needs_snakemake
def test_the_whole_study_is_198_trainings_and_evaluations(tmp_path):
    jobs = planned(snakemake(tmp_path, "-n"))
    assert (jobs["train"], jobs["evaluate"], jobs["statistics"]) == (198, 198, 6)


@needs_snakemake
def test_targets_have_names(tmp_path):
    one = planned(snakemake(tmp_path, "-n", "evaluation/makam/ast_from_fma.json"))
    assert one == {"train": 2, "evaluate": 1, "total": 3}
    corpus = planned(snakemake(tmp_path, "-n", "makam"))
    assert (corpus["train"], corpus["evaluate"]) == (33 + 15, 33)  # its runs, and the sources' models
    model = planned(snakemake(tmp_path, "-n", "ast"))
    assert (model["train"], model["evaluate"]) == (66, 66)


@needs_snakemake
def test_a_corpus_left_out_and_seeds_make_the_study_smaller_and_larger(tmp_path):
    config = yaml.safe_load((ROOT / "study.yaml").read_text(encoding="utf-8"))
    del config["corpora"]["fma"]
    config["seeds"] = [0, 1]
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(config))
    jobs = planned(snakemake(tmp_path, "-n", "--configfile", str(tmp_path / "study.yaml")))
    assert jobs["train"] == 2 * 5 * 3 * (1 + 4 * 2)
    assert jobs["statistics"] == 5


@needs_snakemake
def test_a_bad_configuration_stops_with_its_reason(tmp_path):
    result = snakemake(tmp_path, "-n", "--config", "models=[cnn]")
    assert result.returncode != 0
    assert "models has unknown cnn" in result.stdout + result.stderr


@needs_snakemake
def test_two_workflows_do_not_run_at_once(tmp_path):
    results = tmp_path / "results"
    results.mkdir()
    with (results / ".workflow.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = snakemake(tmp_path, "-c1", "makam")
    assert result.returncode != 0
    assert "another snakemake is at work" in result.stdout + result.stderr


# Running (minutes)


def demo_config(directory: Path) -> Path:
    config = yaml.safe_load((ROOT / "study" / "demo.yaml").read_text(encoding="utf-8"))
    config |= {
        "corpora": {name: f"data/{name}" for name in ("makam", "hindustani")},
        "demo": {"recordings": 48, "seconds": 5},
        "models": ["musicnn"],
        "epochs": 1,
        "resamples": 200,
        "models_dir": "saved_models",
        "evaluation_dir": "evaluation",
        "results_dir": "results",
    }
    path = directory / "demo.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@needs_snakemake
@pytest.mark.slow
def test_a_workflow_killed_five_times_ends_as_one_that_ran_through(tmp_path):
    """`kill -9` to Snakemake alone, its jobs going on without it, at moments five to twenty seconds in."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for directory in (whole, cut):
        directory.mkdir()
    config = str(demo_config(tmp_path))
    result = snakemake(whole, "-c2", "--configfile", config)
    assert result.returncode == 0, result.stderr
    command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "-d", str(cut), "-c2"]
    for seconds in (12, 20, 9, 16, 14):
        process = subprocess.Popen(
            [*command, "--configfile", config], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
    result = snakemake(cut, "-c2", "--configfile", config)
    assert result.returncode == 0, result.stderr
    names = ["results/single_domain.csv", "results/transfer.csv", "results/statistics/makam.json"]
    names += [str(path.relative_to(whole)) for path in (whole / "evaluation").rglob("*.csv")]
    assert len(names) == 3 + 6
    for name in names:
        assert (cut / name).read_bytes() == (whole / name).read_bytes(), name
    assert planned_nothing(snakemake(cut, "-n", "--configfile", config))


@needs_snakemake
@pytest.mark.slow
def test_a_failed_run_does_not_stop_those_that_do_not_need_it(tmp_path):
    config = str(demo_config(tmp_path))
    result = snakemake(tmp_path, "-c2", "--configfile", config, "results/spectrograms/makam.done")
    assert result.returncode == 0, result.stderr
    broken = tmp_path / "data" / "hindustani"
    result = snakemake(tmp_path, "-c2", "--configfile", config, "results/spectrograms/hindustani.done")
    shutil.rmtree(broken / "split")
    result = snakemake(tmp_path, "-c2", "--configfile", config)
    assert result.returncode != 0
    assert (tmp_path / "evaluation" / "makam" / "musicnn.json").is_file()


def planned_nothing(result: subprocess.CompletedProcess) -> bool:
    return "Nothing to be done" in result.stdout + result.stderr
