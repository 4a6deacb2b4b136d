"""Training and evaluation against the plain recipe.

    python -m benchmarks.bench_models --device cpu --rounds 5 --out bench.json

Both sides run in one process on the same random spectrograms, in turn, for several rounds.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import torch

from benchmarks.corpus import random_recordings
from benchmarks.plain import plain_scores, plain_steps
from benchmarks.timing import Result, compare, print_results, write_results
from config import MODELS
from datasets.crops import training_batches
from datasets.loading import FileSource, MemorySource
from datasets.recordings import Recordings
from evaluation.scoring import score_recordings
from models import AST_SIZES, TaggingModel, build_model
from runtime.arguments import ScriptParser, positive_int
from runtime.devices import Precision, describe, resolve_device, resolve_precision
from runtime.errors import run_script
from training.loop import training_step
from training.schedules import make_schedule


def bench_training(
    name: str,
    recordings: Recordings,
    device: torch.device,
    precision: Precision,
    rounds: int,
    steps: int,
    ast_size: str,
) -> Result:
    """Recordings a second in training."""
    baseline = plain_steps(new_model(name, recordings, device, ast_size, plain=True), recordings, device)
    ours = fast_steps(new_model(name, recordings, device, ast_size), recordings, device, precision)

    def take(stepper: Iterator[tuple[int, object]]) -> Callable[[], int]:
        return lambda: sum(next(stepper)[0] for _ in range(steps))

    return compare(f"training {name}", "recordings/s", take(baseline), take(ours), device, rounds)


def fast_steps(
    model: TaggingModel, recordings: Recordings, device: torch.device, precision: Precision
) -> Iterator[tuple[int, torch.Tensor]]:
    """Train for ever as `training.loop` does."""
    settings = MODELS[model.name]
    schedule = make_schedule("published", settings, settings.learning_rate)
    optimizer = schedule.optimizer(0, model.parameters())
    source = (MemorySource if device.type == "cuda" else FileSource)(recordings, model.input_frames, device, 4)
    labels = torch.from_numpy(recordings.labels).to(device, torch.float32)
    model.train()
    for epoch in count(1):
        batches = training_batches(recordings.n_frames, model.input_frames, settings.batch_size, 0, epoch)
        for batch, crops in source.load(batches):
            targets = labels[torch.from_numpy(batch.recordings).to(device)]
            yield len(batch), training_step(model, optimizer, crops, targets, precision)


def bench_evaluation(
    name: str, recordings: Recordings, device: torch.device, precision: Precision, rounds: int, ast_size: str
) -> Result:
    """Chunks a second in evaluation."""
    plain = new_model(name, recordings, device, ast_size, plain=True).eval()
    fast = new_model(name, recordings, device, ast_size).eval()
    chunks = int((recordings.n_frames // fast.input_frames).sum())

    def baseline() -> int:
        plain_scores(plain, recordings, device)
        return chunks

    def ours() -> int:
        score_recordings(fast, recordings, device, precision, batch_size=64)
        return chunks

    return compare(f"evaluation {name}", "chunks/s", baseline, ours, device, rounds)


def new_model(
    name: str, recordings: Recordings, device: torch.device, ast_size: str, plain: bool = False
) -> TaggingModel:
    torch.manual_seed(0)
    model = build_model(name, recordings.labels.shape[1], ast_size=ast_size, plain=plain)
    if model.needs_normalisation:
        model.set_normalisation(-40.0, 20.0)
    return model.to(device)


def main() -> None:
    parser = ScriptParser(__doc__)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda:N or mps")
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16"), help="of our side")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS), help="which models")
    parser.add_argument("--ast_size", default="base384", choices=AST_SIZES, help="size of AST")
    parser.add_argument("--what", nargs="+", default=["training", "evaluation"], choices=("training", "evaluation"))
    parser.add_argument("--rounds", type=positive_int, default=5, help="timed rounds")
    parser.add_argument("--steps", type=positive_int, default=3, help="training steps a round")
    parser.add_argument("--recordings", type=positive_int, default=48, help="30-second recordings")
    parser.add_argument("--out", type=Path, help="also write the figures to this JSON file")
    arguments = parser.parse_args()
    device = resolve_device(arguments.device)
    precision = resolve_precision(arguments.precision, device, cpu_bfloat16=True)
    print(f"ours: {describe(device, precision)}; baseline: float32")
    results = []
    with tempfile.TemporaryDirectory() as directory:
        recordings = random_recordings(Path(directory), arguments.recordings)
        few = random_recordings(Path(directory) / "few", 4)
        for name in arguments.models:
            if "training" in arguments.what:
                results.append(
                    bench_training(
                        name, recordings, device, precision, arguments.rounds, arguments.steps, arguments.ast_size
                    )
                )
            if "evaluation" in arguments.what:
                results.append(bench_evaluation(name, few, device, precision, arguments.rounds, arguments.ast_size))
    print_results(results)
    if arguments.out:
        write_results(
            arguments.out,
            results,
            device,
            precision=precision.name,
            rounds=arguments.rounds,
            ast_size=arguments.ast_size,
        )


if __name__ == "__main__":
    run_script(main)
