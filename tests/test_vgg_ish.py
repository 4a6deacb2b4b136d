"""VGG-ish against its definition written out with torch's functions, and against its published size."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from models import build_model
from runtime.errors import DataError


def by_hand(weights: dict[str, torch.Tensor], x: torch.Tensor, training: bool) -> torch.Tensor:
    """The network of Won et al. 2020 step by step; x (batch, frames, mels) → logits."""

    def batch_norm(name: str, y: torch.Tensor) -> torch.Tensor:
        mean, var = weights[f"{name}.running_mean"].clone(), weights[f"{name}.running_var"].clone()
        return F.batch_norm(y, mean, var, weights[f"{name}.weight"], weights[f"{name}.bias"], training)

    y = batch_norm("spec_bn", x[:, None])
    for layer in ("layer1", "layer2", "layer3", "layer4", "layer5", "layer6", "layer7"):
        y = F.conv2d(y, weights[f"{layer}.conv.weight"], weights[f"{layer}.conv.bias"], padding=1)
        y = F.max_pool2d(F.relu(batch_norm(f"{layer}.bn", y)), 2)
    y = y.flatten(2).max(dim=2).values
    y = F.relu(batch_norm("bn", F.linear(y, weights["dense1.weight"], weights["dense1.bias"])))
    y = F.dropout(y, 0.5, training)
    return F.linear(y, weights["dense2.weight"], weights["dense2.bias"])


def randomise(model: torch.nn.Module) -> None:
    """Weights and statistics of BatchNorm that are not the neutral ones; scales of both signs."""
    generator = torch.Generator().manual_seed(3)
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.weight.data.normal_(0.3, 0.8, generator=generator)
            module.bias.data.normal_(0, 0.3, generator=generator)
            module.running_mean.normal_(0, 0.5, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)


def spectrograms(batch: int, frames: int) -> torch.Tensor:
    return torch.randn(batch, frames, 128, generator=torch.Generator().manual_seed(batch + frames)) * 20 - 30


@pytest.fixture(params=[False, True], ids=["fast", "plain"])
def model(request) -> torch.nn.Module:
    torch.manual_seed(0)
    model = build_model("vgg_ish", 7, plain=request.param)
    randomise(model)
    return model


@pytest.mark.parametrize("frames", [230, 149])
@pytest.mark.parametrize("training", [False, True])
def test_logits_are_those_of_the_definition(model, frames, training):
    x = spectrograms(3, frames)
    model.train(training)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(1)
    logits = model(x)
    torch.manual_seed(1)
    torch.testing.assert_close(logits, by_hand(weights, x, training), rtol=1e-4, atol=1e-4)


def test_scores_are_the_sigmoid_of_the_logits(model):
    model.eval()
    x = spectrograms(2, 230)
    torch.testing.assert_close(model.scores(x), 1 / (1 + torch.exp(-model(x))))


@pytest.mark.parametrize("plain", [False, True])
def test_gradients_are_those_of_the_definition(plain):
    # In float64: in float32 a rounding error can change which of two near-equal values is the maximum.
    torch.manual_seed(0)
    model = build_model("vgg_ish", 7, plain=plain).double()
    randomise(model)
    x = spectrograms(2, 128).double()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    parameters = {name: weights[name].requires_grad_() for name, _ in model.named_parameters()}
    torch.manual_seed(1)
    logits = model(x)
    torch.manual_seed(1)
    expected = by_hand(weights, x, training=True)
    torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-9)
    logits.square().sum().backward()
    expected.square().sum().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, parameters[name].grad, rtol=1e-8, atol=1e-8, msg=name)


def test_running_statistics_follow_the_batch(model):
    x = spectrograms(4, 230)
    model.train()
    before = model.layer1.bn.running_mean.clone()
    torch.manual_seed(1)
    normalised = F.batch_norm(x[:, None], None, None, model.spec_bn.weight, model.spec_bn.bias, training=True)
    convolved = model.layer1.conv(normalised)
    model(x)
    torch.testing.assert_close(model.layer1.bn.running_mean, 0.9 * before + 0.1 * convolved.mean((0, 2, 3)))
    assert model.layer1.bn.num_batches_tracked == 1


@pytest.mark.parametrize(("n_tags", "expected"), [(20, 3_671_958), (50, 3_687_348)])
def test_number_of_parameters(n_tags, expected):
    # By hand: spec_bn 2; convolutions 1 280 + 147 584 + 295 168 + 3·590 080 + 1 180 160; their BatchNorm
    # 2·(128 + 128 + 4·256 + 512); dense1 512·512 + 512, bn 1 024; dense2 513 a tag. Won et al.: 3.7 million.
    assert sum(parameter.numel() for parameter in build_model("vgg_ish", n_tags).parameters()) == expected
    assert expected == 2 + 1_280 + 147_584 + 295_168 + 3 * 590_080 + 1_180_160 + 3_584 + 262_656 + 1_024 + 513 * n_tags


def test_attributes_are_those_of_the_study(model):
    assert (model.name, model.input_frames, model.final_layer) == ("vgg_ish", 230, "dense2")
    assert (model.embedding_size, model.pooling, model.settings) == (512, "scores", {})


def test_final_layer_of_the_embedding_gives_the_logits(model):
    model.eval()
    x = spectrograms(2, 230)
    assert model.embed(x).shape == (2, 512)
    torch.testing.assert_close(model.dense2(model.embed(x)), model(x))


@pytest.mark.parametrize(
    ("shape", "message"), [((1, 127, 128), "at least 128 frames, got 127"), ((1, 230, 96), "96"), ((230, 128), "230")]
)
def test_input_that_does_not_fit_is_told(model, shape, message):
    with pytest.raises(DataError, match=message):
        model(torch.zeros(shape))


def test_bfloat16_stays_near_float32(model):
    x = spectrograms(4, 230)
    model.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        fast = model.scores(x).float()
    with torch.no_grad():
        exact = model.scores(x)
    assert (fast - exact).abs().max() <= 2e-2
