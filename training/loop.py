"""The training loop, readable from top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Optimizer
from tqdm import tqdm

from config import RunConfig
from datasets import Corpus, Recordings, data_fingerprint, open_corpus, open_recordings
from datasets.crops import training_batches, validation_batches
from datasets.loading import CropSource, FileSource, MemorySource, measure_normalisation
from evaluation.metrics import macro_auc
from evaluation.scoring import pool_chunks
from models import TaggingModel
from models.checkpoints import Checkpoint, CheckpointInfo, load_checkpoint, save_checkpoint
from runtime.atomic_files import make_directory, remove_stale_parts
from runtime.devices import Precision, describe, resolve_device, resolve_precision
from runtime.errors import Stopped, TrainingError, UsageError
from runtime.provenance import versions
from runtime.signals import StopRequest
from training.history import TensorBoard, epoch_line, write_csv
from training.schedules import Schedule, make_schedule, set_learning_rate
from training.settings import TrainingSettings
from training.start import build_network, load_source
from training.state import (
    TrainingState,
    check_identity,
    load_state,
    random_states,
    save_state,
    set_random_states,
    state_path,
    training_lock,
)

LOSS_CHECK_EVERY = 50  # steps; looking at the loss makes the program wait for a GPU


def train(settings: TrainingSettings) -> Path:
    """Train one run and write its checkpoint, continuing where an earlier call was stopped.

    Returns:
        The checkpoint's path.

    Raises:
        UserError: bad settings, data or source (see the subclasses), a loss that is not finite,
            memory used up, the run being trained by another process.
        Stopped: a signal asked to stop; the state has been saved.
    """
    make_directory(settings.checkpoint.parent)
    with training_lock(settings.checkpoint), _memory_errors(settings.run):
        remove_stale_parts(settings.checkpoint.parent, settings.checkpoint.stem)
        job = _prepare(settings)
        if job is not None:
            _run(job)
    return settings.checkpoint


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
    schedule: Schedule
    state: TrainingState

    @property
    def run(self) -> RunConfig:
        return self.settings.run

    def trainable(self) -> list[torch.nn.Parameter]:
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]


def _prepare(settings: TrainingSettings) -> Job | None:
    """Open the corpus and the source, build the model, find the state; None if there is nothing to do."""
    run = settings.run
    device = resolve_device(settings.device)
    precision = resolve_precision(settings.precision, device)
    source = load_source(run, settings.models_dir)
    corpus = open_corpus(run.dataset.name, settings.data_dir, skip_missing=settings.skip_missing)
    train_set = open_recordings(corpus.train, skip_missing=settings.skip_missing)
    valid_set = open_recordings(corpus.valid, skip_missing=settings.skip_missing)
    if len(train_set) < 2:
        raise UsageError(f"training needs at least 2 recordings, {corpus.split_dir} lists {len(train_set)}")
    _say_what(settings, corpus, train_set, valid_set, source, device, precision)

    if settings.deterministic:
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    torch.manual_seed(settings.seed)
    model = build_network(settings, len(corpus.tags), source)
    identity = settings.identity(
        precision=precision.name,
        device=device.type,
        model_settings=dict(model.settings),
        source_sha256=source.sha256 if source else None,
        data_fingerprint=data_fingerprint(corpus, (train_set, valid_set)),
    )
    state = _find_state(settings, identity)
    if state is None:
        return None
    if model.needs_normalisation:
        if state.normalisation is None:
            state.normalisation = vars(measure_normalisation(train_set, settings.num_workers))
        model.set_normalisation(**state.normalisation)
    schedule = make_schedule(run.schedule, run.model, run.learning_rate)
    return Job(settings, corpus, train_set, valid_set, source, device, precision, model.to(device), schedule, state)


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
    path = state_path(settings.checkpoint)
    if settings.restart:
        path.unlink(missing_ok=True)
        return TrainingState(identity)
    if path.is_file():
        state = load_state(path)
        check_identity(state.identity, identity, path)
        print(f"continuing in epoch {state.epoch} after {state.batch} batches, as saved in {path}")
        return state
    if settings.checkpoint.is_file():
        info = load_checkpoint(settings.checkpoint).info
        if info is None:
            raise TrainingError(
                f"{settings.checkpoint} holds weights that were not trained here; --restart replaces them, or choose "
                "another --models_dir"
            )
        check_identity(info.training["identity"], identity, settings.checkpoint)
        if info.training["epochs"] < settings.run.epochs:
            raise TrainingError(
                f"{settings.checkpoint} has been trained for {info.training['epochs']} epochs and its state is gone; "
                f"--restart trains it for {settings.run.epochs} from the beginning"
            )
        print(f"{settings.checkpoint} is already trained; --restart trains it again")
        return None
    return TrainingState(identity)


def _run(job: Job) -> None:
    """All epochs, from wherever the state is."""
    state, run, schedule = job.state, job.run, job.schedule
    checkpoint = job.settings.checkpoint
    optimizer = schedule.optimizer(state.phase, job.trainable())
    if state.model:  # continuing
        job.model.load_state_dict(state.model)
        if state.optimizer is not None:
            optimizer.load_state_dict(state.optimizer)
        set_random_states(state.random, job.device)
    train_source, valid_source = _open_sources(job)
    train_labels = torch.from_numpy(job.recordings.labels).to(job.device, torch.float32)
    board = TensorBoard(checkpoint.with_suffix(".tensorboard"), first_step=state.epoch)

    with StopRequest() as stop:
        while state.epoch <= run.epochs and not _out_of_patience(job):
            phase = schedule.phase(state.epoch)
            if phase != state.phase:
                if state.best:
                    job.model.load_state_dict(state.best)
                if not schedule.keeps_optimizer(phase):
                    optimizer = schedule.optimizer(phase, job.trainable())
                state.phase = phase
            _train_epoch(job, optimizer, train_source, train_labels, stop)
            row = _validate(job, valid_source)
            if row["best"]:
                state.best_epoch = state.epoch
                state.best = {name: tensor.cpu().clone() for name, tensor in job.model.state_dict().items()}
            state.history.append(row)
            state.epoch, state.batch, state.loss_sum, state.seconds = state.epoch + 1, 0, 0.0, 0.0
            _save(job, optimizer)
            write_csv(checkpoint.with_suffix(".history.csv"), state.history)
            board.add(row)
            print(epoch_line(row, run.epochs), flush=True)
            if stop.requested and state.epoch <= run.epochs:
                raise _stopped(job, stop)
    board.close()
    _finish(job)


def _open_sources(job: Job) -> tuple[CropSource, CropSource]:
    """Where training and validation crops come from."""
    frames, threads = job.model.input_frames, job.settings.num_workers
    sets = (job.recordings, job.valid)
    where = job.settings.spectrograms
    if where == "auto":
        where = "files"
        if job.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(job.device)
            needed = sum(MemorySource.bytes_needed(recordings) for recordings in sets)
            where = "memory" if needed < 0.6 * free else "files"  # the rest is for the model
    source = MemorySource if where == "memory" else FileSource
    print(f"spectrograms: {'held in memory as float16' if where == 'memory' else 'crops read from files'}")
    return tuple(source(recordings, frames, job.device, threads) for recordings in sets)


def _train_epoch(job: Job, optimizer: Optimizer, source: CropSource, labels: Tensor, stop: StopRequest) -> None:
    """One epoch, or what is left of it: each recording once, one random crop each."""
    state, run, model = job.state, job.run, job.model
    model.train()
    batches = training_batches(
        job.recordings.n_frames, model.input_frames, run.batch_size, job.settings.seed, state.epoch
    )
    loss_sum = torch.tensor(state.loss_sum, dtype=torch.float64, device=_float64_device(job.device))
    started = saved = time.monotonic()
    before = state.seconds
    progress = tqdm(total=len(batches), initial=state.batch, desc=f"epoch {state.epoch}", unit="batch", leave=False)
    with progress:
        for batch, crops in source.load(batches[state.batch :]):
            set_learning_rate(optimizer, job.schedule.learning_rate(state.epoch, state.step))
            targets = labels[torch.from_numpy(batch.recordings).to(job.device, non_blocking=True)]
            with job.precision.autocast():
                logits = model(crops)
            loss = F.binary_cross_entropy_with_logits(logits.float(), targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            loss_sum += loss.detach().to(loss_sum) * len(batch)
            state.batch, state.step = state.batch + 1, state.step + 1
            progress.update()
            now = time.monotonic()
            saving = stop.requested or now - saved > 60 * job.settings.save_every
            if saving or state.batch % LOSS_CHECK_EVERY == 0 or state.batch == len(batches):
                state.loss_sum, state.seconds = loss_sum.item(), before + now - started
                _check_loss(job)
                progress.set_postfix(loss=f"{state.loss_sum / (state.batch * run.batch_size):.4f}")
            if saving and state.batch < len(batches):
                _save(job, optimizer)
                saved = now
                if stop.requested:
                    raise _stopped(job, stop)
    state.seconds = before + time.monotonic() - started


def _validate(job: Job, source: CropSource) -> dict[str, Any]:
    """The epoch's row of the history: losses and metrics on the same chunks in every epoch."""
    state, run, model = job.state, job.run, job.model
    model.eval()
    batches = validation_batches(
        job.valid.n_frames, model.input_frames, run.validation_chunks, batch_size=4 * run.batch_size
    )
    labels = torch.from_numpy(job.valid.labels).to(job.device, torch.float32)
    owners, outputs, losses = [], [], []
    with torch.inference_mode():
        for batch, crops in source.load(batches):
            with job.precision.autocast():
                logits = model(crops).float()
            targets = labels[torch.from_numpy(batch.recordings).to(job.device)]
            losses.append(F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(dim=1))
            owners.append(torch.from_numpy(batch.recordings))
            outputs.append(logits)
    loss = torch.cat(losses).double().mean().item() if job.device.type != "mps" else torch.cat(losses).mean().item()
    if not math.isfinite(loss):
        raise TrainingError(f"the validation loss of epoch {state.epoch} is not finite; try a lower --lr")
    scores = pool_chunks(model.pooling, torch.cat(owners).numpy(), torch.cat(outputs).cpu().numpy())
    auc = macro_auc(job.valid.labels, scores)
    return {
        "epoch": state.epoch,
        "learning_rate": job.schedule.learning_rate(state.epoch, max(state.step - 1, 0)),
        "train_loss": state.loss_sum / len(job.recordings),
        "valid_loss": loss,
        "valid_roc_auc": _or_none(auc.roc_auc),
        "valid_pr_auc": _or_none(auc.pr_auc),
        "recordings_per_second": len(job.recordings) / max(state.seconds, 1e-9),
        "seconds": state.seconds,
        "best": not state.history or loss < state.best_row["valid_loss"],
    }


def _finish(job: Job) -> None:
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
        },
        data_fingerprint=state.identity["data_fingerprint"],
        source={"dataset": run.name.source, "model_name": run.model.name, "sha256": source.sha256} if source else None,
        versions=versions(),
    )
    save_checkpoint(job.settings.checkpoint, state.best, info)
    state_path(job.settings.checkpoint).unlink(missing_ok=True)
    best = state.best_row
    print(f"best epoch {state.best_epoch} (validation loss {best['valid_loss']:.4f}): {job.settings.checkpoint}")


def _save(job: Job, optimizer: Optimizer) -> None:
    state = job.state
    state.model = job.model.state_dict()
    state.optimizer = optimizer.state_dict()
    state.random = random_states(job.device)
    save_state(state_path(job.settings.checkpoint), state)


def _stopped(job: Job, stop: StopRequest) -> Stopped:
    return Stopped(
        f"{stop.requested}: stopped in epoch {job.state.epoch} and saved in {state_path(job.settings.checkpoint)}; "
        "the same command goes on from there"
    )


def _out_of_patience(job: Job) -> bool:
    patience, state = job.run.patience, job.state
    return patience is not None and len(state.history) - state.best_epoch >= patience


def _check_loss(job: Job) -> None:
    if not math.isfinite(job.state.loss_sum):
        raise TrainingError(
            f"the loss is not finite in epoch {job.state.epoch}, by batch {job.state.batch}; try a lower --lr, or "
            "--precision float32. The last saved state is from before it"
        )


def _float64_device(device: torch.device) -> torch.device:
    return torch.device("cpu") if device.type == "mps" else device  # mps has no float64


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


@contextmanager
def _memory_errors(run: RunConfig) -> Iterator[None]:
    """Running out of memory, in one line that proposes a batch size."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        allocation_failed = isinstance(error, (torch.OutOfMemoryError, MemoryError))
        if not allocation_failed and "can't allocate memory" not in str(error):
            raise
        proposal = max(1, run.batch_size // 2)
        raise TrainingError(
            f"out of memory with batches of {run.batch_size}; try --batch_size {proposal} (it takes part in the "
            "result, so begin with --restart), or --spectrograms files"
        ) from error
