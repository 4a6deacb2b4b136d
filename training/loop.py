"""The training loop, readable from top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from torch.optim import Optimizer
from tqdm import tqdm

from config import RunConfig, training_state_path
from datasets.crops import training_batches, validation_batches
from datasets.loading import CropSource
from evaluation.metrics import macro_auc
from evaluation.scoring import pool_chunks
from runtime.atomic_files import make_directory, remove_stale_parts
from runtime.errors import EXIT_STOPPED, Stopped, TrainingError, out_of_memory
from runtime.processes import connected, started_processes
from runtime.signals import StopRequest
from training.history import Record, epoch_line
from training.job import Job, open_sources, prepare, training_step, write_result
from training.schedules import set_learning_rate
from training.settings import TrainingSettings
from training.state import random_states, restore, save_state, training_lock
from training.step import TrainingStep

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
    processes = started_processes()
    lock = training_lock(settings.checkpoint) if processes.first else nullcontext()
    with connected(processes), lock, _memory_errors(settings.run):
        if processes.first:
            remove_stale_parts(settings.checkpoint.parent, settings.checkpoint.stem)
        job = prepare(settings, processes)
        if job is not None:
            _run(job)
        del job  # its network must not outlive the connection
    return settings.checkpoint


def _run(job: Job) -> None:
    """All epochs, from wherever the state is."""
    state, run, schedule, processes = job.state, job.run, job.schedule, job.processes
    checkpoint = job.settings.checkpoint
    optimizer = schedule.optimizer(state.phase, job.trainable())
    if state.model:  # continuing
        restore(state, job.model, optimizer, job.device, training_state_path(checkpoint))
    train_source, valid_source = open_sources(job)
    take_step = training_step(job)
    record = Record(checkpoint, state.history) if processes.first else None

    with StopRequest() as stop:
        while state.epoch <= run.epochs and not _out_of_patience(job):
            phase = schedule.phase(state.epoch)
            if phase != state.phase:
                if state.best:
                    job.model.load_state_dict(state.best)
                if not schedule.keeps_optimizer(phase):
                    optimizer = schedule.optimizer(phase, job.trainable())
                state.phase = phase
            _train_epoch(job, take_step, optimizer, train_source, stop)
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
            if processes.first:
                record.add(state.history)
                print(epoch_line(row, run.epochs), flush=True)
            (stopping,) = processes.any(bool(stop.requested))
            if stopping and state.epoch <= run.epochs:
                raise _stopped(job, stop)
    if processes.first:
        write_result(job)


def _train_epoch(
    job: Job, take_step: TrainingStep, optimizer: Optimizer, source: CropSource, stop: StopRequest
) -> None:
    """One epoch, or what is left of it: each recording once, one random crop each."""
    state, run, model, processes = job.state, job.run, job.model, job.processes
    model.train()
    batches = training_batches(
        job.recordings.n_frames, model.input_frames, run.batch_size, job.settings.seed, state.epoch
    )
    ahead = batches[state.batch :]
    shares = [processes.share(len(batch)) for batch in ahead]
    # Over this process' rows; the first one carries what was done before the training was stopped.
    loss_sum = torch.tensor(state.loss_sum if processes.first else 0.0, dtype=torch.float64)
    loss_sum = loss_sum.to(_float64_device(job.device))
    started = saved = time.monotonic()
    before = state.seconds
    progress = tqdm(total=len(batches), initial=state.batch, desc=f"epoch {state.epoch}", unit="batch", leave=False)
    with progress:
        mine = source.load(batch.rows(share) for batch, share in zip(ahead, shares, strict=True))
        for whole, share, (_, crops, targets) in zip(ahead, shares, mine, strict=True):
            set_learning_rate(optimizer, job.schedule.learning_rate(state.epoch, state.step))
            job.place.rows, job.place.share = len(whole), share
            loss_sum += take_step(optimizer, crops, targets, len(whole) / processes.size)
            state.batch, state.step = state.batch + 1, state.step + 1
            progress.update()
            now = time.monotonic()
            time_to_save = processes.first and now - saved > 60 * job.settings.save_every
            stopping, saving = processes.any(bool(stop.requested), time_to_save)
            if saving or stopping or state.batch % LOSS_CHECK_EVERY == 0 or state.batch == len(batches):
                state.loss_sum, state.seconds = processes.sum(loss_sum).item(), before + now - started
                _check_loss(job)
                progress.set_postfix(loss=f"{state.loss_sum / (state.batch * run.batch_size):.4f}")
            if saving or stopping:
                _save(job, optimizer)
                saved = now
            if stopping:
                raise _stopped(job, stop)
    state.seconds = before + time.monotonic() - started


def _validate(job: Job, source: CropSource, stop: StopRequest) -> dict[str, Any] | None:
    """The epoch's row of the history: losses and metrics on the same chunks in every epoch.

    None if a signal asks to stop: the validation is then done when the training goes on.
    """
    state, run, model, processes = job.state, job.run, job.model, job.processes
    model.eval()
    batches = validation_batches(
        job.valid.n_frames, model.input_frames, run.validation_chunks, batch_size=4 * run.batch_size
    )
    mine = batches[processes.share(len(batches))]
    losses = [torch.empty(0, device=job.device)]  # nothing, where there are fewer batches than processes
    outputs = [torch.empty((0, model.n_tags), device=job.device)]
    stopping = False
    with torch.inference_mode():
        for _, crops, targets in source.load(mine):
            if stopping := bool(stop.requested):
                break
            with job.precision.autocast():
                logits = model(crops).float()
            losses.append(F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(dim=1))
            outputs.append(logits)
    (stopping,) = processes.any(stopping)
    if stopping:
        return None
    parts = processes.gather((torch.cat(losses).cpu().numpy(), torch.cat(outputs).cpu().numpy()))
    losses, outputs = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    owners = np.concatenate([batch.recordings for batch in batches])
    loss = float(losses.mean(dtype=np.float64))
    if not math.isfinite(loss):
        raise TrainingError(f"the validation loss of epoch {state.epoch} is not finite; try a lower --lr")
    scores = pool_chunks(model.pooling, owners, outputs)
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
    if not job.processes.first:
        return
    state = job.state
    state.model = job.model.state_dict()
    state.optimizer = optimizer.state_dict()
    state.random = random_states(job.device)
    save_state(training_state_path(job.settings.checkpoint), state)


def _stopped(job: Job, stop: StopRequest) -> Stopped | SystemExit:
    if not job.processes.first:  # the first one tells the user
        return SystemExit(EXIT_STOPPED)
    path = training_state_path(job.settings.checkpoint)
    return Stopped(
        f"{stop.requested or 'a signal'}: stopped in epoch {job.state.epoch} and saved in {path}; the same command "
        "goes on from there"
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
