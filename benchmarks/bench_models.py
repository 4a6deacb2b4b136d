"""Training and evaluation against the plain recipe.

    python -m benchmarks.bench_models --device cpu --rounds 5 --out build/bench/models-cpu.json

The two sides are processes of their own (one sets the C library's memory handling, the other must
not have it) that work in turn on the same random spectrograms, for several rounds. On a GPU the
rate of ours is also told as a share of the rate of large matrix products in the same precision.
"""

from __future__ import annotations

import math
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from benchmarks.corpus import random_recordings
from benchmarks.flops import flops_per_chunk, matrix_rate
from benchmarks.plain import plain_scores, plain_steps
from benchmarks.timing import Result, compare, print_results, synchronise, write_results
from config import MODELS
from datasets.crops import training_batches
from datasets.loading import FileSource, MemorySource
from datasets.recordings import Recordings
from evaluation.scoring import score_recordings
from models import AST_SIZES, TaggingModel, build_model
from models.transfer import train_final_layer_only
from runtime.arguments import ScriptParser, positive_float, positive_int
from runtime.cuda_graphs import CudaGraphs
from runtime.devices import Precision, describe, resolve_device, resolve_precision
from runtime.errors import run_script
from runtime.memory import keep_freed_memory
from training.schedules import make_schedule
from training.step import TrainingStep

KINDS = ("training", "final_layer", "evaluation")


@dataclass(frozen=True)
class Work:
    """What one side does over and over: training steps, or the evaluation of all recordings."""

    side: str  # "baseline" or "ours"
    what: str  # one of KINDS; "final_layer" trains that alone
    model: str
    ast_size: str
    device: str
    precision: str
    steps: int
    recordings: Recordings

    def round(self) -> Callable[[], int]:
        """A function that does one round and returns how many recordings or chunks it took."""
        device = resolve_device(self.device)
        plain = self.side == "baseline"
        # Not for the plain side, whose convolutions are to take what PyTorch takes by default, TF32.
        precision = None if plain else resolve_precision(self.precision, device)
        model = new_model(self.model, self.recordings, device, self.ast_size, plain)
        if self.what == "final_layer":
            train_final_layer_only(model)
        if self.what != "evaluation":
            source = (model, self.recordings, device)
            stepper = plain_steps(*source) if plain else fast_steps(*source, precision)
            return lambda: sum(next(stepper)[0] for _ in range(self.steps))
        model.eval()
        chunks = int((self.recordings.n_frames // model.input_frames).sum())

        def evaluate() -> int:
            if plain:
                plain_scores(model, self.recordings, device)
            else:
                score_recordings(model, self.recordings, device, precision, batch_size=64)
            return chunks

        return evaluate


def serve(work: Work, connection: Connection) -> None:
    """The life of one side's process: a round whenever asked."""
    device = resolve_device(work.device)
    if work.side == "ours" and device.type == "cpu":
        keep_freed_memory()
    one_round = work.round()
    while connection.recv():
        items = one_round()
        synchronise(device)
        connection.send(items)


@contextmanager
def process_of(work: Work) -> Iterator[Callable[[], int]]:
    """A process for one side; gives a function that has it do a round."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(work, theirs), daemon=True)
    process.start()
    theirs.close()

    def one_round() -> int:
        ours.send(True)
        return ours.recv()

    try:
        yield one_round
        ours.send(False)
        process.join(60)
    finally:
        ours.close()
        process.terminate()
        process.join()


def fast_steps(
    model: TaggingModel, recordings: Recordings, device: torch.device, precision: Precision
) -> Iterator[tuple[int, torch.Tensor]]:
    """Train for ever as `training.loop` does."""
    settings = MODELS[model.name]
    schedule = make_schedule("published", settings, settings.learning_rate)
    optimizer = schedule.optimizer(0, [parameter for parameter in model.parameters() if parameter.requires_grad])
    source = (MemorySource if device.type == "cuda" else FileSource)(recordings, model.input_frames, device, 4)
    recorder = CudaGraphs(device) if device.type == "cuda" else None
    take_step = TrainingStep(model.train(), precision, settings.batch_size, recorder)
    for epoch in count(1):
        batches = training_batches(recordings.n_frames, model.input_frames, settings.batch_size, 0, epoch)
        for batch, crops, targets in source.load(batches):
            yield len(batch), take_step(optimizer, crops, targets)


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
    parser.add_argument("--what", nargs="+", default=["training", "evaluation"], choices=KINDS, help="which work")
    parser.add_argument("--rounds", type=positive_int, default=5, help="timed rounds")
    parser.add_argument("--steps", type=positive_int, default=2, help="training steps a round")
    parser.add_argument("--minutes", type=positive_float, help="fewer rounds where all would take longer than this")
    parser.add_argument("--out", type=Path, help="also write the figures to this JSON file")
    arguments = parser.parse_args()
    started = time.monotonic()
    device = resolve_device(arguments.device)
    precision = resolve_precision(arguments.precision, device, cpu_bfloat16=True)
    print(f"ours: {describe(device, precision)}; baseline: float32")
    peak = matrix_rate(device, getattr(torch, precision.name)) if device.type == "cuda" else None
    if peak:
        print(f"matrix products in {precision.name}: {peak / 1e12:.1f} TFLOP/s")
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as directory:
        gpu = device.type == "cuda"  # does in a moment what takes a CPU a minute
        many = random_recordings(Path(directory) / "many", 960 if gpu else 48)
        few = random_recordings(Path(directory) / "few", 256 if gpu else 4)
        todo = [(name, what) for name in arguments.models for what in arguments.what]
        for done, (name, what) in enumerate(todo):
            recordings = few if what == "evaluation" else many
            options = (arguments.ast_size, str(device), precision.name, arguments.steps, recordings)
            left = 60 * arguments.minutes - (time.monotonic() - started) if arguments.minutes else math.inf
            deadline = time.monotonic() + left / (len(todo) - done)  # what one does not need is the next ones'
            with (
                process_of(Work("baseline", what, name, *options)) as baseline,
                process_of(Work("ours", what, name, *options)) as ours,
            ):
                unit = "chunks/s" if what == "evaluation" else "recordings/s"
                result = compare(f"{what} {name}", unit, baseline, ours, arguments.rounds, deadline)
            if peak:
                flops = flops_per_chunk(name, what, recordings.labels.shape[1], arguments.ast_size)
                result = replace(result, utilisation=flops * result.ours / peak)
            results.append(result)
            print_results(results[-1:])
    print_results(results)
    if arguments.out:
        write_results(
            arguments.out, results, device, precision=precision.name, ast_size=arguments.ast_size, matrix_rate=peak
        )


if __name__ == "__main__":
    run_script(main)
