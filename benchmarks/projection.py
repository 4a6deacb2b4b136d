"""How long the whole study would take on a device whose rates have been measured.

    python -m benchmarks.projection build/bench/models-gpu.json build/bench/epoch-end-gpu.json

Reads what `bench_models.py` and `bench_epoch_end.py` have written and multiplies: the training
recordings, validation and test chunks, and epochs of all 198 runs by the seconds each takes.
Nothing is run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from config import DATASETS, MODELS, MODELS_CONFIG, RunConfig
from runtime.arguments import ScriptParser, positive_float
from runtime.errors import DataError, run_script

ASSUMPTIONS = """\
Assumptions: set sizes and epochs of the published study, no early stopping; every recording has a
spectrogram. Test recordings last 30 s (MagnaTagATune, FMA, and Lyra, whose lengths are not
published) or the longest that is used of them (150 s makam, 780 s Hindustani, 330 s Carnatic).
Validation scores a few chunks of each recording every epoch, at the rate of evaluation. Final-layer
transfers go at their own rate where it was measured ("final_layer"), else at that of whole ones.
At the end of each epoch come macro averages and the saving of the state, as long as measured. One
run after another; preprocessing, downloads, tables and figures not counted."""


@dataclass(frozen=True)
class CorpusSize:
    """Recordings of the published splits, and how long those of the test set are taken to be."""

    train: int
    valid: int
    test: int
    test_seconds: float


SIZES: Mapping[str, CorpusSize] = {
    "magnatagatune": CorpusSize(15247, 1529, 4332, 30),
    "fma": CorpusSize(17486, 2498, 4996, 30),
    "lyra": CorpusSize(1116, 124, 330, 30),
    "makam": CorpusSize(3709, 529, 1059, 150),
    "hindustani": CorpusSize(844, 120, 240, 780),
    "carnatic": CorpusSize(1829, 261, 522, 330),
}


@dataclass(frozen=True)
class Rates:
    """What a device does a second, by model."""

    training: Mapping[str, float]  # recordings
    final_layer: Mapping[str, float]  # recordings, where only the final layer is trained
    evaluation: Mapping[str, float]  # chunks
    epoch_end: Mapping[str, Mapping[str, float]]  # seconds, by "whole" and "final_layer"


def read_rates(path: Path, epoch_end: Path) -> Rates:
    """Our rates in JSON files of `bench_models.py` and `bench_epoch_end.py`.

    Raises:
        DataError: one cannot be read, or a model was not measured.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        measured = {result["name"]: float(result["ours"]) for result in content["results"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no file of figures that bench_models.py wrote: {error}") from error
    try:
        content = json.loads(epoch_end.read_text(encoding="utf-8"))["seconds_at_the_end_of_an_epoch"]
        ends = {model: {way: float(content[model][way]) for way in ("whole", "final_layer")} for model in MODELS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{epoch_end} is no file of figures that bench_epoch_end.py wrote: {error}") from error
    missing = [f"{what} {model}" for what in ("training", "evaluation") for model in MODELS]
    missing = [name for name in missing if not measured.get(name, 0) > 0]
    if missing:
        raise DataError(f"{path} has no rate of {', '.join(missing)}; measure all models (make bench-gpu)")
    training = {model: measured[f"training {model}"] for model in MODELS}
    return Rates(
        training=training,
        final_layer={model: measured.get(f"final_layer {model}", rate) for model, rate in training.items()},
        evaluation={model: measured[f"evaluation {model}"] for model in MODELS},
        epoch_end=ends,
    )


def draws(run: RunConfig) -> int:
    """Recordings drawn in all epochs of a run."""
    return run.epochs * SIZES[run.dataset.name].train


def seconds(run: RunConfig, rates: Rates, start_seconds: float = 0.0) -> float:
    """Time of a run: start, training, validation, ends of epochs, and the evaluation of its test set."""
    size, model = SIZES[run.dataset.name], run.model.name
    rate = (rates.final_layer if run.name.final_layer_only else rates.training)[model]
    chunks = run.epochs * run.validation_chunks * size.valid
    chunks += size.test * max(1, math.floor(size.test_seconds / run.model.input_seconds))
    ends = run.epochs * rates.epoch_end[model]["final_layer" if run.name.final_layer_only else "whole"]
    return start_seconds + draws(run) / rate + chunks / rates.evaluation[model] + ends


def main() -> None:
    parser = ScriptParser(__doc__)
    parser.add_argument("figures", type=Path, help="JSON file of bench_models.py, with all three models")
    parser.add_argument("epoch_end", type=Path, help="JSON file of bench_epoch_end.py")
    parser.add_argument(
        "--start_seconds", type=positive_float, default=15.0, help="from a command to its first step, of each run"
    )
    arguments = parser.parse_args()
    rates = read_rates(arguments.figures, arguments.epoch_end)
    print(f"{'model':<9} {'runs':>5} {'million draws':>14} " + "".join(f"{name:>15}" for name in DATASETS) + "  hours")
    everything = [run for runs in MODELS_CONFIG.values() for run in runs.values()]
    for model in MODELS:
        runs = [run for run in everything if run.model.name == model]
        hours = {
            name: sum(seconds(run, rates, arguments.start_seconds) for run in runs if run.dataset.name == name) / 3600
            for name in DATASETS
        }
        cells = "".join(f"{value:>15.1f}" for value in hours.values())
        print(f"{model:<9} {len(runs):>5} {sum(map(draws, runs)) / 1e6:>14.1f} {cells} {sum(hours.values()):>6.1f}")
    total = sum(seconds(run, rates, arguments.start_seconds) for run in everything) / 3600
    print(f"\n{len(everything)} runs, {sum(map(draws, everything)) / 1e6:.1f} million draws: {total:.1f} hours\n")
    print(f"{ASSUMPTIONS}\nEach run takes {arguments.start_seconds:g} s from the command to its first step.")


if __name__ == "__main__":
    run_script(main)
