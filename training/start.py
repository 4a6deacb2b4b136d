"""The network a run starts from: new weights, or another corpus' model without its final layer."""

from __future__ import annotations

from pathlib import Path

from config import MODELS_DIR, RunConfig, checkpoint_path
from models import TaggingModel, build_model
from models.checkpoints import Checkpoint, load_checkpoint, resolve_settings
from models.transfer import train_final_layer_only
from models.weights import load_weights
from runtime.errors import CheckpointError
from training.settings import TrainingSettings
from training.state import state_path


def load_source(run: RunConfig, models_dir: Path) -> Checkpoint | None:
    """The checkpoint a transfer starts from, or None for a run from scratch.

    Raises:
        CheckpointError: it is missing (gives the command that makes it), or not usable.
    """
    source = run.name.source
    if source is None:
        return None
    return load_trained(models_dir, source, run.model.name)


def load_trained(models_dir: Path, dataset: str, model_name: str) -> Checkpoint:
    """The finished checkpoint of a run.

    Raises:
        CheckpointError: it is missing; gives the command that makes it.
    """
    path = checkpoint_path(models_dir, dataset, model_name)
    if not path.is_file():
        command = f"python train.py --dataset {dataset} --model_name {model_name}"
        if models_dir != MODELS_DIR:
            command += f" --models_dir {models_dir}"
        if state_path(path).is_file():
            raise CheckpointError(f"the training of {path} has not finished; continue it with: {command}")
        raise CheckpointError(f"there is no checkpoint {path}; train it with: {command}")
    return load_checkpoint(path)


def build_network(settings: TrainingSettings, n_tags: int, source: Checkpoint | None) -> TaggingModel:
    """The network with its initial weights, on the CPU, frozen as the run's name asks.

    Raises:
        CheckpointError: the source does not fit the model.
        UsageError: a setting contradicts the source.
    """
    run = settings.run
    if source is None:
        network = build_model(
            run.model.name,
            n_tags,
            musicnn_layout=settings.musicnn_layout or "paper",
            ast_size=settings.ast_size or "base384",
        )
        if run.model.name == "ast":
            from models.ast_weights import initialise_ast

            initialise_ast(network, settings.ast_init)
        return network
    asked = {"musicnn_layout": settings.musicnn_layout, "ast_size": settings.ast_size}
    keywords = resolve_settings(source, run.model.name, **asked)
    network = build_model(run.model.name, n_tags, **keywords)
    load_weights(network, source.state_dict, origin=str(source.path), without_final_layer=True)
    if run.name.final_layer_only:
        train_final_layer_only(network, hold_batchnorm=settings.hold_batchnorm)
    return network
