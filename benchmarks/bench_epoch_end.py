"""What an epoch takes beside its steps and its validation: the macro averages, and saving the state.

    python -m benchmarks.bench_epoch_end --device cpu --out build/bench/epoch-end.json

There is no baseline: the published code keeps no state.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.timing import machine, write_json
from config import MODELS
from evaluation.metrics import macro_auc
from models import build_model
from models.transfer import train_final_layer_only
from runtime.arguments import ScriptParser, positive_int
from runtime.devices import resolve_device
from runtime.errors import run_script
from runtime.provenance import versions
from training.schedules import make_schedule
from training.state import TrainingState, random_states, save_state

RECORDINGS, TAGS = 1529, 50  # of MagnaTagATune's validation set
WAYS = ("whole", "final_layer")  # what is trained


def median_seconds(work: Callable[[], object], rounds: int) -> float:
    seconds = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def new_state(name: str, way: str, device: torch.device) -> TrainingState:
    """The state of a training after its first epoch, as `training.loop` saves it."""
    model = build_model(name, TAGS).to(device)
    if way == "final_layer":
        train_final_layer_only(model)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = make_schedule("published", MODELS[name], 1e-4).optimizer(0, trained)
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    best = {key: tensor.cpu().clone() for key, tensor in model.state_dict().items()}
    return TrainingState(
        {}, best=best, model=model.state_dict(), optimizer=optimizer.state_dict(), random=random_states(device)
    )


def main() -> None:
    parser = ScriptParser(__doc__)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda:N or mps")
    parser.add_argument("--rounds", type=positive_int, default=5, help="timed rounds")
    parser.add_argument("--dir", type=Path, default=Path(), help="a directory on the disk to write to")
    parser.add_argument("--out", type=Path, help="also write the figures to this JSON file")
    arguments = parser.parse_args()
    device = resolve_device(arguments.device)
    generator = np.random.default_rng(0)
    labels = (generator.random((RECORDINGS, TAGS)) < 0.1).astype(np.uint8)
    scores = generator.random((RECORDINGS, TAGS), dtype=np.float32)
    averages = median_seconds(lambda: macro_auc(labels, scores), arguments.rounds)
    print(f"macro averages over {RECORDINGS} recordings and {TAGS} tags: {averages:.2f} s")
    seconds: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(dir=arguments.dir) as directory:
        path = Path(directory) / "state.resume"
        for name in MODELS:
            for way in WAYS:
                state = new_state(name, way, device)
                saving = median_seconds(lambda state=state: save_state(path, state), arguments.rounds)
                seconds.setdefault(name, {})[way] = averages + saving
                print(f"{name}, {way}: state of {path.stat().st_size / 1e6:.0f} MB saved in {saving:.2f} s")
    if arguments.out:
        write_json(
            arguments.out,
            {"machine": machine(device), "versions": versions(), "seconds_at_the_end_of_an_epoch": seconds},
        )


if __name__ == "__main__":
    run_script(main)
