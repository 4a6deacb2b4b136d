"""What the fast ways of computing may change: the stated bounds, on a GPU where there is one."""

from __future__ import annotations

import pytest
import torch

from models import build_model
from runtime.devices import PRECISIONS, Precision, resolve_precision

DEVICE = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
BOUNDS = {"float32": 1e-5, "bfloat16": 2e-2}  # of scores
MODELS = {
    "vgg_ish": {},
    "musicnn": {},
    "musicnn, published": {"musicnn_layout": "published"},
    "ast": {"ast_size": "tiny224"},
}


def in_precision(name: str) -> Precision:
    chosen = resolve_precision(name, DEVICE)
    assert chosen.name == name
    return chosen


def as_if_trained(name: str, plain: bool) -> torch.nn.Module:
    """A network whose BatchNorms have learnt something: with neutral ones, folding them would change nothing."""
    torch.manual_seed(0)
    model = build_model(name.partition(",")[0], 12, **MODELS[name], plain=plain)
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.normal_(module.weight, 0.5, 0.3)
            torch.nn.init.normal_(module.bias, 0.0, 0.3)
            module.running_mean.normal_(0.0, 0.5)
            module.running_var.uniform_(0.5, 2.0)
    if model.needs_normalisation:
        model.set_normalisation(-40.0, 20.0)
    return model.to(DEVICE).eval()


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("name", MODELS)
def test_scores_of_the_fast_way_stay_within_the_stated_bound(name, precision):
    assert set(BOUNDS) == set(PRECISIONS) - {"auto"}
    fast, plain = (as_if_trained(name, plain) for plain in (False, True))
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(6, fast.input_frames, 128, generator=generator).cumsum(dim=1).clamp(-50, 50) - 40
    x = x.to(DEVICE)
    in_precision("float32")  # so that the plain way is exact on a GPU as well
    with torch.inference_mode():
        expected = plain.scores(x)
        with in_precision(precision).autocast():
            found = fast.scores(x).float()
    assert expected.std() > 0.01, "scores that are all the same would prove nothing"
    assert (found - expected).abs().max() <= BOUNDS[precision]
