"""Each of the 198 runs: its model is built, takes its source's weights, and trains what it should."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from config import DATASETS, MODELS, MODELS_CONFIG
from models import build_model
from models.transfer import train_final_layer_only
from models.weights import load_weights

FINAL_LAYERS = {"vgg_ish": "dense2", "musicnn": "dense2", "ast": "mlp_head.1"}
RUNS = [run for runs in MODELS_CONFIG.values() for run in runs.values()]


def make(model: str, n_tags: int) -> torch.nn.Module:
    return build_model(model, n_tags, ast_size="tiny224")


@pytest.fixture(scope="module")
def sources() -> dict[tuple[str, str], dict[str, torch.Tensor]]:
    """Weights of each model trained on each corpus: random ones, all different."""
    torch.manual_seed(0)
    weights = {}
    for model in MODELS:
        for dataset, config in DATASETS.items():
            state = make(model, config.n_tags).state_dict()
            weights[model, dataset] = {name: torch.rand_like(tensor.float()) for name, tensor in state.items()}
            for name, tensor in state.items():  # counters of BatchNorm
                if not tensor.is_floating_point():
                    weights[model, dataset][name] = torch.tensor(len(weights))
    return weights


def test_the_study_has_198_runs():
    kinds = Counter((run.name.source is not None, run.name.final_layer_only) for run in RUNS)
    assert kinds == {(False, False): 6 * 3, (True, False): 6 * 3 * 5, (True, True): 6 * 3 * 5}


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run.dataset.name}-{run.name}")
def test_every_run_starts_as_it_should(run, sources):
    model = make(run.model.name, run.dataset.n_tags)
    fresh = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    if run.name.source is not None:
        source = sources[run.model.name, run.name.source]
        load_weights(model, source, origin=run.name.source, without_final_layer=True)
    if run.name.final_layer_only:
        train_final_layer_only(model)
    final_layer = FINAL_LAYERS[run.model.name]
    for name, tensor in model.state_dict().items():
        from_source = run.name.source is not None and not name.startswith(f"{final_layer}.")
        assert torch.equal(tensor, source[name] if from_source else fresh[name]), name
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    final = {f"{final_layer}.weight", f"{final_layer}.bias"}
    assert trained == (final if run.name.final_layer_only else {name for name, _ in model.named_parameters()})
    assert model.get_parameter(f"{final_layer}.weight").shape[0] == run.dataset.n_tags


def one_step(model: torch.nn.Module) -> None:
    """Forward and backward on random input in training mode."""
    if model.needs_normalisation:
        model.set_normalisation(-30, 20)
    model.train()
    model(torch.randn(2, model.input_frames, 128) * 20 - 30).square().sum().backward()


@pytest.mark.parametrize("name", MODELS)
def test_only_the_final_layer_receives_gradients(name):
    model = make(name, 5)
    train_final_layer_only(model)
    one_step(model)
    with_gradient = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert with_gradient == {f"{FINAL_LAYERS[name]}.weight", f"{FINAL_LAYERS[name]}.bias"}


@pytest.mark.parametrize("name", ["vgg_ish", "musicnn"])
@pytest.mark.parametrize("hold_batchnorm", [False, True])
def test_statistics_of_frozen_batchnorm_move_unless_held(name, hold_batchnorm):
    # Reference 8.3: in the published runs they move although their layers are frozen.
    model = make(name, 5)
    train_final_layer_only(model, hold_batchnorm=hold_batchnorm)
    before = {key: tensor.clone() for key, tensor in model.named_buffers()}
    one_step(model)
    moved = {key for key, tensor in model.named_buffers() if not torch.equal(tensor, before[key])}
    assert moved == (set() if hold_batchnorm else set(before))
    assert model.dropout.training


@pytest.mark.parametrize("name", ["vgg_ish", "musicnn"])
def test_held_batchnorm_normalises_by_the_source(name):
    model = make(name, 5)
    model.dropout.p = 0.0
    chunks = torch.randn(3, model.input_frames, 128) * 20 - 30
    expected = model.eval()(chunks)
    train_final_layer_only(model, hold_batchnorm=True)
    torch.testing.assert_close(model.train()(chunks), expected)
