"""What is trained in a transfer: every layer, or the final layer only."""

from __future__ import annotations

from models.base import TaggingModel


def train_final_layer_only(model: TaggingModel, *, hold_batchnorm: bool = False) -> None:
    """Freeze all parameters but those of the final layer.

    As in the published runs, the frozen layers otherwise stay in training mode when the model
    does: dropout drops, and BatchNorm normalises by the batch and goes on updating its running
    statistics. With `hold_batchnorm`, BatchNorm keeps the source's statistics instead, unchanged
    also after `model.train()`; dropout still drops.

    Args:
        model: changed in place.
        hold_batchnorm: keep BatchNorm in evaluation mode.
    """
    model.requires_grad_(False)
    model.get_submodule(model.final_layer).requires_grad_(True)
    model.hold_batchnorm = hold_batchnorm
    model.train(model.training)
