"""Checkpoint files: weights with everything needed to use them and to know where they come from.

A checkpoint loads without pickle (`weights_only=True`). A bare state dict, as the study's authors
published, loads too; it carries weights only, so `Checkpoint.info` is None.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from config import MODELS, MODELS_DIR, SPECTROGRAM, checkpoint_path, training_state_path
from models import TaggingModel, build_model
from models.tensor_files import load_tensors, save_tensors
from models.weights import load_weights, network_weights, recognise_weights
from runtime.errors import CheckpointError, UsageError, listed
from runtime.provenance import file_sha256
from runtime.tag_names import is_tag_name

FORMAT = "music-tagging-checkpoint/1"


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says about its weights.

    Attributes:
        model: "vgg_ish", "musicnn" or "ast".
        model_name: the run's name, for example "vgg_ish_from_fma_f".
        dataset: the corpus it was trained on.
        tags: names of the outputs, in order.
        settings: keywords of `models.build_model` that rebuild the network.
        input_frames: length of the chunks it was trained on.
        normalisation: {"mean", "std"} in dB of the training set, or None where the model needs none.
        epoch: the epoch the weights are of (lowest validation loss), counted from 1.
        metrics: that epoch's losses and validation metrics.
        seed: the run's seed.
        training: the run's configuration, as far as it affects the result.
        data_fingerprint: of the training and validation recordings (`datasets.data_fingerprint`).
        source: {"dataset", "model_name", "sha256"} of the checkpoint the run started from, or None.
        versions: of the software that trained it.
        spectrogram: how its mel-spectrograms are computed.
    """

    model: str
    model_name: str
    dataset: str
    tags: tuple[str, ...]
    settings: Mapping[str, str]
    input_frames: int
    normalisation: Mapping[str, float] | None
    epoch: int
    metrics: Mapping[str, float | None]
    seed: int
    training: Mapping[str, Any]
    data_fingerprint: str
    source: Mapping[str, str] | None
    versions: Mapping[str, str]
    spectrogram: Mapping[str, float] = field(default_factory=lambda: dataclasses.asdict(SPECTROGRAM))


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint read from a file; `info` is None for a bare state dict."""

    path: Path
    sha256: str
    state_dict: Mapping[str, Tensor]
    info: CheckpointInfo | None


def save_checkpoint(path: Path, state_dict: Mapping[str, Tensor], info: CheckpointInfo) -> None:
    """Write a checkpoint; an existing file is replaced in one step."""
    content = {"format": FORMAT, "info": _plain(dataclasses.asdict(info)), "state_dict": dict(state_dict)}
    save_tensors(path, content)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of this project, or a bare state dict.

    Raises:
        CheckpointError: missing, damaged, or not a checkpoint.
    """
    content = load_tensors(path)
    if content.get("format") == FORMAT:
        try:
            fields = dict(content["info"])
            fields["tags"] = tuple(fields["tags"])
            info = CheckpointInfo(**fields)
            _check_info(info)
            state_dict = dict(content["state_dict"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"the checkpoint {path} is damaged ({error}); train it again") from error
        if info.spectrogram != dataclasses.asdict(SPECTROGRAM):
            raise CheckpointError(f"the checkpoint {path} is of other mel-spectrograms than config.SPECTROGRAM's")
    else:
        info, state_dict = None, content
    if not state_dict or not all(isinstance(value, Tensor) for value in state_dict.values()):
        raise CheckpointError(f"{path} holds neither a checkpoint of this project nor a state dict of weights")
    return Checkpoint(path=path, sha256=file_sha256(path), state_dict=state_dict, info=info)


def _check_info(info: CheckpointInfo) -> None:
    """Raise a ValueError if what others build upon is not what it should be."""
    normalisation = info.normalisation
    sound = {
        "model": info.model in MODELS,
        "tags": info.tags and all(isinstance(tag, str) and is_tag_name(tag) for tag in info.tags),
        "settings": isinstance(info.settings, Mapping)
        and info.settings.keys() <= {"musicnn_layout", "ast_size"}
        and all(isinstance(value, str) for value in info.settings.values()),
        "normalisation": normalisation is None
        or (math.isfinite(normalisation["mean"]) and 0 < normalisation["std"] < math.inf),
        "training": isinstance(info.training, Mapping)
        and isinstance(info.training["identity"], Mapping)
        and isinstance(info.training["epochs"], int)
        and all(isinstance(info.training.get(name), int | None) for name in ("epochs_trained", "patience")),
    }
    wrong = [name for name, is_sound in sound.items() if not is_sound]
    if wrong:
        raise ValueError(f"impossible {listed(wrong)}")


def load_trained(models_dir: Path, dataset: str, model_name: str) -> Checkpoint:
    """The finished checkpoint of a run.

    Raises:
        CheckpointError: it is missing or its training has not finished; gives the command to run.
    """
    path = checkpoint_path(models_dir, dataset, model_name)
    if not path.is_file():
        command = f"python train.py --dataset {dataset} --model_name {model_name}"
        if models_dir != MODELS_DIR:
            command += f" --models_dir {models_dir}"
        if training_state_path(path).is_file():
            raise CheckpointError(f"the training of {path} has not finished; continue it with: {command}")
        raise CheckpointError(f"there is no checkpoint {path}; train it with: {command}")
    return load_checkpoint(path)


def restore_model(checkpoint: Checkpoint, model: str, n_tags: int, **settings: str | None) -> TaggingModel:
    """Build the network of a checkpoint and load its weights.

    Args:
        checkpoint: what to load.
        model: the model it should be: "vgg_ish", "musicnn" or "ast".
        n_tags: the number of tags it should have.
        **settings: keywords of `build_model`; None takes what the checkpoint says.

    Raises:
        CheckpointError: it is of another model, another number of tags, or does not fit.
        UsageError: a setting contradicts the checkpoint.
    """
    network = build_model(model, n_tags, **resolve_settings(checkpoint, model, **settings))
    load_weights(network, checkpoint.state_dict, origin=str(checkpoint.path))
    info = checkpoint.info
    if info is not None and info.normalisation is not None:
        network.set_normalisation(info.normalisation["mean"], info.normalisation["std"])
    return network


def resolve_settings(checkpoint: Checkpoint, model: str, **settings: str | None) -> dict[str, str]:
    """The `build_model` keywords for a checkpoint: its own, checked against those asked for.

    A bare state dict tells the size of an AST by its shapes; a Musicnn's layout it does not tell.

    Raises:
        CheckpointError: the checkpoint is of another model.
        UsageError: a setting contradicts the checkpoint.
    """
    info = checkpoint.info
    if info is not None:
        if info.model != model:
            raise CheckpointError(f"{checkpoint.path} is a checkpoint of {info.model}, not of {model}")
        known = dict(info.settings)
    else:
        known = {"ast_size": _ast_size(checkpoint)} if model == "ast" else {}
    for name, value in settings.items():
        if value is None:
            continue
        if known.get(name, value) != value:
            raise UsageError(f"{checkpoint.path} was trained with --{name} {known[name]}, not {value}")
        known[name] = value
    return known


def _ast_size(checkpoint: Checkpoint) -> str:
    sizes = recognise_weights(network_weights(checkpoint.state_dict, str(checkpoint.path))).ast_sizes
    return sizes[-1] if sizes else "base384"  # weights of another model: load_weights tells


def _plain(value: Any) -> Any:
    """`value` made of dicts, lists, strings and numbers only, which load without pickle."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value
