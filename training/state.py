"""The state of a training that is under way, kept beside the place of its result.

`{model_name}.resume` holds everything the loop needs to go on as if it had never stopped. It is
replaced in one step, so a kill at any moment leaves the state before or the state after. The
`.pth` itself appears when training has finished, and the state is then removed.
"""

from __future__ import annotations

import fcntl
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from models.tensor_files import load_tensors, save_tensors
from runtime.atomic_files import errors_name
from runtime.errors import CheckpointError, TrainingError, listed, out_of_memory
from training.history import COLUMNS

FORMAT = "music-tagging-training/1"


@dataclass
class TrainingState:
    """Where a training is.

    Attributes:
        identity: the configuration and data it belongs to; it is continued only by the same.
        epoch: the epoch under way, counted from 1.
        batch: batches of that epoch that are done.
        step: steps done over the whole run.
        phase: the schedule's phase of the last step.
        loss_sum: sum of the losses of this epoch's recordings so far.
        seconds: time this epoch has taken so far.
        best_epoch: the epoch with the lowest validation loss (0: none yet).
        best: that epoch's weights, on the CPU.
        history: one row an epoch.
        model: the network's weights.
        optimizer: the optimiser's state (None before the first step).
        random: states of the random generators.
        normalisation: {"mean", "std"} of the training set for a model that needs it.
    """

    identity: dict[str, Any]
    epoch: int = 1
    batch: int = 0
    step: int = 0
    phase: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    best_epoch: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    model: dict[str, Tensor] = field(default_factory=dict)
    optimizer: dict[str, Any] | None = None
    random: dict[str, Tensor] = field(default_factory=dict)
    normalisation: dict[str, float] | None = None

    @property
    def best_row(self) -> dict[str, Any]:
        """The history's row of the best epoch."""
        return self.history[self.best_epoch - 1]


def save_state(path: Path, state: TrainingState) -> None:
    """Write the state; an existing one is replaced in one step."""
    save_tensors(path, {"format": FORMAT, **vars(state)})


def load_state(path: Path) -> TrainingState:
    """Read a state.

    Raises:
        CheckpointError: damaged, or not a training state.
    """
    try:
        content = load_tensors(path)
        if content.pop("format", None) != FORMAT:
            raise CheckpointError("another format")
        state = TrainingState(**content)
        blank = TrainingState({})
        for name, value in vars(state).items():
            like = getattr(blank, name)
            if not isinstance(value, (dict, type(None)) if like is None else type(like)):
                raise CheckpointError(f"{name} is of type {type(value).__name__}")
        _check_history(state)
        return state
    except (CheckpointError, TypeError) as error:
        raise CheckpointError(
            f"the training state {path} cannot be read ({error}); --restart begins anew from the first epoch"
        ) from error


def _check_history(state: TrainingState) -> None:
    if not all(isinstance(row, dict) and row.keys() == set(COLUMNS) for row in state.history):
        raise CheckpointError("its history has other columns")
    if not bool(state.history) <= state.best_epoch <= len(state.history):
        raise CheckpointError(f"its best epoch is {state.best_epoch} of {len(state.history)}")


def restore(state: TrainingState, model: nn.Module, optimizer: Optimizer, device: torch.device, where: Path) -> None:
    """Put network, optimiser and random generators back to where the state was saved.

    Raises:
        CheckpointError: it does not fit them, being of another version of this project, or forged.
    """
    try:
        model.load_state_dict(state.model)
        if state.optimizer is not None:
            optimizer.load_state_dict(state.optimizer)
        set_random_states(state.random, device)
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        if out_of_memory(error):
            raise
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"the training state {where} does not fit this network ({reason:.120}); --restart begins anew"
        ) from error


def check_identity(found: Mapping[str, Any], wanted: Mapping[str, Any], where: Path) -> None:
    """Check that a state or checkpoint belongs to the training that was asked for.

    Raises:
        TrainingError: names what differs.
    """
    names = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
    if not names:
        return
    differences = [f"{name} {_short(found.get(name))} there, {_short(wanted.get(name))} now" for name in names]
    raise TrainingError(
        f"{where} is of another training of this name ({listed(differences, 3)}); repeat its options to go on with "
        "it, begin anew with --restart, or choose another --models_dir"
    )


def _short(value: object) -> str:
    text = "none" if value is None else str(value)
    return f"{text[:12]}…" if len(text) > 40 else text


def check_length_of_state(state: TrainingState, epochs: int, patience: int | None, where: Path) -> None:
    """Check that a training of so many epochs and this patience would have come as far as this state.

    Raises:
        TrainingError: it would have ended before, perhaps with other weights.
    """
    best = 0
    for epoch, row in enumerate(state.history[:-1], start=1):
        best = epoch if row["best"] else best
        if epoch >= epochs or (patience is not None and epoch - best >= patience):
            raise TrainingError(
                f"{where} has done {len(state.history)} epochs already, where {_length(epochs, patience)} ends after "
                f"{epoch}; give it the options it was started with, begin anew with --restart, or choose another "
                "--models_dir"
            )


def check_length_of_result(training: Mapping[str, Any], epochs: int, patience: int | None, where: Path) -> None:
    """Check that a training of so many epochs and this patience ends where a finished one did.

    Args:
        training: what the checkpoint says of it (see `models.checkpoints.CheckpointInfo`).

    Raises:
        TrainingError: it ends elsewhere, or that cannot be told.
    """
    asked, allowed, done = training["epochs"], training.get("patience"), training.get("epochs_trained")
    done = asked if done is None else done
    by_patience = done < asked and epochs >= done and patience == allowed
    by_epochs = epochs == done and (patience in (None, allowed) or (allowed or math.inf) <= patience)
    if not (by_patience or by_epochs):
        raise TrainingError(
            f"{where} has been trained for {done} epochs ({_length(asked, allowed)}) and its state is gone; --restart "
            f"trains it with {_length(epochs, patience)} from the beginning, or choose another --models_dir"
        )


def _length(epochs: int, patience: int | None) -> str:
    return f"--epochs {epochs}" + ("" if patience is None else f" --patience {patience}")


@contextmanager
def training_lock(checkpoint: Path) -> Iterator[None]:
    """Hold the right to train `checkpoint`; the operating system gives it back however the process ends.

    Raises:
        TrainingError: another process holds it.
    """
    path = checkpoint.with_suffix(".lock")
    file = _locked(path)
    while not _is_at(path, file):
        file.close()  # its holder removed the file between our opening and our locking it
        file = _locked(path)
    with file:
        with errors_name(path):
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), f"{os.getpid()} on {os.uname().nodename}".encode())
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _is_at(path: Path, file: IO[str]) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _locked(path: Path) -> IO[str]:
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read(100).strip() or "unknown"
        file.close()
        raise TrainingError(
            f"{path.stem} is already being trained in {path.parent} (process {holder}); wait for it, or choose "
            "another --models_dir"
        ) from None
    return file


def random_states(device: torch.device) -> dict[str, Tensor]:
    """States of PyTorch's generators, which dropout draws from. Crops need none: see datasets/crops.py."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    if device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def set_random_states(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Put the generators back to where they were."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
    if device.type == "mps" and "mps" in states:
        torch.mps.set_rng_state(states["mps"])
