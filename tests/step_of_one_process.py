"""One process' part of one training step in double precision: `<model> <file for the gradients>`.

Started by tests/test_several_processes.py, alone or by torchrun.
"""

from __future__ import annotations

import sys

import torch

from models import build_model
from models.shared_batch import BatchPlace
from runtime.devices import resolve_precision
from runtime.processes import connected, started_processes
from training.start import spread_network
from training.step import TrainingStep

ROWS = 5  # not a multiple of the number of processes


class NoStep(torch.optim.SGD):
    """Leaves weights and gradients as they are, to be looked at."""

    def step(self, closure: None = None) -> None:
        pass

    def zero_grad(self, set_to_none: bool = True) -> None:
        pass


def main() -> None:
    name, path = sys.argv[1:]
    processes, place = started_processes(), BatchPlace()
    torch.set_num_threads(1)
    with connected(processes):
        torch.manual_seed(0)
        model = build_model(name, 3, ast_size="tiny224").double().train()
        if model.needs_normalisation:
            model.set_normalisation(mean=-50, std=10)
        network = spread_network(model, processes, place)
        crops = torch.randn(ROWS, model.input_frames, 128, dtype=torch.float64) * 10 - 50
        targets = torch.tensor([[1.0, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1], [1, 0, 1]])
        place.rows, place.share = ROWS, processes.share(ROWS)
        exact = resolve_precision("float32", torch.device("cpu"), cpu_bfloat16=False)
        mine = crops[place.share], targets[place.share]
        take_step = TrainingStep(network, exact)
        loss = take_step(NoStep(model.parameters()), *mine, ROWS / processes.size)
        loss = processes.sum(loss)
        del network, take_step  # see `connected`
    if processes.first:
        gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
        torch.save({"loss": loss, "gradients": gradients, "buffers": dict(model.named_buffers())}, path)


if __name__ == "__main__":
    main()
