"""AST against timm's own network, against torch's functions, and its initial weights against NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from models import AST_SIZES, build_model
from models.ast_weights import adapt_deit, initialise_ast
from runtime.errors import CheckpointError, DataError

MEAN, STD = -31.5, 18.25


def make(plain: bool = False, n_tags: int = 7) -> torch.nn.Module:
    torch.manual_seed(0)
    model = build_model("ast", n_tags, ast_size="tiny224", plain=plain)
    with torch.no_grad():
        for parameter in model.parameters():  # biases and scales that are not the neutral ones
            parameter.add_(torch.randn_like(parameter) * 0.05)
    model.set_normalisation(MEAN, STD)
    return model


def spectrograms(batch: int) -> torch.Tensor:
    return torch.randn(batch, 500, 128, generator=torch.Generator().manual_seed(batch)) * 20 - 30


def by_hand(weights: dict[str, torch.Tensor], x: torch.Tensor, heads: int) -> torch.Tensor:
    """The network of Gong et al. 2021 step by step; x (batch, frames, mels) → logits."""

    def linear(name: str, y: torch.Tensor) -> torch.Tensor:
        return y @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def layer_norm(name: str, y: torch.Tensor, eps: float) -> torch.Tensor:
        centred = y - y.mean(dim=-1, keepdim=True)
        y = centred / (centred.square().mean(dim=-1, keepdim=True) + eps).sqrt()
        return y * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    image = ((x - MEAN) / (2 * STD)).transpose(1, 2)
    corners = [(10 * i, 10 * j) for i in range(12) for j in range(49)]
    patches = torch.stack([image[:, f : f + 16, t : t + 16].flatten(1) for f, t in corners], dim=1)
    projection = weights["v.patch_embed.proj.weight"].flatten(1)
    tokens = patches @ projection.T + weights["v.patch_embed.proj.bias"]
    special = torch.cat([weights["v.cls_token"], weights["v.dist_token"]], dim=1).expand(len(x), -1, -1)
    y = torch.cat([special, tokens], dim=1) + weights["v.pos_embed"]
    for block in (f"v.blocks.{i}" for i in range(12)):
        q, k, v = linear(f"{block}.attn.qkv", layer_norm(f"{block}.norm1", y, 1e-6)).chunk(3, dim=2)
        attended = []
        for q_head, k_head, v_head in zip(q.chunk(heads, 2), k.chunk(heads, 2), v.chunk(heads, 2), strict=True):
            attention = (q_head @ k_head.transpose(1, 2) / math.sqrt(q_head.shape[2])).softmax(dim=2)
            attended.append(attention @ v_head)
        y = y + linear(f"{block}.attn.proj", torch.cat(attended, dim=2))
        hidden = F.gelu(linear(f"{block}.mlp.fc1", layer_norm(f"{block}.norm2", y, 1e-6)))
        y = y + linear(f"{block}.mlp.fc2", hidden)
    y = layer_norm("v.norm", y, 1e-6)
    return linear("mlp_head.1", layer_norm("mlp_head.0", (y[:, 0] + y[:, 1]) / 2, 1e-5))


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_logits_are_those_of_the_definition(plain, training):
    model = make(plain).train(training)
    x = spectrograms(2)
    torch.testing.assert_close(model(x), by_hand(model.state_dict(), x, heads=3), rtol=1e-5, atol=1e-5)


def test_encoder_is_timms_distilled_deit():
    model = make().eval()
    width = model.embedding_size
    deit = timm.create_model(  # an image of 12 × 49 patches; their overlap comes with the stride
        "deit_tiny_distilled_patch16_224", img_size=(12 * 16, 49 * 16), in_chans=1, num_classes=0
    ).eval()
    deit.patch_embed.proj = torch.nn.Conv2d(1, width, 16, stride=10)
    deit.patch_embed.img_size = None
    weights = {name.removeprefix("v."): w for name, w in model.state_dict().items() if name.startswith("v.")}
    deit.load_state_dict(weights)
    image = torch.randn(2, 1, 128, 500)
    tokens = deit.forward_features(image)
    assert tokens.shape == (2, 590, width)
    torch.testing.assert_close(model.v(image), tokens[:, :2], rtol=1e-5, atol=1e-5)


def test_fast_and_plain_forms_have_the_same_gradients():
    fast, plain = make(plain=False), make(plain=True)
    x = spectrograms(2)
    for model in (fast, plain):
        model(x).square().sum().backward()
    gradients = {name: parameter.grad for name, parameter in plain.named_parameters()}
    for name, parameter in fast.named_parameters():
        scale = gradients[name].abs().max().item()
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-5, atol=1e-5 * scale, msg=name)


@pytest.mark.parametrize(
    ("size", "width", "expected"),
    [("tiny224", 192, 5_506_004), ("small224", 384, 21_628_820), ("base224", 768, 85_724_948)],
)
def test_number_of_parameters(size, width, expected):
    # By hand: in each of 12 blocks 12·width² weights and 13·width biases and scales; patches (16·16 + 1)·width; 590
    # positions and two tokens; two more LayerNorms; the final layer for 20 tags. DeiT-base has 86 million.
    assert expected == 12 * (12 * width**2 + 13 * width) + (257 + 590 + 2 + 4) * width + 20 * (width + 1)
    with torch.device("meta"):
        model = build_model("ast", 20, ast_size=size)
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


def test_attributes_are_those_of_the_study():
    model = make()
    assert (model.name, model.input_frames, model.final_layer) == ("ast", 500, "mlp_head.1")
    assert (model.embedding_size, model.pooling, model.settings) == (192, "logits", {"ast_size": "tiny224"})
    assert AST_SIZES == ("tiny224", "small224", "base224", "base384")


def test_final_layer_of_the_embedding_gives_the_logits():
    model = make().eval()
    x = spectrograms(2)
    assert model.embed(x).shape == (2, 192)
    torch.testing.assert_close(model.mlp_head[1](model.embed(x)), model(x))


def test_normalisation_must_be_set_and_is_not_part_of_the_weights():
    model = build_model("ast", 3, ast_size="tiny224")
    with pytest.raises(CheckpointError, match="no input normalisation"):
        model(spectrograms(1))
    assert not any("input" in name for name in model.state_dict())
    for mean, std in ((0.0, 0.0), (0.0, -1.0), (math.nan, 1.0), (0.0, math.inf)):
        with pytest.raises(CheckpointError, match="cannot be normalised"):
            model.set_normalisation(mean, std)
    with pytest.raises(CheckpointError, match="no input normalisation"):
        model(spectrograms(1))


@pytest.mark.parametrize("frames", [499, 501])
def test_other_lengths_than_the_position_embeddings_are_told(frames):
    with pytest.raises(DataError, match=f"500 frames, got {frames}"):
        make()(torch.zeros(1, frames, 128))


def test_bfloat16_stays_near_float32():
    model = make().eval()
    x = spectrograms(4)
    with torch.no_grad():
        exact = model.scores(x)
        with torch.autocast("cpu", torch.bfloat16):
            fast = model.scores(x).float()
    assert (fast - exact).abs().max() <= 2e-2


# --- initial weights ---------------------------------------------------------------------------


def deit_weights(name: str = "deit_tiny_distilled_patch16_224") -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    return {key: torch.randn_like(tensor) for key, tensor in timm.create_model(name).state_dict().items()}


@pytest.mark.parametrize("side", [14, 24])
def test_position_grid_is_cut_in_frequency_and_interpolated_in_time(side):
    rng = np.random.default_rng(side)
    width = 5
    positions = rng.normal(size=(1, 2 + side**2, width)).astype(np.float32)
    patches = rng.normal(size=(width, 3, 16, 16)).astype(np.float32)
    adapted = adapt_deit(
        {
            "cls_token": torch.zeros(1, 1, width),
            "dist_token": torch.zeros(1, 1, width),
            "pos_embed": torch.from_numpy(positions),
            "patch_embed.proj.weight": torch.from_numpy(patches),
            "head.weight": torch.zeros(1000, width),
            "head_dist.bias": torch.zeros(1000),
        },
        "test",
    )
    assert set(adapted) == {"cls_token", "dist_token", "pos_embed", "patch_embed.proj.weight"}
    np.testing.assert_allclose(
        adapted["patch_embed.proj.weight"][:, 0].numpy(), patches[:, 0] + patches[:, 1] + patches[:, 2], rtol=1e-6
    )
    grid = positions[0, 2:].reshape(side, side, width)[(side - 12) // 2 : (side + 12) // 2]
    centres = (np.arange(49) + 0.5) * side / 49 - 0.5  # of the 49 new columns, in units of the old ones
    expected = np.array([[np.interp(centres, np.arange(side), row[:, d]) for d in range(width)] for row in grid])
    expected = expected.transpose(0, 2, 1).reshape(12 * 49, width)
    np.testing.assert_array_equal(adapted["pos_embed"][0, :2].numpy(), positions[0, :2])
    np.testing.assert_allclose(adapted["pos_embed"][0, 2:].numpy(), expected, rtol=1e-4, atol=1e-5)


def assert_holds_deit(model: torch.nn.Module, deit: dict[str, torch.Tensor], head: torch.Tensor) -> None:
    state = model.state_dict()
    for name, tensor in deit.items():
        if not name.startswith(("head", "pos_embed", "patch_embed.proj.weight")):
            assert torch.equal(state[f"v.{name}"], tensor), name
    assert torch.equal(state["v.patch_embed.proj.weight"], deit["patch_embed.proj.weight"].sum(dim=1, keepdim=True))
    assert torch.equal(state["mlp_head.1.weight"], head)


@pytest.mark.parametrize("form", ["state dict", "under model", "safetensors"])
def test_weights_of_a_local_file_are_used(tmp_path, form):
    deit = deit_weights()
    path = tmp_path / ("deit.safetensors" if form == "safetensors" else "deit.pth")
    if form == "safetensors":
        save_file(deit, path)
    else:
        torch.save({"model": deit} if form == "under model" else deit, path)
    model = make()
    head = model.mlp_head[1].weight.clone()
    initialise_ast(model, str(path))
    assert_holds_deit(model, deit, head)


def test_imagenet_weights_are_asked_of_timm(monkeypatch):
    deit = deit_weights("deit_small_distilled_patch16_224")
    asked = []
    create = timm.create_model

    def download(name: str, pretrained: bool) -> torch.nn.Module:
        asked.append((name, pretrained))
        network = create(name)
        network.load_state_dict(deit)
        return network

    monkeypatch.setattr(timm, "create_model", download)
    model = build_model("ast", 3, ast_size="small224")
    head = model.mlp_head[1].weight.clone()
    initialise_ast(model, "imagenet")
    assert asked == [("deit_small_distilled_patch16_224", True)]
    assert_holds_deit(model, deit, head)


def test_failing_download_is_an_error_that_names_the_alternatives(monkeypatch):
    def fail(name: str, pretrained: bool) -> None:
        raise ConnectionError("no route to host\nmore")

    monkeypatch.setattr(timm, "create_model", fail)
    model = make()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"no route to host.*--ast_init random") as caught:
        initialise_ast(model, "imagenet")
    assert "\n" not in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_random_weights_stay_as_built():
    model = make()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    initialise_ast(model, "random")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_files_that_are_no_deit_are_refused(tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    torch.save(deit_weights("deit_small_distilled_patch16_224"), tmp_path / "small.pth")
    torch.save(make().state_dict(), tmp_path / "ast.pth")
    torch.save({name: t for name, t in deit_weights().items() if name != "dist_token"}, tmp_path / "undistilled.pth")
    (tmp_path / "text.pth").write_text("not weights")
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "cut.safetensors").write_bytes(b"\xff" * 20)
    for name, message in {
        "other.pth": "distilled DeiT",
        "small.pth": "--ast_size small224",
        "ast.pth": "distilled DeiT",
        "undistilled.pth": "distilled DeiT",
        "text.pth": "cannot read",
        "empty.pth": "cannot read",
        "cut.safetensors": "cannot read",
        "none.pth": "no initial weights",
    }.items():
        with pytest.raises(CheckpointError, match=message) as caught:
            initialise_ast(make(), str(tmp_path / name))
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_code_in_a_weights_file_does_not_run(tmp_path):
    class Attack:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"model": Attack()}, tmp_path / "attack.pth")
    with pytest.raises(CheckpointError, match="plain weights"):
        initialise_ast(make(), str(tmp_path / "attack.pth"))
    assert not (tmp_path / "ran").exists()
