"""Weights into a model: every layer by its name, nothing missing, nothing left over.

The layer names are those of the authors' state dicts, so theirs load as they are. Two things that
their files hold beside the network are passed over: the buffers of a waveform front end
(`spec.*`) and the ImageNet heads that AST does not use (`v.head.*`, `v.head_dist.*`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from config import MODELS
from models.base import TaggingModel
from models.sizes import AST_ENCODERS
from runtime.errors import CheckpointError, listed

IGNORED_PREFIXES = ("spec.", "v.head.", "v.head_dist.")
_TELLTALE_LAYERS = {"vgg_ish": "layer7.conv.weight", "musicnn": "layers.0.conv.weight", "ast": "v.pos_embed"}


class WeightsOrigin(NamedTuple):
    """What a state dict's names and shapes tell of the model it was taken from (None: nothing)."""

    model: str | None
    n_tags: int | None
    ast_sizes: tuple[str, ...]  # the sizes of this width; empty for other models


def recognise_weights(state_dict: Mapping[str, Tensor]) -> WeightsOrigin:
    """Tell the model, the number of tags and the size from the weights alone."""
    model = next((name for name, layer in _TELLTALE_LAYERS.items() if layer in state_dict), None)
    if model is None:
        return WeightsOrigin(None, None, ())
    final = state_dict.get(f"{MODELS[model].final_layer}.bias")
    n_tags = len(final) if isinstance(final, Tensor) and final.ndim == 1 else None
    width = _shape(state_dict[_TELLTALE_LAYERS[model]])[-1:]
    sizes = tuple(size for size, encoder in AST_ENCODERS.items() if model == "ast" and (encoder.width,) == width)
    return WeightsOrigin(model, n_tags, sizes)


def load_weights(
    model: TaggingModel, state_dict: Mapping[str, Tensor], *, origin: str, without_final_layer: bool = False
) -> None:
    """Copy the weights of `state_dict` into `model`.

    Args:
        model: changed in place, only if everything fits.
        state_dict: tensors by layer name; a leading `module.` of all names (DataParallel) is dropped.
        origin: where the weights come from, for the error message.
        without_final_layer: leave the model's final layer as it is, whatever the source's is.

    Raises:
        CheckpointError: layers are missing, unknown or of another shape, or something is not a
            tensor of finite numbers.
    """
    weights = network_weights(state_dict, origin)
    expected = model.state_dict()
    if without_final_layer:
        final = (f"{model.final_layer}.weight", f"{model.final_layer}.bias")
        weights = {name: tensor for name, tensor in weights.items() if name not in final}
        expected = {name: tensor for name, tensor in expected.items() if name not in final}
    misfit = _misfit(weights, expected)
    if misfit:
        raise CheckpointError(f"{origin} does not fit {_described(model)}: {misfit}; {_cause(weights, model)}")
    for name, tensor in weights.items():
        if not _is_finite(tensor):
            raise CheckpointError(f"{origin} is damaged: '{name}' holds values that are not finite; train it again")
    model.load_state_dict(weights, strict=not without_final_layer)


def network_weights(state_dict: Mapping[str, Tensor], origin: str) -> dict[str, Tensor]:
    """The entries of `state_dict` that belong to the network, under the network's own names.

    Raises:
        CheckpointError: it is not a mapping from names to ordinary tensors.
    """
    if not isinstance(state_dict, Mapping) or not all(isinstance(name, str) for name in state_dict):
        raise CheckpointError(f"{origin} does not hold weights by layer name; give a file saved from a state dict")
    if state_dict and all(name.startswith("module.") for name in state_dict):
        state_dict = {name.removeprefix("module."): tensor for name, tensor in state_dict.items()}
    weights = {name: tensor for name, tensor in state_dict.items() if not name.startswith(IGNORED_PREFIXES)}
    strange = [name for name, value in weights.items() if not _is_ordinary(value)]
    if strange:
        raise CheckpointError(f"{origin} holds something other than weights: {listed(strange)}; give a state dict")
    return weights


def _is_ordinary(value: object) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and not (value.is_quantized or value.is_complex() or value.is_nested or value.is_meta)
    )


def _is_finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(tensor.isfinite().all())


def _shape(value: object) -> tuple[int, ...]:
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def _misfit(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """What of `weights` differs from `expected` in names, shapes or kind of number; empty if nothing does."""
    missing = [name for name in expected if name not in weights]
    unexpected = [name for name in weights if name not in expected]
    other_shape = [
        f"{name} {_shape(weights[name])} instead of {_shape(tensor)}"
        for name, tensor in expected.items()
        if name in weights and _shape(weights[name]) != _shape(tensor)
    ]
    other_kind = [
        f"{name} {weights[name].dtype}"
        for name, tensor in expected.items()
        if name in weights and weights[name].is_floating_point() != tensor.is_floating_point()
    ]
    lists = {"missing": missing, "unexpected": unexpected, "another shape": other_shape, "another type": other_kind}
    return "; ".join(f"{what}: {listed(names, 3)}" for what, names in lists.items() if names)


def _described(model: TaggingModel) -> str:
    settings = "".join(f", {value}" for value in model.settings.values())
    return f"{model.name} ({model.n_tags} tags{settings})"


def _cause(weights: Mapping[str, Tensor], model: TaggingModel) -> str:
    source = recognise_weights(weights)
    if source.model is None:
        return "it holds no weights of any of the three models"
    if source.model != model.name:
        return f"these are weights of {source.model}"
    if source.ast_sizes and model.settings["ast_size"] not in source.ast_sizes:
        return f"these are weights of AST of another size (--ast_size {' or '.join(source.ast_sizes)})"
    if source.n_tags not in (None, model.n_tags):
        return f"these are weights for {source.n_tags} tags: another corpus"
    return "the file is incomplete or of another version"
