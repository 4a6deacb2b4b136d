"""Export a trained checkpoint for other software: safetensors, ONNX and a model card.

    python export.py --dataset makam --model_name ast --out exported

Writes `{out}/{dataset}-{model_name}.safetensors` (weights, and all the checkpoint knows as metadata),
`.onnx` (needs requirements-export.txt) and `.md`, the model card, with the results of `evaluate.py` if
they are of this checkpoint.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from config import EVALUATION_DIR, MODELS_DIR, run_config
from runtime.arguments import ScriptParser
from runtime.errors import UsageError, run_script

FORMATS = ("safetensors", "onnx")


def parse_arguments() -> argparse.Namespace:
    parser = ScriptParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="saved_models/DATASET/MODEL_NAME.pth")
    parser.add_argument("--dataset", help="with --model_name, instead of --checkpoint: the corpus it was trained on")
    parser.add_argument("--model_name", metavar="MODEL[_from_SOURCE[_f]]", help="the run's name")
    parser.add_argument("--models_dir", type=Path, default=MODELS_DIR, help="where the checkpoints of runs are")
    parser.add_argument("--evaluation_dir", type=Path, default=EVALUATION_DIR, help="where results are")
    parser.add_argument("--out", type=Path, metavar="DIR", required=True, help="where the files are written")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS), help="beside the model card")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    by_name = arguments.dataset is not None and arguments.model_name is not None
    if by_name == (arguments.checkpoint is not None) or (arguments.dataset is None) != (arguments.model_name is None):
        raise UsageError("say which checkpoint: --checkpoint FILE, or --dataset and --model_name")
    if by_name:
        run_config(arguments.dataset, arguments.model_name)

    from models.checkpoints import load_checkpoint, load_trained  # imports PyTorch
    from tagging.export import export

    if by_name:
        checkpoint = load_trained(arguments.models_dir, arguments.dataset, arguments.model_name)
    else:
        checkpoint = load_checkpoint(arguments.checkpoint)
    for path in export(checkpoint, arguments.out, arguments.formats, arguments.evaluation_dir):
        print(f"written: {path}")


if __name__ == "__main__":
    run_script(main)
