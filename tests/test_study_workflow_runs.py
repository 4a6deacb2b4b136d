"""The workflow at work on small synthetic corpora: killed, failing, on several cards, with seeds added later."""

import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from config import ROOT
from tests.workflows import (
    assert_same_results,
    demo_config,
    needs_snakemake,
    planned,
    scripts_at_work,
    snakemake,
    snakemake_command,
)

pytestmark = [needs_snakemake, pytest.mark.slow]  # minutes each
EPOCHS = 2
KILLS = 5


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A study of six runs that nothing disturbed, and how many seconds it took."""
    directory = tmp_path_factory.mktemp("whole")
    started = time.monotonic()
    result = snakemake(directory, "-c2", "--configfile", str(demo_config(directory, epochs=EPOCHS)))
    assert result.returncode == 0, result.stdout
    return directory, time.monotonic() - started


@pytest.fixture(scope="module")
def whole(undisturbed: tuple[Path, float]) -> Path:
    """The directory of the study that nothing disturbed."""
    return undisturbed[0]


@pytest.mark.parametrize("whom", ["snakemake alone", "snakemake and its jobs"])
def test_a_workflow_killed_five_times_ends_as_one_that_ran_through(undisturbed, tmp_path, whom):
    """`kill -9` at random moments; where Snakemake dies alone, its jobs go on without it."""
    whole, seconds = undisturbed
    latest = 1 + seconds / (KILLS + 1)  # so that all kills together come before the end, on a fast machine too
    arguments = ("-c2", "--configfile", str(demo_config(tmp_path, epochs=EPOCHS)))
    moments = random.Random(whom)
    for _ in range(KILLS):
        process = subprocess.Popen(
            snakemake_command(tmp_path, *arguments),
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(moments.uniform(3, latest))
        at_work = sorted(run for run, _ in scripts_at_work(tmp_path))
        print(f"killed while {', '.join(at_work) or 'nothing that trains or evaluates'} was at work")
        assert process.poll() is None, "it had ended before it was killed"
        if whom == "snakemake alone":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    result = snakemake(tmp_path, *arguments)
    assert result.returncode == 0, result.stdout
    assert_same_results(tmp_path, whole, runs=6)
    assert planned(snakemake(tmp_path, "-n", *arguments)) == {}


def test_a_failed_run_stops_only_what_needs_it_and_the_report_so_far_names_what_is_missing(whole, tmp_path):
    shutil.copytree(whole / "data", tmp_path / "data")
    splits = tmp_path / "data" / "hindustani" / "split"
    splits.rename(tmp_path / "kept")
    arguments = ("-c2", "--configfile", str(demo_config(tmp_path, epochs=EPOCHS)))
    result = snakemake(tmp_path, *arguments)
    assert result.returncode != 0
    assert "Traceback" not in result.stdout
    assert "1 of 6 evaluations are there; missing: evaluation/makam/musicnn_from_hindustani.json" in result.stdout
    # Of each training on Hindustani, one; a progress bar of a job beside it may stand before it on the line.
    errors = re.findall(r"error: (.*)", result.stdout)
    assert len(errors) == 3 and all("hindustani" in error for error in errors), errors
    assert (tmp_path / "evaluation" / "makam" / "musicnn.json").is_file()

    result = snakemake(tmp_path, "so_far", *arguments)
    assert result.returncode == 0, result.stdout
    report = (tmp_path / "results" / "so_far" / "report.html").read_text(encoding="utf-8")
    assert "5 of 6 evaluations missing" in report
    assert not (tmp_path / "results" / "report.html").exists()

    (tmp_path / "kept").rename(splits)
    result = snakemake(tmp_path, *arguments)
    assert result.returncode == 0, result.stdout
    assert_same_results(tmp_path, whole, runs=6)


def test_a_seed_added_later_leaves_the_others_alone_and_tables_tell_mean_and_deviation(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "study")
    directory = tmp_path / "study"
    first = ("--configfile", str(demo_config(directory, epochs=EPOCHS)))
    assert planned(snakemake(directory, "-n", *first)) == {}  # nor does a copy begin anew
    (directory / "results" / "source_pairs.md").rename(directory / "kept")
    assert planned(snakemake(directory, "-n", *first)) == {"tables": 1, "report": 1, "all": 1, "total": 3}
    (directory / "kept").rename(directory / "results" / "source_pairs.md")
    assert planned(snakemake(directory, "-n", *first, "--config", "num_workers=3", "threads=2", "device=auto")) == {}
    before = seed_0_files(directory)
    both = ("-c2", "--configfile", str(demo_config(directory, epochs=EPOCHS, seeds=[0, 1])))
    expected = {"train": 6, "evaluate": 6, "statistics": 2, "tables": 1, "figures": 1, "report": 1, "all": 1}
    assert planned(snakemake(directory, "-n", *both)) == expected | {"total": sum(expected.values())}

    result = snakemake(directory, *both)
    assert result.returncode == 0, result.stdout
    assert seed_0_files(directory) == before
    assert len(list((directory / "evaluation" / "seed_1").rglob("*.json"))) == 6
    for table in ("single_domain.md", "transfer.md"):
        assert " ± " in (directory / "results" / table).read_text(encoding="utf-8")
        assert " ± " not in (whole / "results" / table).read_text(encoding="utf-8")
    assert planned(snakemake(directory, "-n", *both)) == {}

    three = {name: f"data/{name}" for name in ("makam", "hindustani", "lyra")}
    larger = demo_config(directory, epochs=EPOCHS, seeds=[0, 1], corpora=three)
    jobs = planned(snakemake(directory, "-n", "--configfile", str(larger)))
    assert (jobs["train"], jobs["evaluate"]) == (2 * (15 - 6),) * 2  # those with Lyra as source or target

    alone = demo_config(directory, epochs=EPOCHS, corpora={"makam": "data/makam"}, results_dir="smaller")
    result = snakemake(directory, "-c2", "--configfile", str(alone))
    assert result.returncode == 0, result.stdout
    assert seed_0_files(directory) == before
    report = (directory / "smaller" / "report.html").read_text(encoding="utf-8")
    assert "Turkish-makam" in report and "Hindustani" not in report and "missing" not in report


def seed_0_files(directory: Path) -> dict[str, tuple[int, bytes]]:
    """Time and content of every file of seed 0's runs."""
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes())
        for kind in ("saved_models", "evaluation")
        for path in sorted((directory / kind).rglob("*"))
        if path.is_file() and not {"seed_1", ".locks"} & set(path.parts) and path.suffix != ".lock"
    }


def test_two_cards_train_two_runs_at_once_each_on_its_own(whole, tmp_path):
    """The cards' names are made up, so that PyTorch finds none of them and computes on the processor."""
    shutil.copytree(whole / "data", tmp_path / "data")
    config = str(demo_config(tmp_path, epochs=EPOCHS, device="auto"))
    process = subprocess.Popen(
        snakemake_command(tmp_path, "-c8", "--configfile", config),
        cwd=ROOT,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "GPU-fifth,GPU-sixth"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    seen = set()
    while process.poll() is None:
        seen.add(tuple(sorted(card for _, card in scripts_at_work(tmp_path))))
        time.sleep(0.1)
    assert process.returncode == 0
    both = ("GPU-fifth", "GPU-sixth")
    assert both in seen and seen <= {(), both[:1], both[1:], both}
    assert_same_results(tmp_path, whole, runs=6)
