"""The network a run starts from: new weights, or another corpus' model without its final layer."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from config import RunConfig
from models import TaggingModel, build_model
from models.checkpoints import Checkpoint, load_trained, resolve_settings
from models.shared_batch import BatchPlace, share_batches
from models.transfer import train_final_layer_only
from models.weights import load_weights
from runtime.processes import Processes
from training.settings import TrainingSettings


def load_source(run: RunConfig, models_dir: Path) -> Checkpoint | None:
    """The checkpoint a transfer starts from, or None for a run from scratch.

    Raises:
        CheckpointError: it is missing (gives the command that makes it), or not usable.
    """
    return None if run.name.source is None else load_trained(models_dir, run.name.source, run.model.name)


def build_network(settings: TrainingSettings, n_tags: int, source: Checkpoint | None) -> TaggingModel:
    """The network with random weights, on the CPU, frozen as the run's name asks.

    Raises:
        CheckpointError: the source is of another model.
        UsageError: a setting contradicts the source.
    """
    run = settings.run
    if source is None:
        keywords = {
            "musicnn_layout": settings.musicnn_layout or "paper",
            "ast_size": settings.ast_size or "base384",
        }
    else:
        asked = {"musicnn_layout": settings.musicnn_layout, "ast_size": settings.ast_size}
        keywords = resolve_settings(source, run.model.name, **asked)
    network = build_model(run.model.name, n_tags, **keywords, plain=settings.plain)
    if run.name.final_layer_only:
        train_final_layer_only(network, hold_batchnorm=settings.hold_batchnorm)
    return network


def set_initial_weights(network: TaggingModel, settings: TrainingSettings, source: Checkpoint | None) -> None:
    """Give a new run's network what it starts from; one that is continued has its own and needs no download.

    Raises:
        CheckpointError: the source or the file of initial weights does not fit, or the download fails.
    """
    if source is not None:
        load_weights(network, source.state_dict, origin=str(source.path), without_final_layer=True)
    elif network.name == "ast":
        from models.ast_weights import initialise_ast

        initialise_ast(network, settings.ast_init)


def spread_network(network: TaggingModel, processes: Processes, place: BatchPlace) -> nn.Module:
    """What is called in training: the network itself, or one whose gradients are averaged over the processes.

    Args:
        network: on its device; its BatchNorm and dropout are replaced where there are several processes.
        place: where the process' rows stand in the batch, to be told before each call.
    """
    if processes.size == 1:
        return network
    share_batches(network, place)
    device = next(network.parameters()).device
    return nn.parallel.DistributedDataParallel(
        network,
        device_ids=[device] if device.type == "cuda" else None,
        broadcast_buffers=False,  # they are equal anyway: BatchNorm's statistics are those of the whole batch
        gradient_as_bucket_view=True,
    )
