"""Optimisers and learning rates over a run, as the study describes them.

A schedule answers two questions: which optimiser an epoch uses (and whether it begins anew from
the best weights so far), and what the learning rate of a step is. Epochs are counted from 1,
steps from 0 over the whole run. See the README for where the published code departs from this.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from torch.nn import Parameter
from torch.optim import SGD, Adam, Optimizer

from config import ModelConfig
from runtime.errors import UsageError

SCHEDULES = ("published", "constant")


class Schedule(Protocol):
    """What the training loop asks."""

    def phase(self, epoch: int) -> int:
        """Number of the phase an epoch is in; at a new phase the best weights are loaded back."""
        ...

    def optimizer(self, phase: int, parameters: Iterable[Parameter]) -> Optimizer:
        """A new optimiser for a phase."""
        ...

    def keeps_optimizer(self, phase: int) -> bool:
        """Whether a phase goes on with the optimiser of the one before it."""
        ...

    def learning_rate(self, epoch: int, step: int) -> float:
        """Learning rate of a step."""
        ...


@dataclass(frozen=True)
class AdamSchedule:
    """One phase with one optimiser, Adam; what is left to say is the learning rate."""

    model: ModelConfig
    base: float

    def phase(self, epoch: int) -> int:
        return 0

    def optimizer(self, phase: int, parameters: Iterable[Parameter]) -> Optimizer:
        return _adam(self.model, self.base, parameters)

    def keeps_optimizer(self, phase: int) -> bool:
        return False


@dataclass(frozen=True)
class ConstantSchedule(AdamSchedule):
    """Adam at one learning rate throughout: what the published code in effect did."""

    def learning_rate(self, epoch: int, step: int) -> float:
        return self.base


@dataclass(frozen=True)
class CnnSchedule:
    """Adam for 80 epochs, then SGD at 1e-3, 1e-4 and 1e-5, the first two for 20 epochs (Won et al. 2020).

    The rate given by the user is Adam's; those of SGD are the published ones.
    """

    model: ModelConfig
    base: float

    SGD_PHASES = ((81, 1e-3), (101, 1e-4), (121, 1e-5))  # first epoch, learning rate
    MOMENTUM = 0.9
    WEIGHT_DECAY = 1e-4

    def phase(self, epoch: int) -> int:
        return sum(epoch >= first for first, _ in self.SGD_PHASES)

    def optimizer(self, phase: int, parameters: Iterable[Parameter]) -> Optimizer:
        if phase == 0:
            return _adam(self.model, self.base, parameters)
        rate = self.SGD_PHASES[phase - 1][1]
        return SGD(parameters, rate, momentum=self.MOMENTUM, nesterov=True, weight_decay=self.WEIGHT_DECAY)

    def keeps_optimizer(self, phase: int) -> bool:
        return phase > 1  # between the SGD phases only the learning rate changes

    def learning_rate(self, epoch: int, step: int) -> float:
        phase = self.phase(epoch)
        return self.base if phase == 0 else self.SGD_PHASES[phase - 1][1]


@dataclass(frozen=True)
class AstSchedule(AdamSchedule):
    """Adam with a stepped linear warm-up, then decay by the epoch (Gong et al. 2021).

    The rate rises to the base over the first 1000 steps, changing every 50; from the fifth epoch
    on it is multiplied by 0.85 an epoch. Where a small corpus is still warming up in its fifth
    epoch, both factors apply.
    """

    WARMUP_STEPS = 1000
    WARMUP_EVERY = 50
    DECAY_FROM_EPOCH = 5
    DECAY = 0.85

    def learning_rate(self, epoch: int, step: int) -> float:
        risen = (step // self.WARMUP_EVERY + 1) * self.WARMUP_EVERY / self.WARMUP_STEPS
        return self.base * min(1.0, risen) * self.DECAY ** max(0, epoch - self.DECAY_FROM_EPOCH + 1)


def make_schedule(name: str, model: ModelConfig, learning_rate: float) -> Schedule:
    """The schedule called `name` ("published" or "constant") for a model.

    Raises:
        UsageError: there is no such schedule.
    """
    if name == "constant":
        return ConstantSchedule(model, learning_rate)
    if name == "published":
        return {"cnn": CnnSchedule, "ast": AstSchedule}[model.schedule](model, learning_rate)
    raise UsageError(f"unknown schedule '{name}'; choose one of {', '.join(SCHEDULES)}")


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the learning rate of all parameter groups."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def _adam(model: ModelConfig, rate: float, parameters: Iterable[Parameter]) -> Optimizer:
    parameters = list(parameters)
    fused = all(parameter.device.type in ("cpu", "cuda") for parameter in parameters)
    return Adam(parameters, rate, betas=model.betas, weight_decay=model.weight_decay, fused=fused)
