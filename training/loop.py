"""The training loop, readable from top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Optimizer
from tqdm import tqdm

from config import RunConfig, training_state_path
from datasets.crops import training_batches, validation_batches
from datasets.loading import CropSource
from evaluation.metrics import macro_auc
from evaluation.scoring import pool_chunks
from models import TaggingModel
from runtime.atomic_files import make_directory, remove_stale_parts
from runtime.devices import Precision
from runtime.errors import Stopped, TrainingError, out_of_memory
from runtime.signals import StopRequest
from training.history import TensorBoard, epoch_line, write_csv
from training.job import Job, open_sources, prepare, write_result
from training.schedules import set_learning_rate
from training.settings import TrainingSettings
from training.state import random_states, save_state, set_random_states, training_lock

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
        job = prepare(settings)
        if job is not None:
            _run(job)
    return settings.checkpoint


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
    train_source, valid_source = open_sources(job)
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
            row = _validate(job, valid_source, stop)
            if row is None:
                _save(job, optimizer)
                raise _stopped(job, stop)
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
    write_result(job)


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
            loss = training_step(model, optimizer, crops, targets, job.precision)
            loss_sum += loss.to(loss_sum) * len(batch)
            state.batch, state.step = state.batch + 1, state.step + 1
            progress.update()
            now = time.monotonic()
            saving = stop.requested or now - saved > 60 * job.settings.save_every
            if saving or state.batch % LOSS_CHECK_EVERY == 0 or state.batch == len(batches):
                state.loss_sum, state.seconds = loss_sum.item(), before + now - started
                _check_loss(job)
                progress.set_postfix(loss=f"{state.loss_sum / (state.batch * run.batch_size):.4f}")
            if saving:
                _save(job, optimizer)
                saved = now
                if stop.requested:
                    raise _stopped(job, stop)
    state.seconds = before + time.monotonic() - started


def training_step(
    model: TaggingModel, optimizer: Optimizer, crops: Tensor, targets: Tensor, precision: Precision
) -> Tensor:
    """One step of the optimiser on a batch.

    Args:
        crops: (batch, frames, 128) dB.
        targets: (batch, tags), 0 or 1, float32.

    Returns:
        The mean binary cross-entropy before the step, a scalar on the device.
    """
    with precision.autocast():
        logits = model(crops)
    loss = F.binary_cross_entropy_with_logits(logits.float(), targets)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach()


def _validate(job: Job, source: CropSource, stop: StopRequest) -> dict[str, Any] | None:
    """The epoch's row of the history: losses and metrics on the same chunks in every epoch.

    None if a signal asks to stop: the validation is then done when the training goes on.
    """
    state, run, model = job.state, job.run, job.model
    model.eval()
    batches = validation_batches(
        job.valid.n_frames, model.input_frames, run.validation_chunks, batch_size=4 * run.batch_size
    )
    labels = torch.from_numpy(job.valid.labels).to(job.device, torch.float32)
    owners, outputs, losses = [], [], []
    with torch.inference_mode():
        for batch, crops in source.load(batches):
            if stop.requested:
                return None
            with job.precision.autocast():
                logits = model(crops).float()
            targets = labels[torch.from_numpy(batch.recordings).to(job.device)]
            losses.append(F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(dim=1))
            owners.append(batch.recordings)
            outputs.append(logits)
    loss = torch.cat(losses).double().mean().item() if job.device.type != "mps" else torch.cat(losses).mean().item()
    if not math.isfinite(loss):
        raise TrainingError(f"the validation loss of epoch {state.epoch} is not finite; try a lower --lr")
    scores = pool_chunks(model.pooling, np.concatenate(owners), torch.cat(outputs).cpu().numpy())
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


def _save(job: Job, optimizer: Optimizer) -> None:
    state = job.state
    state.model = job.model.state_dict()
    state.optimizer = optimizer.state_dict()
    state.random = random_states(job.device)
    save_state(training_state_path(job.settings.checkpoint), state)


def _stopped(job: Job, stop: StopRequest) -> Stopped:
    path = training_state_path(job.settings.checkpoint)
    return Stopped(
        f"{stop.requested}: stopped in epoch {job.state.epoch} and saved in {path}; the same command goes on from there"
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
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        proposal = max(1, run.batch_size // 2)
        raise TrainingError(
            f"out of memory with batches of {run.batch_size}; try --batch_size {proposal} (it takes part in the "
            "result, so begin with --restart), or --spectrograms files"
        ) from error
