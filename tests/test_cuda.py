"""What RELIABILITY.md promises of training on a CUDA device. Skipped where there is none."""

from __future__ import annotations

import hashlib
import signal
from pathlib import Path

import pytest
import torch

from models.checkpoints import load_checkpoint
from tests.commands import run, start, told, wait_for
from tests.corpora import make_corpus
from training.schedules import make_schedule
from training.state import TrainingState, load_state, random_states, save_state, set_random_states

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="PyTorch finds no CUDA device on this machine (torch.cuda.is_available())"
)

DEVICE = "cuda:0"
EPOCHS, BATCH = 3, 6
RECORDINGS = 30  # 5 steps an epoch: some launched, some replayed, before and after the stop
LEARNING_RATE = 1e-4
MODELS = {
    "vgg_ish": (),
    "musicnn": (),
    "ast": ("--ast_size", "tiny224", "--ast_init", "random"),
}
LOSS_BOUND = 0.01  # of the loss itself
# Adam moves a weight by at most lr · max(1, (1 − β1) / √(1 − β2)) a step (Kingma & Ba 2015, section 2.1), with
# β = (0.9, 0.999) and the bias corrected: two trainings drift apart by at most twice that a step.
WEIGHT_BOUND = 2 * (1 - 0.9) / (1 - 0.999) ** 0.5 * LEARNING_RATE * EPOCHS * (RECORDINGS // BATCH)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("data") / "corpus", counts=(RECORDINGS, 12, 8), n_frames=520)


def command(corpus: Path, models: Path, model: str, *options: object) -> tuple[object, ...]:
    fixed = ("--dataset", "makam", "--device", DEVICE, "--data_dir", corpus, "--schedule", "constant")
    sizes = ("--epochs", EPOCHS, "--batch_size", BATCH, "--lr", LEARNING_RATE)
    return ("train.py", *fixed, *sizes, "--models_dir", models, "--model_name", model, *MODELS[model], *options)


def train(corpus: Path, models: Path, model: str, *options: object) -> Path:
    code, _, errors = run(*command(corpus, models, model, *options), timeout=600)
    assert code == 0, errors
    return models / "makam" / f"{model}.pth"


def train_with_stops(corpus: Path, models: Path, model: str, *options: object) -> Path:
    """As `train`, but killed in the first epoch, stopped later on, and each time continued."""
    state = models / "makam" / f"{model}.resume"
    options = (*options, "--save_every", 1e-9)
    for number in (signal.SIGKILL, signal.SIGTERM):
        before = state.stat().st_mtime_ns if state.exists() else 0
        process = start(*command(corpus, models, model, *options))
        wait_for(process, lambda before=before: state.exists() and state.stat().st_mtime_ns != before)
        process.send_signal(number)
        _, errors = process.communicate(timeout=300)
        if number == signal.SIGTERM:
            assert process.returncode == 75, errors
            told(errors)
    assert load_state(state).step < EPOCHS * RECORDINGS // BATCH, "it was stopped too late to be continued"
    return train(corpus, models, model, *options)


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(load_checkpoint(path).state_dict.items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("model", MODELS)
def test_two_deterministic_trainings_give_equal_weights(corpus, tmp_path, model):
    first = train(corpus, tmp_path / "a", model, "--deterministic", "--num_workers", 0)
    again = train(corpus, tmp_path / "b", model, "--deterministic", "--num_workers", 5)
    assert sha256(first) == sha256(again)


@pytest.mark.parametrize("spectrograms", ["memory", "files"])
@pytest.mark.parametrize("model", MODELS)
def test_a_deterministic_training_goes_on_bit_for_bit(corpus, tmp_path, model, spectrograms):
    options = ("--deterministic", "--spectrograms", spectrograms)
    whole = train(corpus, tmp_path / "whole", model, *options)
    stopped = train_with_stops(corpus, tmp_path / "stopped", model, *options)
    assert sha256(whole) == sha256(stopped)


@pytest.mark.parametrize("model", MODELS)
def test_a_training_that_is_not_deterministic_goes_on_within_the_stated_bound(corpus, tmp_path, model):
    whole = load_checkpoint(train(corpus, tmp_path / "whole", model))
    stopped = load_checkpoint(train_with_stops(corpus, tmp_path / "stopped", model))
    losses = [checkpoint.info.metrics["valid_loss"] for checkpoint in (whole, stopped)]
    difference = abs(losses[0] - losses[1]) / losses[0]
    learnt = [name for name in whole.state_dict if not name.endswith(("running_mean", "running_var", "tracked"))]
    apart = max(float((whole.state_dict[name] - stopped.state_dict[name]).abs().max()) for name in learnt)
    print(f"{model}: losses differ by {difference:.2e}, weights by {apart:.2e} (at most {WEIGHT_BOUND:.2e})")
    assert difference < LOSS_BOUND
    assert whole.info.epoch != stopped.info.epoch or apart < WEIGHT_BOUND  # else they are of other epochs


def test_deterministic_is_part_of_what_a_state_belongs_to(corpus, tmp_path):
    train(corpus, tmp_path, "musicnn", "--deterministic")
    code, _, errors = run(*command(corpus, tmp_path, "musicnn"))
    assert code == 1 and "deterministic True there" in told(errors)


def test_a_state_puts_optimiser_and_generators_back_on_the_device(tmp_path):
    from config import MODELS as CONFIGS

    schedule = make_schedule("constant", CONFIGS["musicnn"], 1e-3)
    device = torch.device(DEVICE)

    def new() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        layer = torch.nn.Sequential(torch.nn.Linear(50, 40), torch.nn.Dropout(0.5)).to(device)
        return layer, schedule.optimizer(0, layer.parameters())

    def step(layer: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        layer(torch.ones(8, 50, device=device)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    layer, optimizer = new()
    step(layer, optimizer)
    state = TrainingState({}, model=layer.state_dict(), optimizer=optimizer.state_dict(), random=random_states(device))
    save_state(tmp_path / "a.resume", state)
    step(layer, optimizer)
    torch.cuda.manual_seed(99)  # must come from the state
    saved = load_state(tmp_path / "a.resume")
    other, its_optimizer = new()
    other.load_state_dict(saved.model)
    its_optimizer.load_state_dict(saved.optimizer)
    set_random_states(saved.random, device)
    kept = [value for state in its_optimizer.state.values() for value in state.values()]
    assert len(kept) == 6 and all(value.device == device for value in kept)  # step and two moments of each tensor
    step(other, its_optimizer)
    assert all(torch.equal(a, b) for a, b in zip(layer.parameters(), other.parameters(), strict=True))
