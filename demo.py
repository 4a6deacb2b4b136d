"""The main job on two small SYNTHETIC corpora, in a few minutes: `make demo`.

Makes the corpora and their mel-spectrograms, trains VGG-ish on the first, transfers it to the
second (all layers, and the final layer only), trains it there from scratch, evaluates all four
and prints a table. Runs the very commands a user types, inside `build/demo`, which is emptied
first; nothing else is touched. The corpora are computed sounds: the figures say nothing about music.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from config import ROOT
from evaluation.reports import read_report, report_files
from runtime.errors import UserError, listed, run_script

OUT = ROOT / "build" / "demo"
SOURCE, TARGET = "magnatagatune", "makam"
RUNS = (  # corpus, run, learning rate
    (SOURCE, "vgg_ish", 3e-4),
    (TARGET, "vgg_ish", 3e-4),
    (TARGET, f"vgg_ish_from_{SOURCE}", 3e-4),
    (TARGET, f"vgg_ish_from_{SOURCE}_f", 1e-3),
)
TRAINING = ("--epochs", 6, "--batch_size", 8)  # not the study's: a few epochs on a hundred recordings must do
LEAST_ROC_AUC = 0.6  # chance is 0.5; whichever run stays below this has not learnt


def main() -> None:
    started = time.monotonic()
    shutil.rmtree(OUT, ignore_errors=True)
    for dataset in (SOURCE, TARGET):
        run("-m", "datasets.demo", "--dataset", dataset, "--out", data_dir(dataset), "--seconds", 10)
        run("preprocessing/create_mel_spectrograms.py", "--dataset", dataset, "--data_dir", data_dir(dataset))
    for dataset, model_name, rate in RUNS:
        which = ("--dataset", dataset, "--data_dir", data_dir(dataset), "--model_name", model_name)
        where = ("--models_dir", OUT / "saved_models", "--device", "cpu")
        run("train.py", *which, *where, *TRAINING, "--lr", rate)
        run("evaluate.py", *which, *where, "--evaluation_dir", OUT / "evaluation")
    print_table(time.monotonic() - started)


def data_dir(dataset: str) -> Path:
    return OUT / "data" / dataset


def run(*arguments: object) -> None:
    """Run one of the project's commands, shown as a user would type it."""
    command = [str(argument) for argument in arguments]
    print(f"\n$ python {shlex.join(path.replace(f'{ROOT}/', '') for path in command)}", flush=True)
    result = subprocess.run([sys.executable, *command], cwd=ROOT, check=False)
    if result.returncode:
        raise UserError(f"the command above failed with exit code {result.returncode}")


def print_table(seconds: float) -> None:
    print("\nTest results on SYNTHETIC corpora (they say nothing about music; chance is a ROC-AUC of 0.5):\n")
    print(f"{'corpus':<15} {'run':<30} {'ROC-AUC':>8} {'PR-AUC':>8}")
    figures = {}
    for dataset, model_name, _ in RUNS:
        metrics = read_report(report_files(OUT / "evaluation", dataset, model_name).json).metrics
        figures[f"{model_name} on {dataset}"] = metrics.roc_auc
        print(f"{dataset:<15} {model_name:<30} {metrics.roc_auc:>8.4f} {metrics.pr_auc:>8.4f}")
    print(f"\nEverything is in {OUT.relative_to(ROOT)}. This took {seconds / 60:.1f} minutes.")
    failed = [run for run, roc_auc in figures.items() if not roc_auc >= LEAST_ROC_AUC]
    if failed:
        raise UserError(f"ROC-AUC below {LEAST_ROC_AUC} for {listed(failed)}; something is wrong")


if __name__ == "__main__":
    run_script(main)
