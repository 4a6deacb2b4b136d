"""Steps replayed from a recording are the steps that would have been launched."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from config import MODELS, ROOT
from models import TaggingModel, build_model
from models.transfer import train_final_layer_only
from runtime.cuda_graphs import CudaGraphs, Recorder
from runtime.devices import Precision
from runtime.errors import GraphError
from tests.commands import run
from tests.recorded_steps import RecordedSteps
from training.schedules import make_schedule, set_learning_rate
from training.step import WARM_UP, TrainingStep

BATCH, TAGS = 2, 3
SIZES = (BATCH, 3, BATCH, BATCH, BATCH, 3, BATCH)  # of the batches with one optimiser
FRAMES = {"musicnn": 60, "vgg_ish": 128, "ast": 500}  # the fewest that are a test


def new_model(name: str, final_layer_only: bool = False) -> TaggingModel:
    torch.manual_seed(1)
    model = build_model(name, TAGS, ast_size="tiny224")
    if model.needs_normalisation:
        model.set_normalisation(-50, 10)
    if final_layer_only:
        train_final_layer_only(model)
    return model.train()


def batches(model: TaggingModel) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(2)
    return [
        (
            torch.randn(size, FRAMES[model.name], 128, generator=generator) * 10 - 50,
            (torch.rand(size, TAGS, generator=generator) < 0.5).float(),
        )
        for size in SIZES
    ]


def trained(
    model: TaggingModel, precision: str, phases: int, recorder: Recorder | None
) -> tuple[list[float], dict[str, Tensor], Tensor]:
    """Losses, weights and the generator's state after steps with Adam and, in a second phase, with SGD."""
    device = next(model.parameters()).device
    take_step = TrainingStep(model, Precision(precision, device.type), BATCH, recorder)
    schedule = make_schedule("published", MODELS["vgg_ish"], 1e-4)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    torch.manual_seed(3)
    losses = []
    for phase in range(phases):
        optimizer = schedule.optimizer(phase, parameters)
        best = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        for number, (crops, targets) in enumerate(batches(model)):
            set_learning_rate(optimizer, 1e-4 / (number + 1))
            losses.append(take_step(optimizer, crops.to(device), targets.to(device)).item())
            if number == 4:
                model.load_state_dict(best)
    return losses, model.state_dict(), torch.get_rng_state()


@pytest.mark.parametrize(
    ("name", "final_layer_only", "precision", "phases"),
    [
        ("musicnn", False, "bfloat16", 2),
        ("musicnn", True, "float32", 1),
        ("vgg_ish", False, "float32", 1),
        ("ast", False, "float32", 1),
        ("ast", True, "bfloat16", 1),
    ],
)
def test_replayed_steps_learn_bit_for_bit_what_launched_steps_learn(name, final_layer_only, precision, phases):
    losses, weights, random = trained(new_model(name, final_layer_only), precision, phases, None)
    model = new_model(name, final_layer_only)
    recorder = RecordedSteps(model)
    replayed_losses, replayed_weights, replayed_random = trained(model, precision, phases, recorder)
    assert recorder.recordings == 1
    assert recorder.replays == phases * SIZES.count(BATCH) - WARM_UP
    assert replayed_losses == losses and len(set(losses)) == len(losses)
    assert replayed_weights.keys() == weights.keys()
    assert all(torch.equal(replayed_weights[name], weights[name]) for name in weights)
    assert torch.equal(replayed_random, random)


def test_a_step_that_cannot_be_recorded_is_told_in_a_line_with_the_way_out():
    model = new_model("musicnn")
    embed: Callable[[Tensor], Tensor] = model.embed
    model.embed = lambda x: embed(x) if x.mean().item() < 0 else embed(-x)  # waits for the device
    with pytest.raises(GraphError, match=r"cannot be recorded as a CUDA graph .*--no_graph"):
        trained(model, "float32", 1, RecordedSteps(model))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["musicnn", "vgg_ish", "ast"])
def test_replayed_cuda_graphs_learn_what_launched_steps_learn(monkeypatch, name, precision):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)  # batches of two magnify what rounding does
    device = torch.device("cuda", 0)
    losses, weights, _ = trained(new_model(name).to(device), precision, 2, None)
    replayed_losses, replayed_weights, _ = trained(new_model(name).to(device), precision, 2, CudaGraphs(device))
    # The same operations, but attention's gradients add up in an order that is not fixed; and a bias in front of
    # BatchNorm, whose gradient is nothing but rounding, is moved by Adam all the same. So the outputs are compared.
    assert replayed_losses == pytest.approx(losses, rel=1e-3 if precision == "float32" else 2e-2)
    counts = [key for key in weights if key.endswith("num_batches_tracked")]
    assert all(torch.equal(replayed_weights[key], weights[key]) for key in counts)


STAND_IN = """
import sys

import train
import training.loop
from runtime.errors import GraphError


def failing(settings):
    if not settings.no_graph:
        raise GraphError("no graph (a reason); go on with --no_graph")
    print("trained", settings.run.name, sys.prefix)


training.loop.train = failing
train.main()
"""


def test_a_training_whose_steps_cannot_be_recorded_says_so_and_begins_again_without(tmp_path):
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN)
    options = ("--dataset", "makam", "--model_name", "musicnn")
    code, output, errors = run(script, *options, env={"PYTHONPATH": str(ROOT)})
    assert code == 0, errors
    note, trained_line = output.splitlines()
    assert note.startswith("NOTE: no graph (a reason)") and trained_line == f"trained musicnn {sys.prefix}"
