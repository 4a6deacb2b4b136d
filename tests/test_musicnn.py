"""Musicnn against its definition written out with torch's functions, and against its published size."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from models import build_model
from runtime.errors import DataError

LAYOUTS = ("paper", "published")


def by_hand(weights: dict[str, torch.Tensor], x: torch.Tensor, training: bool) -> torch.Tensor:
    """The network of Pons et al. step by step; x (batch, height, width), its filters' "frequency" along height."""

    def batch_norm(name: str, y: torch.Tensor) -> torch.Tensor:
        mean, var = weights[f"{name}.running_mean"].clone(), weights[f"{name}.running_var"].clone()
        return F.batch_norm(y, mean, var, weights[f"{name}.weight"], weights[f"{name}.bias"], training)

    def convolve(convolution, name: str, y: torch.Tensor, padding) -> torch.Tensor:
        y = convolution(y, weights[f"{name}.conv.weight"], weights[f"{name}.conv.bias"], padding=padding)
        return F.relu(batch_norm(f"{name}.bn", y))

    y = batch_norm("spec_bn", x[:, None])
    front = [convolve(F.conv2d, f"layers.{i}", y, (0, 3)).max(dim=2).values for i in (0, 1)]
    front += [convolve(F.conv1d, f"layers.{i}", y.mean(dim=2), padding) for i, padding in ((2, 64), (3, 32), (4, 16))]
    front = torch.cat(front, dim=1)
    first = convolve(F.conv1d, "layer1", front, 3)
    second = convolve(F.conv1d, "layer2", first, 3) + first
    third = convolve(F.conv1d, "layer3", second, 3) + second
    y = torch.cat([front, first, second, third], dim=1)
    y = torch.cat([y.max(dim=2).values, y.mean(dim=2)], dim=1)
    y = F.relu(batch_norm("bn", F.linear(y, weights["dense1.weight"], weights["dense1.bias"])))
    y = F.dropout(y, 0.5, training)
    return F.linear(y, weights["dense2.weight"], weights["dense2.bias"])


def make(layout: str, plain: bool) -> torch.nn.Module:
    """A model whose weights and statistics of BatchNorm are not the neutral ones; scales of both signs."""
    torch.manual_seed(0)
    model = build_model("musicnn", 7, musicnn_layout=layout, plain=plain)
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.weight.data.normal_(0.3, 0.8)
            module.bias.data.normal_(0, 0.3)
            module.running_mean.normal_(0, 0.5)
            module.running_var.uniform_(0.5, 2)
    return model


def spectrograms(batch: int, frames: int) -> torch.Tensor:
    return torch.randn(batch, frames, 128, generator=torch.Generator().manual_seed(batch + frames)) * 20 - 30


def as_the_filters_see_it(x: torch.Tensor, layout: str) -> torch.Tensor:
    """(batch, frames, mels) → (batch, height, width): mels × frames, in the published code frames × mels."""
    return x if layout == "published" else x.transpose(1, 2)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(("frames", "training"), [(187, False), (99, True), (201, False)])
def test_logits_are_those_of_the_definition(layout, plain, frames, training):
    model = make(layout, plain).train(training)
    x = spectrograms(8 if training else 3, frames)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(1)
    logits = model(x)
    torch.manual_seed(1)
    expected = by_hand(weights, as_the_filters_see_it(x, layout), training)
    # BatchNorm by the statistics of a few chunks enlarges rounding errors; the next test is exact.
    tolerance = 1e-4 if training else 1e-5
    torch.testing.assert_close(logits, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("plain", [False, True])
def test_gradients_and_running_statistics_are_those_of_the_definition(layout, plain):
    # In float64: in float32 a rounding error can change which of two near-equal values is the maximum.
    model = make(layout, plain).double()
    literal = make(layout, plain=True).double()
    x = spectrograms(2, 90).double()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    parameters = {name: weights[name].requires_grad_() for name, _ in model.named_parameters()}
    torch.manual_seed(1)
    logits = model(x)
    torch.manual_seed(1)
    expected = by_hand(weights, as_the_filters_see_it(x, layout), training=True)
    torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-9)
    logits.square().sum().backward()
    expected.square().sum().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, parameters[name].grad, rtol=1e-8, atol=1e-8, msg=name)
    literal(x)
    buffers = dict(literal.named_buffers())
    for name, buffer in model.named_buffers():
        torch.testing.assert_close(buffer, buffers[name], msg=name)


def test_layouts_differ_by_a_transposition_of_the_input():
    paper, published = make("paper", plain=False).eval(), make("published", plain=False).eval()
    published.load_state_dict(paper.state_dict())
    square = spectrograms(2, 128)
    torch.testing.assert_close(published(square), paper(square.transpose(1, 2)), rtol=1e-5, atol=1e-5)
    assert (published(square) - paper(square)).abs().max() > 1e-2


@pytest.mark.parametrize("plain", [False, True])
def test_filters_span_frequency_and_time_as_the_layout_says(monkeypatch, plain):
    # A filter whose only tap is 10 along its long side and 5 (two after the middle) along its short one
    # copies the spectrogram from there: worked out by hand for one position.
    x = spectrograms(2, 187)
    for layout, positions in (("paper", (62, 187)), ("published", (121, 128))):
        torch.manual_seed(0)
        model = build_model("musicnn", 7, musicnn_layout=layout, plain=plain).eval()
        with torch.no_grad():
            model.layers[0].conv.weight.zero_()[0, 0, 10, 5] = 1
            model.layers[0].conv.bias.zero_()
        seen = []

        def watch(y: torch.Tensor, *window: object, pool=F.max_pool2d, seen=seen) -> torch.Tensor:
            seen.append(y)
            return pool(y, *window)

        monkeypatch.setattr(F, "max_pool2d", watch)
        model(x)
        monkeypatch.undo()
        assert seen[0].shape == (2, 204, *positions)
        frame, mel = (32, 17) if layout == "paper" else (17, 32)  # position 7, 30: 7 + 10 and 30 + 2
        expected = x[:, frame, mel] / (1 + 1e-5)  # through two BatchNorms that change nothing but for their epsilon
        torch.testing.assert_close(seen[0][:, 0, 7, 30].relu(), expected.relu())


@pytest.mark.parametrize(("n_tags", "expected"), [(20, 778_270), (50, 784_300)])
def test_number_of_parameters(n_tags, expected):
    # By hand: spec_bn 2; 204·(67·7 + 1) + 204·(38·7 + 1), their BatchNorm 2·2·204; 51·(129 + 65 + 33 + 3), BatchNorm
    # 3·2·51; layer1 64·(561·7 + 1), layers 2 and 3 2·64·(64·7 + 1), BatchNorm 3·2·64; dense1 200·(2·753 + 1),
    # bn 400; dense2 201 a tag. Won et al.: 0.8 million.
    front = 204 * 470 + 204 * 267 + 816 + 51 * 230 + 306
    back = 64 * 3_928 + 2 * 64 * 449 + 384
    assert expected == 2 + front + back + 200 * 1_507 + 400 + 201 * n_tags
    assert sum(parameter.numel() for parameter in build_model("musicnn", n_tags).parameters()) == expected


def test_names_and_shapes_are_those_of_the_authors():
    shapes = {name: tuple(tensor.shape) for name, tensor in build_model("musicnn", 50).state_dict().items()}
    assert shapes["layers.0.conv.weight"] == (204, 1, 67, 7)
    assert shapes["layers.1.conv.weight"] == (204, 1, 38, 7)
    assert shapes["layers.4.conv.weight"] == (51, 1, 33)
    assert shapes["layer1.conv.weight"] == (64, 561, 7)
    assert shapes["dense1.weight"] == (200, 1506)
    assert shapes["dense2.weight"] == (50, 200)


def test_attributes_are_those_of_the_study():
    model = build_model("musicnn", 20, musicnn_layout="published")
    assert (model.name, model.input_frames, model.final_layer) == ("musicnn", 187, "dense2")
    assert (model.embedding_size, model.pooling) == (200, "scores")
    assert model.settings == {"musicnn_layout": "published"}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_final_layer_of_the_embedding_gives_the_logits(layout):
    model = make(layout, plain=False).eval()
    x = spectrograms(2, 187)
    assert model.embed(x).shape == (2, 200)
    torch.testing.assert_close(model.dense2(model.embed(x)), model(x))
    torch.testing.assert_close(model.scores(x), 1 / (1 + torch.exp(-model(x))))


def test_input_too_short_for_the_filters_is_told():
    with pytest.raises(DataError, match="at least 67 frames, got 66"):
        build_model("musicnn", 5, musicnn_layout="published")(torch.zeros(1, 66, 128))


def test_model_in_use_is_never_changed_so_that_threads_can_share_it(monkeypatch):
    model = make("paper", plain=False).eval()
    weight, batch_norm = model.spec_bn.weight, F.batch_norm
    untouched = []

    def watch(*args, **kwargs) -> torch.Tensor:
        untouched.append(model.spec_bn.weight is weight)
        return batch_norm(*args, **kwargs)

    monkeypatch.setattr(F, "batch_norm", watch)
    model(spectrograms(1, 20))
    assert len(untouched) == 8  # each BatchNorm once, but for the two that are folded into convolutions
    assert all(untouched)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_bfloat16_stays_near_float32(layout):
    model = make(layout, plain=False).eval()
    x = spectrograms(4, 187)
    with torch.no_grad():
        exact = model.scores(x)
        with torch.autocast("cpu", torch.bfloat16):
            fast = model.scores(x).float()
    assert (fast - exact).abs().max() <= 2e-2
