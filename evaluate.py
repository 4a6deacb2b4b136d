"""Evaluate a trained model on its corpus' test set.

    python evaluate.py --dataset lyra --data_dir /path/lyra --model_name musicnn_from_magnatagatune

Writes `{evaluation_dir}/{dataset}/{model_name}.txt` (ROC-AUC, PR-AUC and the classification
report), `.json` (everything, per tag, with where it comes from) and `.csv` (scores per recording).
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from config import EVALUATION_DIR, MODELS_DIR, run_config
from runtime.arguments import ScriptParser, add_run_arguments, positive_int
from runtime.errors import UsageError, run_script


def parse_arguments() -> argparse.Namespace:
    parser = ScriptParser(description=__doc__)
    add_run_arguments(parser)
    parser.add_argument("--models_dir", type=Path, default=MODELS_DIR, help="where checkpoints are")
    parser.add_argument("--evaluation_dir", type=Path, default=EVALUATION_DIR, help="where results are written")
    parser.add_argument("--batch_size", type=positive_int, default=64, help="chunks that go through the model at once")
    parser.add_argument(
        "--musicnn_layout",
        choices=("paper", "published"),
        help="published: on the transposed input, as the authors' checkpoints need; the checkpoint's if not given",
    )
    parser.add_argument(
        "--ast_normalisation",
        nargs=2,
        type=float,
        metavar=("MEAN", "STD"),
        help="for an AST state dict that does not carry them: mean and standard deviation in dB; if not given they "
        "are measured over the training set",
    )
    parser.add_argument("--plots", action="store_true", help="also draw ROC and PR curves and the metrics of each tag")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    run = run_config(arguments.dataset, arguments.model_name)
    normalisation = arguments.ast_normalisation
    if normalisation is not None and not (all(map(math.isfinite, normalisation)) and normalisation[1] > 0):
        raise UsageError("--ast_normalisation takes a mean and a standard deviation above 0, both in dB")

    from datasets.normalisation import Normalisation  # imports PyTorch: not before the arguments are known to be good
    from evaluation.run import EvaluationSettings, evaluate

    metrics, recordings, files = evaluate(
        EvaluationSettings(
            run=run,
            data_dir=arguments.data_dir,
            models_dir=arguments.models_dir,
            evaluation_dir=arguments.evaluation_dir,
            batch_size=arguments.batch_size,
            device=arguments.device,
            precision=arguments.precision,
            plain=arguments.plain,
            num_workers=arguments.num_workers,
            musicnn_layout=arguments.musicnn_layout,
            normalisation=Normalisation(*normalisation) if normalisation else None,
            skip_missing=arguments.skip_missing,
        )
    )
    print(f"ROC-AUC {metrics.roc_auc:.4f}  PR-AUC {metrics.pr_auc:.4f}")
    if metrics.exclusion_note:
        print(metrics.exclusion_note)
    print(f"written: {files.text}, .json and .csv")
    if arguments.plots:
        from evaluation.plots import save_plots

        save_plots(files, f"{run.name} on {run.dataset.title}", metrics, recordings)
        print(f"written: {files.curves} and {files.tag_bars}")


if __name__ == "__main__":
    run_script(main)
