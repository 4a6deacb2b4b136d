"""Processes started by torchrun train together what one process trains alone."""

from __future__ import annotations

import csv
import shutil
import signal
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from models.checkpoints import load_checkpoint
from runtime.errors import UsageError
from runtime.processes import Processes, started_processes
from tests.commands import TRAIN, run, start, told, wait_for
from tests.corpora import make_corpus

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
FROM_TOP = {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
BOUND = 0.01  # README: by how much the losses of one and of several processes may differ


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # 13 recordings in batches of 4: the last batch has 5, and no share of it is half.
    return make_corpus(tmp_path_factory.mktemp("data") / "corpus", counts=(13, 5, 4), n_frames=190)


def options(corpus: Path, models: Path, model_name: str, *more: object) -> tuple[object, ...]:
    return (*TRAIN, "--data_dir", corpus, "--models_dir", models, "--model_name", model_name, "--batch_size", 4, *more)


def step(path: Path, model: str, *launcher: str) -> dict:
    code, _, errors = run(*launcher, "tests/step_of_one_process.py", model, path, env=FROM_TOP)
    assert code == 0, errors
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize(
    "model", ["musicnn", pytest.param("vgg_ish", marks=pytest.mark.slow), pytest.param("ast", marks=pytest.mark.slow)]
)
def test_a_step_of_two_processes_is_that_of_one(tmp_path, model):
    one, two = step(tmp_path / "one.pt", model), step(tmp_path / "two.pt", model, *TORCHRUN)
    torch.testing.assert_close(two["loss"], one["loss"], rtol=1e-6, atol=0)
    # Double precision: what differs between shares that are summed is rounding alone.
    largest = max(gradient.abs().max() for gradient in one["gradients"].values())
    torch.testing.assert_close(two["gradients"], one["gradients"], rtol=1e-6, atol=1e-10 * float(largest))
    torch.testing.assert_close(two["buffers"], one["buffers"], rtol=1e-10, atol=1e-12)


def losses(models: Path, model_name: str) -> list[list[float]]:
    """Training and validation loss of each epoch."""
    with (models / "makam" / f"{model_name}.history.csv").open() as file:
        return [[float(row["train_loss"]), float(row["valid_loss"])] for row in csv.DictReader(file)]


def trained(corpus: Path, models: Path, model_name: str, *launcher: str) -> list[list[float]]:
    code, output, errors = run(*launcher, *options(corpus, models, model_name, "--epochs", 2))
    assert code == 0, errors
    assert output.count("epoch   1/2") == 1  # one process speaks for all
    processes = load_checkpoint(models / "makam" / f"{model_name}.pth").info.training["processes"]
    assert processes == (2 if launcher else 1)
    return losses(models, model_name)


def test_two_processes_train_what_one_trains(corpus, tmp_path):
    one = trained(corpus, tmp_path / "one", "musicnn")
    two = trained(corpus, tmp_path / "two", "musicnn", *TORCHRUN)
    np.testing.assert_allclose(two, one, rtol=BOUND)


@pytest.mark.slow
@pytest.mark.parametrize("transfer", ["musicnn_from_fma", "musicnn_from_fma_f"])
def test_two_processes_make_the_transfer_that_one_makes(corpus, tmp_path, transfer):
    code, _, errors = run(*options(corpus, tmp_path / "one", "musicnn", "--dataset", "fma", "--epochs", 2))
    assert code == 0, errors
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    one = trained(corpus, tmp_path / "one", transfer)
    two = trained(corpus, tmp_path / "two", transfer, *TORCHRUN)
    np.testing.assert_allclose(two, one, rtol=BOUND)


def test_two_stopped_processes_go_on_together(corpus, tmp_path):
    command = options(corpus, tmp_path, "musicnn", "--epochs", 3)
    state = tmp_path / "makam" / "musicnn.resume"
    training = start(*TORCHRUN, *command)
    wait_for(training, state.exists)  # the first epoch is saved
    training.send_signal(signal.SIGTERM)
    _, errors = training.communicate(timeout=100)
    assert "stopped in epoch" in errors and state.exists()

    code, _, errors = run(*command)
    assert code != 0 and "processes 2 there, none now" in told(errors)

    code, output, errors = run(*TORCHRUN, *command)
    assert code == 0, errors
    assert "continuing in epoch" in output
    assert len(losses(tmp_path, "musicnn")) == 3


def test_a_batch_is_shared_without_loss_or_overlap():
    for size in (2, 3, 5):
        for rows in (1, 4, 16, 17):
            items = list(range(rows))
            shares = [items[Processes(rank, size).share(rows)] for rank in range(size)]
            assert list(chain(*shares)) == items
            assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("numbers", [("2", "2"), ("0", "x"), ("-1", "1")])
def test_process_numbers_that_contradict_each_other_are_told(monkeypatch, numbers):
    for name, value in zip(("RANK", "WORLD_SIZE"), numbers, strict=True):
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="torchrun"):
        started_processes()
