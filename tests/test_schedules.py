"""Learning rates step by step, as the study describes them."""

from __future__ import annotations

import pytest
import torch
from torch.optim import SGD, Adam

from config import MODELS
from runtime.errors import UsageError
from training.schedules import make_schedule, set_learning_rate


def parameters():
    return [torch.nn.Parameter(torch.zeros(3))]


@pytest.mark.parametrize(
    ("epoch", "kind", "rate"),
    [
        (1, Adam, 1e-4),
        (80, Adam, 1e-4),
        (81, SGD, 1e-3),
        (100, SGD, 1e-3),
        (101, SGD, 1e-4),
        (120, SGD, 1e-4),
        (121, SGD, 1e-5),
        (200, SGD, 1e-5),
    ],
)
@pytest.mark.parametrize("model", ["vgg_ish", "musicnn"])
def test_cnns_switch_from_adam_to_slowing_sgd(model, epoch, kind, rate):
    schedule = make_schedule("published", MODELS[model], 1e-4)
    optimizer = schedule.optimizer(schedule.phase(epoch), parameters())
    assert type(optimizer) is kind
    assert schedule.learning_rate(epoch, step=12345) == rate == optimizer.param_groups[0]["lr"]
    group = optimizer.param_groups[0]
    assert group["weight_decay"] == 1e-4
    if kind is SGD:
        assert group["momentum"] == 0.9 and group["nesterov"]


def test_cnns_change_phase_three_times_and_keep_sgd_between_its_rates():
    schedule = make_schedule("published", MODELS["vgg_ish"], 1e-4)
    phases = [schedule.phase(epoch) for epoch in range(1, 201)]
    assert [epoch for epoch in range(2, 201) if phases[epoch - 1] != phases[epoch - 2]] == [81, 101, 121]
    assert [schedule.keeps_optimizer(phase) for phase in (1, 2, 3)] == [False, True, True]


def test_ast_warms_up_in_steps_of_fifty():
    schedule = make_schedule("published", MODELS["ast"], 1e-5)
    rates = [schedule.learning_rate(1, step) / 1e-5 for step in range(1200)]
    assert rates[:50] == pytest.approx([0.05] * 50)
    assert rates[50:100] == pytest.approx([0.10] * 50)
    assert rates[949] == pytest.approx(0.95) and rates[950] == pytest.approx(1.0)
    assert rates[1000:] == [1.0] * 200


def test_ast_decays_from_the_fifth_epoch_on():
    schedule = make_schedule("published", MODELS["ast"], 1e-5)
    rates = [schedule.learning_rate(epoch, 10_000) for epoch in range(1, 8)]
    assert rates == pytest.approx([1e-5, 1e-5, 1e-5, 1e-5, 0.85e-5, 0.7225e-5, 0.614125e-5])
    group = schedule.optimizer(0, parameters()).param_groups[0]
    assert group["betas"] == (0.95, 0.999) and group["weight_decay"] == 5e-7


@pytest.mark.parametrize("model", MODELS)
def test_constant_is_adam_at_one_rate(model):
    schedule = make_schedule("constant", MODELS[model], 3e-4)
    assert {schedule.learning_rate(epoch, step) for epoch in (1, 5, 90, 200) for step in (0, 60, 5000)} == {3e-4}
    assert {schedule.phase(epoch) for epoch in range(1, 201)} == {0}
    optimizer = schedule.optimizer(0, parameters())
    assert type(optimizer) is Adam
    set_learning_rate(optimizer, 1e-6)
    assert optimizer.param_groups[0]["lr"] == 1e-6


def test_an_unknown_schedule_is_told():
    with pytest.raises(UsageError, match="published, constant"):
        make_schedule("cosine", MODELS["ast"], 1e-4)
