"""Loading weights: the authors' files as they are, and a clear refusal of everything that does not fit."""

from __future__ import annotations

import pytest
import torch

from models import build_model
from models.weights import load_weights, recognise_weights
from runtime.errors import CheckpointError

MODELS = ("vgg_ish", "musicnn", "ast")


def make(model: str, n_tags: int = 5, seed: int = 0, ast_size: str = "tiny224") -> torch.nn.Module:
    torch.manual_seed(seed)
    return build_model(model, n_tags, ast_size=ast_size)


def authors_weights(model: str, n_tags: int = 5) -> dict[str, torch.Tensor]:
    """A state dict as the study's code saves it: with its waveform front end, or unused ImageNet heads."""
    weights = {name: tensor.clone() for name, tensor in make(model, n_tags, seed=1).state_dict().items()}
    if model == "ast":
        for head in ("v.head", "v.head_dist"):
            weights |= {f"{head}.weight": torch.randn(1000, 192), f"{head}.bias": torch.randn(1000)}
    else:
        weights |= {"spec.spectrogram.window": torch.hann_window(512), "spec.mel_scale.fb": torch.randn(257, 96)}
    return weights


def assert_unchanged(model: torch.nn.Module, name: str) -> None:
    fresh = make(name).state_dict()
    assert all(torch.equal(tensor, fresh[layer]) for layer, tensor in model.state_dict().items())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_of_the_authors_load_as_they_are(name, prefix):
    weights = authors_weights(name)
    model = make(name)
    load_weights(model, {prefix + layer: tensor for layer, tensor in weights.items()}, origin="a file")
    assert all(torch.equal(tensor, weights[layer]) for layer, tensor in model.state_dict().items())


@pytest.mark.parametrize("name", MODELS)
def test_final_layer_of_another_corpus_is_left_out_on_request(name):
    weights = authors_weights(name, n_tags=50)
    model = make(name, n_tags=20)
    final = model.get_submodule(model.final_layer)
    before = final.weight.clone(), final.bias.clone()
    load_weights(model, weights, origin="a file", without_final_layer=True)
    assert torch.equal(final.weight, before[0])
    assert torch.equal(final.bias, before[1])
    for layer, tensor in model.state_dict().items():
        assert layer.startswith(model.final_layer) or torch.equal(tensor, weights[layer])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("without_final_layer", [False, True])
def test_missing_unexpected_and_misshapen_layers_are_refused(name, without_final_layer):
    layer = "v.norm.weight" if name == "ast" else "layer1.bn.weight"
    for change, message in (
        (lambda w: w.pop(layer), f"missing: {layer}"),
        (lambda w: w.update({"layer9.conv.weight": torch.zeros(3)}), "unexpected: layer9.conv.weight"),
        (lambda w: w.update({layer: torch.zeros(3)}), rf"another shape: {layer} \(3,\) instead of"),
        (lambda w: w.update({layer: w[layer].long()}), "another type"),
        (lambda w: w.update({layer: "text"}), "something other than weights"),
        (lambda w: w.update({layer: w[layer].to_sparse()}), "something other than weights"),
        (lambda w: w[layer].fill_(float("nan")), f"'{layer}' holds values that are not finite"),
        (lambda w: w[layer][:1].fill_(float("inf")), f"'{layer}' holds values that are not finite"),
    ):
        weights = authors_weights(name)
        change(weights)
        model = make(name)
        with pytest.raises(CheckpointError, match=message) as caught:
            load_weights(model, weights, origin="saved_models/fma/x.pth", without_final_layer=without_final_layer)
        assert "saved_models/fma/x.pth" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert_unchanged(model, name)


@pytest.mark.parametrize(
    ("weights", "target", "cause"),
    [
        (("musicnn", 5), ("vgg_ish", 5), "these are weights of musicnn"),
        (("vgg_ish", 5), ("ast", 5), "these are weights of vgg_ish"),
        (("ast", 5), ("musicnn", 5), "these are weights of ast"),
        (("vgg_ish", 50), ("vgg_ish", 20), "weights for 50 tags: another corpus"),
        (("ast", 50), ("ast", 20), "weights for 50 tags: another corpus"),
    ],
)
def test_the_likely_cause_of_a_misfit_is_named(weights, target, cause):
    with pytest.raises(CheckpointError, match=cause):
        load_weights(make(*target), authors_weights(*weights), origin="a file")


def test_another_size_of_ast_is_named():
    with torch.device("meta"):
        model = make("ast", ast_size="base384")
    with pytest.raises(CheckpointError, match=r"another size \(--ast_size tiny224\)"):
        load_weights(model, authors_weights("ast"), origin="a file")


@pytest.mark.parametrize("content", [[torch.zeros(3)], None, torch.zeros(3), {1: torch.zeros(3)}, {}, {"epoch": 3}])
def test_what_is_no_state_dict_is_refused(content):
    with pytest.raises(CheckpointError, match="a file"):
        load_weights(make("musicnn"), content, origin="a file")


def test_a_claimed_giant_is_refused_by_its_shape():
    weights = authors_weights("musicnn")
    weights["dense1.weight"] = torch.zeros(1).expand(10**7, 10**7)  # 10^14 values in four bytes
    with pytest.raises(CheckpointError, match=r"another shape: dense1\.weight"):
        load_weights(make("musicnn"), weights, origin="a file")


def test_model_tags_and_size_are_recognised_from_the_weights():
    assert recognise_weights(authors_weights("vgg_ish", 50)) == ("vgg_ish", 50, ())
    assert recognise_weights(authors_weights("musicnn", 20)) == ("musicnn", 20, ())
    assert recognise_weights(authors_weights("ast", 30)) == ("ast", 30, ("tiny224",))
    assert recognise_weights({"layer": torch.zeros(2)}) == (None, None, ())
