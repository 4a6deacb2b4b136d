"""The workflow as jobs of a real SLURM: the profile as it is, jobs cancelled and preempted, the same results."""

import importlib.util
import re
import signal
import subprocess
import time
from collections.abc import Callable

import pytest

from config import ROOT
from tests.one_node_slurm import missing_programs, one_node_slurm
from tests.workflows import (
    assert_same_results,
    demo_config,
    needs_snakemake,
    scripts_at_work,
    snakemake,
    snakemake_command,
)

MISSING = missing_programs()
needs_slurm = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (slurm-wlm, munge)")
needs_executor = pytest.mark.skipif(
    importlib.util.find_spec("snakemake_executor_plugin_slurm") is None,
    reason="snakemake-executor-plugin-slurm is not installed (requirements-study.txt)",
)
PROFILE = ("--profile", str(ROOT / "profiles" / "slurm"))
# This SLURM keeps no accounts, and nobody wants to wait 40 seconds for each small job.
SMALL = ("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "5", "--latency-wait", "20")
EPOCHS = 6  # enough for a training to be caught in the middle


def until(condition: Callable[[], object], process: subprocess.Popen, seconds: float = 1200) -> object:
    """Wait until `condition` gives something, which is returned."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert process.poll() is None, "the workflow ended before"
        assert time.monotonic() < end, f"it did not happen within {seconds} s"
        time.sleep(0.3)
    return found


@needs_snakemake
@needs_slurm
@needs_executor
@pytest.mark.slow
def test_the_profile_runs_the_study_on_slurm_through_cancelled_and_preempted_jobs(tmp_path):
    """One training is cancelled (`scancel`), another preempted by a more urgent job; both go on from their state."""
    config = str(demo_config(tmp_path, epochs=EPOCHS))
    here, cluster = tmp_path / "here", tmp_path / "cluster"
    here.mkdir()
    cluster.mkdir()

    def slurm(*command: str) -> str:
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout

    def half_trained(dataset: str, run: str) -> bool:
        history = cluster / "saved_models" / dataset / f"{run}.history.csv"
        return history.is_file() and 2 <= len(history.read_text().splitlines()) < EPOCHS

    def job_of(dataset: str, run: str) -> str:
        """The number of the job, by the comment Snakemake gives it."""
        jobs = [line.split(" ", 1) for line in slurm("squeue", "--noheader", "--format=%i %k").splitlines()]
        return next(number for number, comment in jobs if comment.endswith(f"{dataset}_{run}"))

    def cards_granted() -> set[str]:
        """CUDA_VISIBLE_DEVICES of each train.py and evaluate.py at work."""
        return {card for _, card in scripts_at_work(cluster)}

    with one_node_slurm() as environment, (tmp_path / "output.txt").open("w") as output:
        command = snakemake_command(
            cluster,
            *PROFILE,
            *SMALL,
            "--slurm-keep-successful-logs",
            *("--configfile", config),
            *("--config", "gpus_per_run=1"),
        )
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
        try:
            until(lambda: len(cards_granted()) == 2, process)  # both corpora's models at once, each on its own card
            until(lambda: half_trained("makam", "musicnn"), process)
            cancelled = job_of("makam", "musicnn")
            slurm("scancel", cancelled)
            until(lambda: half_trained("makam", "musicnn_from_hindustani"), process)
            preempted = job_of("makam", "musicnn_from_hindustani")
            slurm("sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=sleep 3")
            assert process.wait(timeout=3600) == 0, (tmp_path / "output.txt").read_text()
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()

    told = (tmp_path / "output.txt").read_text()
    assert re.search(rf"SLURM-job '{cancelled}' failed, SLURM status is: 'CANCELLED'", told)
    logs = cluster / ".snakemake" / "slurm_logs" / "rule_train"
    assert "continuing in epoch" in (logs / "_makam_musicnn_from_hindustani" / f"{preempted}.log").read_text()
    (again,) = [path for path in (logs / "_makam_musicnn").glob("*.log") if path.stem != cancelled]
    assert "continuing in epoch" in again.read_text()

    result = snakemake(here, "-c2", "--configfile", config)
    assert result.returncode == 0, result.stdout
    assert_same_results(cluster, here, runs=6)
    assert (cluster / "results" / "report.html").is_file()
