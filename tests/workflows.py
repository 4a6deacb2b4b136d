"""Running the workflow on small synthetic corpora, and what two of its runs must agree in."""

from __future__ import annotations

import csv
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from config import ROOT
from models.checkpoints import load_checkpoint

CLOCK_COLUMNS = ("recordings_per_second", "seconds")  # of histories

needs_snakemake = pytest.mark.skipif(
    importlib.util.find_spec("snakemake") is None, reason="snakemake is not installed (requirements-study.txt)"
)


def snakemake_command(directory: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "-d", str(directory), *arguments]


def snakemake(directory: Path, *arguments: str, timeout: float = 3600, **options) -> subprocess.CompletedProcess:
    """Run the workflow with its files in `directory`, to its end; stderr follows stdout in `stdout`."""
    return subprocess.run(
        snakemake_command(directory, *arguments),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        **options,
    )


def planned(result: subprocess.CompletedProcess) -> dict[str, int]:
    """Jobs by rule, as a dry run lists them; empty where nothing is left to be done."""
    assert result.returncode == 0, result.stdout
    table = result.stdout.rpartition("Job stats:")[2].partition("\n\n")[0]
    jobs = {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, flags=re.MULTILINE)}
    assert jobs or "Nothing to be done" in result.stdout, result.stdout
    return jobs


def demo_config(directory: Path, **changes: object) -> Path:
    """A configuration of two demo corpora and one small model: six trainings, of one epoch unless changed."""
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
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "demo.yaml"
    path.write_text(yaml.safe_dump(config | changes), encoding="utf-8")
    return path


def scripts_at_work(directory: Path) -> set[tuple[str, str]]:
    """Each train.py and evaluate.py that runs in `directory`, as its run's name and its CUDA_VISIBLE_DEVICES."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (process / "cmdline").read_bytes().decode().split("\0")
            variables = dict(
                entry.split("=", 1) for entry in (process / "environ").read_bytes().decode().split("\0") if "=" in entry
            )
            if (process / "cwd").resolve() == directory.resolve() and arguments[1].endswith(
                ("train.py", "evaluate.py")
            ):
                place = (
                    f"{arguments[arguments.index('--dataset') + 1]}/{arguments[arguments.index('--model_name') + 1]}"
                )
                found.add((place, variables.get("CUDA_VISIBLE_DEVICES", "")))
        except (OSError, IndexError, UnicodeDecodeError):  # it ended, or is another's
            continue
    return found


def assert_same_results(directory: Path, expected: Path, *, runs: int) -> None:
    """Weights, histories (but for times), scores, figures and tables must be those in `expected`, bit for bit.

    Args:
        runs: how many trainings and evaluations there are, so that nothing is left out.
    """
    found = {kind: _relative(expected, pattern) for kind, pattern in _PATTERNS.items()}
    assert [len(found[kind]) for kind in ("weights", "histories", "reports", "scores")] == [runs] * 4
    for kind, names in found.items():
        assert names == _relative(directory, _PATTERNS[kind])
        for name in names:
            assert _READERS[kind](directory / name, expected / name), name


_PATTERNS = {
    "weights": "saved_models/**/*.pth",
    "histories": "saved_models/**/*.history.csv",
    "reports": "evaluation/**/*.json",
    "scores": "evaluation/**/*.csv",
    "statistics": "results/statistics/*.json",
    "tables": "results/*.csv",
    "tables in Markdown": "results/*.md",
    "tables in LaTeX": "results/*.tex",
}


def _relative(directory: Path, pattern: str) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.glob(pattern))


def _same_weights(first: Path, second: Path) -> bool:
    one, two = (load_checkpoint(path).state_dict for path in (first, second))
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def _same_history(first: Path, second: Path) -> bool:
    one, two = (list(csv.DictReader(path.open(encoding="utf-8"))) for path in (first, second))
    for row in one + two:
        for column in CLOCK_COLUMNS:
            del row[column]
    return one == two


def _same_figures(first: Path, second: Path) -> bool:
    one, two = (json.loads(path.read_text(encoding="utf-8")) for path in (first, second))
    return all(one[name] == two[name] for name in ("n_recordings", "roc_auc", "pr_auc", "per_tag"))


def _same_bytes(first: Path, second: Path) -> bool:
    return first.read_bytes() == second.read_bytes()


_READERS = dict.fromkeys(_PATTERNS, _same_bytes) | {
    "weights": _same_weights,
    "histories": _same_history,
    "reports": _same_figures,
}
