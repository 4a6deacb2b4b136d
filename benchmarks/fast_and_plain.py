"""Do the fast ways of computing change what is learnt? Both are trained with several seeds and compared.

    python -m benchmarks.fast_and_plain --models vgg_ish musicnn ast --seeds 5

Trains on a demo corpus of SYNTHETIC sounds and evaluates on its test set, once as `train.py` and
`evaluate.py` do by themselves and once with `--plain --precision float32` and crops from files in
one thread. The two should differ by less than seeds do. What is trained already is not trained
again: the same command goes on where it was stopped.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.timing import machine, write_json
from config import MODELS, ROOT, run_config
from evaluation.run import EvaluationSettings, evaluate
from runtime.arguments import ScriptParser, positive_int
from runtime.devices import PRECISIONS, describe, resolve_device, resolve_precision
from runtime.errors import UserError, run_script
from runtime.provenance import versions
from training.loop import train
from training.settings import TrainingSettings

DATASET = "makam"
EPOCHS, BATCH_SIZE, LEARNING_RATE = 6, 8, 3e-4  # as in the demo: a hundred recordings, learnt in minutes
AST = {"ast_size": "tiny224", "ast_init": "random"}


def ways(precision: str) -> dict[str, dict[str, Any]]:
    """Options of the two ways, the fast one in the given precision."""
    return {"fast": {"precision": precision}, "plain": {"plain": True, "precision": "float32", "num_workers": 0}}


@dataclass(frozen=True)
class Comparison:
    """Test ROC-AUC of one model, one value a seed."""

    model: str
    fast: list[float]
    plain: list[float]

    @property
    def difference(self) -> float:
        """Of the means."""
        return statistics.mean(self.fast) - statistics.mean(self.plain)

    @property
    def spread(self) -> float:
        """Standard deviation from seed to seed of the plain way."""
        return statistics.stdev(self.plain)

    def line(self) -> str:
        """A row of the table."""
        cells = [f"{self.model:<9}"]
        for values in (self.fast, self.plain):
            cells.append(" ".join(f"{value:.4f}" for value in values))
            cells.append(f"{statistics.mean(values):.4f}")
        return " | ".join([*cells, f"{self.difference:+.4f}", f"{self.spread:.4f}"])


def make_corpus(directory: Path) -> None:
    """The demo corpus and its spectrograms; what is there is kept.

    Raises:
        UserError: a command failed; it has said why.
    """
    data = ("--dataset", DATASET)
    for command in (
        ("-m", "datasets.demo", *data, "--out", directory, "--seconds", 10),
        ("preprocessing/create_mel_spectrograms.py", *data, "--data_dir", directory),
    ):
        done = subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, check=False)
        if done.returncode:
            raise UserError(f"making the demo corpus failed; remove {directory} and try again")


def roc_auc_of_test_set(directory: Path, model: str, way: str, options: dict[str, Any], seed: int) -> float:
    """Train and evaluate once."""
    run = replace(run_config(DATASET, model), epochs=EPOCHS, batch_size=BATCH_SIZE, learning_rate=LEARNING_RATE)
    place = directory / f"{way}-{options['precision']}-{seed}"
    data, models = directory / "corpus", place / "saved_models"
    train(
        TrainingSettings(run, data, models, seed, spectrograms="files" if way == "plain" else "auto", **options, **AST)
    )
    metrics, _, _ = evaluate(EvaluationSettings(run, data, models, place / "evaluation", **options))
    return metrics.roc_auc


def print_table(comparisons: Sequence[Comparison]) -> None:
    print("\nTest ROC-AUC on a SYNTHETIC corpus, a value a seed")
    print("model | fast | mean | plain | mean | difference of the means | standard deviation over seeds")
    for comparison in comparisons:
        print(comparison.line())


def main() -> None:
    parser = ScriptParser(__doc__)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS), help="which models")
    parser.add_argument("--seeds", type=positive_int, default=5, help="how many seeds, two or more")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda:N or mps")
    parser.add_argument("--precision", default="auto", choices=PRECISIONS, help="of the fast way")
    parser.add_argument("--dir", type=Path, default=ROOT / "build" / "fast_and_plain", help="where all of it goes")
    parser.add_argument("--out", type=Path, help="also write the figures to this JSON file")
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error("a spread over seeds needs two of them")
    device = resolve_device(arguments.device)
    precision = resolve_precision(arguments.precision, device, cpu_bfloat16=True)
    options = {way: {**rest, "device": str(device)} for way, rest in ways(precision.name).items()}
    make_corpus(arguments.dir / "corpus")
    comparisons = []
    for model in arguments.models:
        aucs: dict[str, list[float]] = {way: [] for way in options}
        for seed in range(arguments.seeds):
            for way, values in aucs.items():
                values.append(roc_auc_of_test_set(arguments.dir, model, way, options[way], seed))
        comparisons.append(Comparison(model, **aucs))
        print_table(comparisons)
    if arguments.out:
        content = {
            "machine": machine(device),
            "fast": describe(device, precision),
            "versions": versions(),
            "comparisons": [{**asdict(c), "difference": c.difference, "spread": c.spread} for c in comparisons],
        }
        write_json(arguments.out, content)


if __name__ == "__main__":
    run_script(main)
