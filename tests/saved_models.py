"""Checkpoints of untrained networks whose scores differ from tag to tag and from sound to sound, for tests."""

from __future__ import annotations

from pathlib import Path

import torch

from models import TaggingModel, build_model
from models.checkpoints import CheckpointInfo, save_checkpoint

TAGS = ("instrument--Ud", "instrument--Ney", "instrument--Kemençe", "makam--Hicaz", "makam--Uşşâk", "usul--Sofyan")
NORMALISATION = {"mean": -48.0, "std": 20.0}


def random_network(model: str, n_tags: int, seed: int = 0, **settings: str) -> TaggingModel:
    """A network in evaluation mode whose logits spread over a few units."""
    torch.manual_seed(seed)
    network = build_model(model, n_tags, **settings)
    if model == "ast":
        network.set_normalisation(**NORMALISATION)
    else:
        network.spec_bn.running_mean.fill_(-50.0)
        network.spec_bn.running_var.fill_(400.0)
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Conv1d | torch.nn.Linear):
                torch.nn.init.kaiming_normal_(module.weight)
            if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d) and module is not network.spec_bn:
                torch.nn.init.uniform_(module.weight, 0.6, 1.2)
                torch.nn.init.uniform_(module.bias, -0.2, 0.2)
                module.running_mean.uniform_(-0.1, 0.1)
                module.running_var.uniform_(0.8, 1.6)
    final = network.get_submodule(network.final_layer)
    torch.nn.init.normal_(final.weight, std=3.0 if model == "ast" else 0.05)
    torch.nn.init.normal_(final.bias, std=0.5)
    return network.eval()


def save_random(
    path: Path,
    model: str = "vgg_ish",
    *,
    dataset: str = "makam",
    model_name: str | None = None,
    tags: tuple[str, ...] = TAGS,
    seed: int = 0,
    **settings: str,
) -> TaggingModel:
    """Save such a network as a checkpoint; returns it."""
    network = random_network(model, len(tags), seed, **settings)
    info = CheckpointInfo(
        model=model,
        model_name=model_name or model,
        dataset=dataset,
        tags=tags,
        settings=dict(network.settings),
        input_frames=network.input_frames,
        normalisation=NORMALISATION if model == "ast" else None,
        epoch=7,
        metrics={"valid_loss": 0.25},
        seed=seed,
        training={"identity": {"batch_size": 16}, "epochs": 9},
        data_fingerprint="0" * 64,
        source=None,
        versions={"torch": str(torch.__version__)},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(path, network.state_dict(), info)
    return network
