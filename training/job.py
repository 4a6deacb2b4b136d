"""A training made ready: corpus, source, network and state opened and checked; and its result written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from config import RunConfig, training_state_path
from datasets import Corpus, Recordings, data_fingerprint, open_corpus, open_recordings
from datasets.loading import CropSource, FileSource, MemorySource
from datasets.normalisation import measure_normalisation
from models import TaggingModel
from models.checkpoints import Checkpoint, CheckpointInfo, load_checkpoint, save_checkpoint
from models.shared_batch import BatchPlace
from runtime.cuda_graphs import CudaGraphs
from runtime.devices import Precision, compute_deterministically, describe, resolve_precision
from runtime.errors import TrainingError, UsageError
from runtime.memory import keep_freed_memory
from runtime.processes import Processes
from runtime.provenance import versions
from training.schedules import Schedule, make_schedule
from training.settings import TrainingSettings
from training.start import build_network, load_source, set_initial_weights, spread_network
from training.state import (
    TrainingState,
    check_identity,
    check_length_of_result,
    check_length_of_state,
    load_state,
)
from training.step import TrainingStep


@dataclass
class Job:
    """Everything the loop works with."""

    settings: TrainingSettings
    corpus: Corpus
    recordings: Recordings  # of the training split
    valid: Recordings
    source: Checkpoint | None
    device: torch.device
    precision: Precision
    model: TaggingModel
    network: torch.nn.Module  # the model as it is called in training: see spread_network
    place: BatchPlace
    schedule: Schedule
    state: TrainingState
    processes: Processes

    @property
    def run(self) -> RunConfig:
        return self.settings.run

    def trainable(self) -> list[torch.nn.Parameter]:
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]


def prepare(settings: TrainingSettings, processes: Processes) -> Job | None:
    """Open the corpus and the source, build the model, find the state; None if there is nothing to do."""
    run = settings.run
    if settings.deterministic:
        compute_deterministically()
    device = processes.device(settings.device)
    precision = resolve_precision(settings.precision, device, cpu_bfloat16=True)
    if device.type == "cpu":
        keep_freed_memory()
    source = load_source(run, settings.models_dir)
    corpus = open_corpus(run.dataset.name, settings.data_dir, skip_missing=settings.skip_missing)
    train_set = open_recordings(corpus.train, skip_missing=settings.skip_missing)
    valid_set = open_recordings(corpus.valid, skip_missing=settings.skip_missing)
    if len(train_set) < 2:
        raise UsageError(f"training needs at least 2 recordings, {corpus.split_dir} lists {len(train_set)}")
    if run.batch_size < processes.size:
        raise UsageError(f"batches of {run.batch_size} recordings cannot be shared by {processes.size} processes")
    _say_what(settings, corpus, train_set, valid_set, source, device, precision)
    if processes.size > 1:
        print(f"{processes.size} processes share each batch of {run.batch_size}")

    torch.manual_seed(settings.seed)
    model = build_network(settings, len(corpus.tags), source)
    identity = settings.identity(
        precision=precision.name,
        device=device.type,
        processes=processes.size if processes.size > 1 else None,
        model_settings=dict(model.settings),
        source_sha256=source.sha256 if source else None,
        data_fingerprint=data_fingerprint(corpus, (train_set, valid_set)),
        deterministic=True if settings.deterministic and device.type == "cuda" else None,
        spectrograms=_spectrograms(settings, device, (train_set, valid_set)),
    )
    with processes.first_goes_first():
        state = _find_state(settings, identity)
        if state is None:
            return None
        if not state.model:
            set_initial_weights(model, settings, source)
    if model.needs_normalisation:
        if state.normalisation is None:
            state.normalisation = vars(measure_normalisation(train_set, settings.num_workers))
        model.set_normalisation(**state.normalisation)
    schedule = make_schedule(run.schedule, run.model, run.learning_rate)
    place = BatchPlace()
    network = spread_network(model.to(device), processes, place)
    return Job(
        settings,
        corpus,
        train_set,
        valid_set,
        source,
        device,
        precision,
        model,
        network,
        place,
        schedule,
        state,
        processes,
    )


def _say_what(
    settings: TrainingSettings,
    corpus: Corpus,
    train_set: Recordings,
    valid_set: Recordings,
    source: Checkpoint | None,
    device: torch.device,
    precision: Precision,
) -> None:
    run = settings.run
    print(f"{run.name} on {run.dataset.title}: {describe(device, precision)}, seed {settings.seed}")
    print(f"split and label files: {corpus.split_dir}")
    print(f"{len(train_set)} training and {len(valid_set)} validation recordings, {len(corpus.tags)} tags", end="")
    print(f" (the study has {run.dataset.n_tags})" if len(corpus.tags) != run.dataset.n_tags else "")
    for recordings in (train_set, valid_set):
        if recordings.skipped:
            print(f"SKIPPED: {len(recordings.skipped)} {recordings.split} recordings have no spectrogram or no tags")
    if source is not None:
        what = "the final layer only" if run.name.final_layer_only else "all layers"
        print(f"starting from {source.path} (SHA-256 {source.sha256[:12]}…), training {what}")
        if source.info is None:
            print("the source is a bare state dict: its tags, settings and normalisation are not known")


def _find_state(settings: TrainingSettings, identity: dict[str, Any]) -> TrainingState | None:
    """The state to go on from: a new one, a saved one, or None where the run is finished."""
    path = training_state_path(settings.checkpoint)
    if settings.restart:
        path.unlink(missing_ok=True)
        return TrainingState(identity)
    if path.is_file():
        state = load_state(path)
        _as_found(identity, state.identity, settings)
        check_identity(state.identity, identity, path)
        check_length_of_state(state, settings.run.epochs, settings.run.patience, path)
        print(f"continuing in epoch {state.epoch} after {state.batch} batches, as saved in {path}")
        return state
    if settings.checkpoint.is_file():
        info = load_checkpoint(settings.checkpoint).info
        if info is None:
            raise TrainingError(
                f"{settings.checkpoint} holds weights that were not trained here; --restart replaces them, or choose "
                "another --models_dir"
            )
        _as_found(identity, info.training["identity"], settings)
        check_identity(info.training["identity"], identity, settings.checkpoint)
        check_length_of_result(info.training, settings.run.epochs, settings.run.patience, settings.checkpoint)
        print(f"{settings.checkpoint} is already trained; --restart trains it again")
        return None
    return TrainingState(identity)


def _as_found(identity: dict[str, Any], found: Mapping[str, Any], settings: TrainingSettings) -> None:
    """What is left to choose is chosen as it was: how much of a GPU's memory is free is no part of the training."""
    if settings.spectrograms == "auto":
        identity["spectrograms"] = found.get("spectrograms")


def _spectrograms(settings: TrainingSettings, device: torch.device, sets: Iterable[Recordings]) -> str | None:
    """Where crops are to come from: "memory", where values are rounded to float16, or None, the files."""
    in_memory = settings.spectrograms == "memory"
    if settings.spectrograms == "auto" and device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        in_memory = sum(map(MemorySource.bytes_needed, sets)) < 0.6 * free  # the rest is for the model
    return "memory" if in_memory else None


def open_sources(job: Job) -> tuple[CropSource, CropSource]:
    """Where training and validation crops come from."""
    frames, threads = job.model.input_frames, job.settings.num_workers
    sets = (job.recordings, job.valid)
    where = job.state.identity.get("spectrograms")
    source = MemorySource if where == "memory" else FileSource
    print(f"spectrograms: {'held in memory as float16' if where == 'memory' else 'crops read from files'}")
    return tuple(source(recordings, frames, job.device, threads) for recordings in sets)


def training_step(job: Job) -> TrainingStep:
    """What takes the steps: on a GPU that one process has for itself, whole batches are recorded and replayed."""
    recorder = None
    if job.device.type == "cuda" and job.processes.size == 1 and not job.settings.no_graph:
        recorder = CudaGraphs(job.device)
        print("training steps: replayed as a CUDA graph")
    return TrainingStep(job.network, job.precision, job.run.batch_size, recorder)


def write_result(job: Job) -> None:
    """Write the checkpoint from the best weights, then drop the state."""
    state, run = job.state, job.run
    if not state.history:
        raise UsageError("no epoch has been trained; --epochs must be at least 1")
    source = job.source
    info = CheckpointInfo(
        model=run.model.name,
        model_name=str(run.name),
        dataset=run.dataset.name,
        tags=job.corpus.tags,
        settings=job.model.settings,
        input_frames=job.model.input_frames,
        normalisation=state.normalisation,
        epoch=state.best_epoch,
        metrics=state.best_row,
        seed=job.settings.seed,
        training={
            "identity": state.identity,
            "epochs": run.epochs,
            "epochs_trained": len(state.history),
            "patience": run.patience,
            "recordings": {"train": len(job.recordings), "valid": len(job.valid)},
            "skipped": {"train": len(job.recordings.skipped), "valid": len(job.valid.skipped)},
            "seconds": sum(row["seconds"] for row in state.history),
            "device": describe(job.device, job.precision),
            "processes": job.processes.size,
        },
        data_fingerprint=state.identity["data_fingerprint"],
        source={"dataset": run.name.source, "model_name": run.model.name, "sha256": source.sha256} if source else None,
        versions=versions(),
    )
    save_checkpoint(job.settings.checkpoint, state.best, info)
    training_state_path(job.settings.checkpoint).unlink(missing_ok=True)
    best = state.best_row
    print(f"best epoch {state.best_epoch} (validation loss {best['valid_loss']:.4f}): {job.settings.checkpoint}")
