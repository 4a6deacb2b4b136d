"""The workflow: its configuration, its jobs' locks and cards, what it plans, and what it refuses."""

import fcntl
import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from config import DATASETS, MODELS, ROOT
from runtime.errors import UsageError
from study.job import cards, own_cards, take_cards, try_lock
from study.settings import study_settings
from tests.workflows import needs_snakemake, planned, snakemake

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
        ({3: 4}, "unknown 3"),
        ({"models": [["ast"]]}, "models must be a list"),
        ({"corpora": {"makam": None}}, "corpora: makam must be a directory"),
        ({"corpora": {"makam": "data", "fma": "data/"}}, "fma and makam have the same directory, data"),
        ({"results_dir": ""}, "results_dir must be a directory"),
        ({"device": "cuda:one"}, "unknown device 'cuda:one'"),
        ({"device": "cpu; reboot"}, "unknown device"),
        ({"precision": "float16"}, "precision must be auto, float32 or bfloat16"),
        ({"skip_missing": "no"}, "skip_missing must be true or false"),
        ({"demo": {"recording": 3}}, "demo has unknown recording"),
        ({"demo": {"recordings": "many"}}, "demo: recordings must be a number"),
        ({"train_options": {"ast": "--ast_init 'my file"}}, "train_options of ast: No closing quotation"),
        ({"train_options": {"ast": ["--lr", 1]}}, "train_options of ast must be text"),
        ({"train_options": {"ast": "--learning_rate 1"}}, "train_options of ast: unrecognized arguments"),
        ({"train_options": {"ast": "--lr much"}}, "train_options of ast: argument --lr: invalid"),
        ({"train_options": {"ast": "--batch_size"}}, "train_options of ast: argument --batch_size: expected one"),
        ({"train_options": {"ast": "--help"}}, "train_options of ast"),
        ({"train_options": {"ast": "--seed 3 --data_d elsewhere"}}, "train_options of ast cannot set data_dir, seed"),
        ({"train_options": {"ast": "--restart"}}, "train_options of ast cannot set restart"),
    ],
)
def test_mistakes_in_the_configuration_are_named(change, message):
    with pytest.raises(UsageError, match=message) as error:
        study_settings({"corpora": {"makam": "data/makam"}, "models": ["ast"], **change})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("evaluation/makam/ast_from_fmaa.json", "unknown source 'fmaa'.*nearest names are ast_from_fma"),
        ("evaluation/seed_2/makan/ast.json", "makan.*makam"),
        ("saved_models/makam/asst.pth", "unknown model 'asst'"),
        ("evaluation/makam/ast_from_lyra.json", "lyra is not in the configuration, which has fma, makam, ast"),
        ("evaluation/lyra/ast.csv", "lyra is not in the configuration"),
        ("evaluation/makam/musicnn.txt", "musicnn is not in the configuration"),
        ("lyra", "lyra is not in the configuration"),
        ("evaluation/makam/ast_from_makam_f.json", "starts from the corpus itself"),
    ],
)
def test_of_a_target_that_cannot_be_the_reason_is_told(target, reason):
    settings = study_settings({"corpora": {"makam": "x", "fma": "y"}, "models": ["ast"]})
    assert re.search(reason, settings.reason_against(target))
    for good in ("makam", "evaluation/makam/ast_from_fma_f.json", "saved_models/seed_3/fma/ast.pth", "so_far", "-n"):
        assert settings.reason_against(good) is None


def test_empty_train_options_are_none():
    settings = study_settings({"corpora": {"makam": "x"}, "models": ["ast"], "train_options": {"ast": None}})
    assert settings.training_options("ast") == "--precision auto"


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


def start_job(lock: Path, script: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "study.job", "--lock", str(lock), "--gpus", "1", "--", str(script)]
    return subprocess.Popen(
        [*command, "--epochs", "3"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


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
    process = start_job(lock, script, environment)
    assert process.stdout.readline() == "waiting for an earlier job of the same run to end\n"
    assert process.poll() is None
    os.close(held)
    output, _ = process.communicate(timeout=30)
    assert output == "5 held ['--epochs', '3']\n"
    assert process.returncode == 75  # the script's own
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # given back


def test_a_killed_job_leaves_its_card_to_those_that_wait(tmp_path):
    """Two cards, three jobs, `kill -9` to one: the third gets its card, and no sooner."""
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b", "TMPDIR": str(tmp_path)}
    environment.pop("SLURM_JOB_ID", None)
    script = tmp_path / "script.py"
    script.write_text("import os, time\nprint(os.environ['CUDA_VISIBLE_DEVICES'], flush=True)\ntime.sleep(60)\n")
    first, second = (start_job(tmp_path / f"{i}.lock", script, environment) for i in range(2))
    try:
        card = first.stdout.readline()
        assert {card, second.stdout.readline()} == {"GPU-a\n", "GPU-b\n"}
        third = start_job(tmp_path / "third.lock", script, environment)
        time.sleep(1)
        os.set_blocking(third.stdout.fileno(), False)
        assert third.stdout.readline() == ""
        os.set_blocking(third.stdout.fileno(), True)
        first.send_signal(signal.SIGKILL)
        assert third.stdout.readline() == card
    finally:
        for process in (first, second, third):
            process.kill()
            process.communicate()


def test_within_slurm_a_job_has_the_cards_it_was_granted(monkeypatch, tmp_path):
    """Two jobs of SLURM may both call their card 0; within one larger allocation, runs share its cards out."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    for job in ("17", "18"):
        monkeypatch.setenv("SLURM_JOB_ID", job)
        assert own_cards(1) == ["0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert own_cards(1) == ["0"]
    assert own_cards(1) == ["1"]
    monkeypatch.setenv("SLURM_JOB_ID", "19")  # other cards, of the same names
    assert own_cards(1) == ["0"]


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
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("-n", "--config", "models=[cnn]"), "study configuration: models has unknown cnn; choose from"),
        (("-n", "vgg_ish", "--config", "models=[ast]"), "vgg_ish is not in the configuration, which has magnatagatune"),
        (
            ("-n", "evaluation/makam/ast_from_makam.json"),
            "ast_from_makam on makam starts from the corpus itself",
        ),
        (
            ("-c2", "makam"),
            "corpora: no directory data/magnatagatune, data/fma, data/lyra, data/makam, data/hindustani",
        ),
    ],
)
def test_what_cannot_be_done_stops_with_its_reason(tmp_path, arguments, reason):
    result = snakemake(tmp_path, *arguments)
    assert result.returncode != 0
    assert sum(reason in line for line in result.stdout.splitlines()) == 1, result.stdout
    assert "Traceback" not in result.stdout


@needs_snakemake
@pytest.mark.skipif(
    importlib.util.find_spec("snakemake_executor_plugin_slurm") is None, reason="SLURM's executor is not installed"
)
def test_on_a_cluster_the_number_of_gpus_must_be_said(tmp_path):
    """The login node has none, and 198 trainings on processors are not what was meant."""
    result = snakemake(tmp_path, "-n", "--profile", str(ROOT / "profiles" / "slurm"))
    assert result.returncode != 0
    assert "--config gpus_per_run=1" in result.stdout


@needs_snakemake
def test_two_workflows_do_not_run_at_once_but_what_is_left_can_be_asked(tmp_path):
    results = tmp_path / "results"
    results.mkdir()
    with (results / ".workflow.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = snakemake(tmp_path, "-c1", "evaluation/makam/ast.json")
        assert result.returncode != 0
        assert "another snakemake is at work" in result.stdout
        assert planned(snakemake(tmp_path, "-n", "evaluation/makam/ast.json"))["train"] == 1
