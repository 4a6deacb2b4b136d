"""Train a model on a corpus, from scratch or from another corpus' model.

    python train.py --dataset hindustani --data_dir /path/hindustani --model_name vgg_ish_from_fma

The checkpoint is written to `{models_dir}/{dataset}/{model_name}.pth`. A training that was
stopped goes on when the same command is run again.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from config import MODELS_DIR, run_config
from models.sizes import AST_SIZES, MUSICNN_LAYOUTS
from runtime.arguments import ScriptParser, add_run_arguments, positive_float, positive_int, seed_number
from runtime.errors import GraphError, run_script


def parse_arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments `given`, or else those of the command line."""
    parser = ScriptParser(description=__doc__)
    add_run_arguments(parser)
    parser.add_argument("--models_dir", type=Path, default=MODELS_DIR, help="where checkpoints are read and written")

    training = parser.add_argument_group("training (what is not given is as in the study)")
    training.add_argument("--epochs", type=positive_int, help="epochs to train; the study's number if not given")
    training.add_argument("--batch_size", type=positive_int, help="recordings a batch; the study's if not given")
    training.add_argument("--lr", type=positive_float, help="learning rate of Adam; the study's if not given")
    training.add_argument(
        "--schedule",
        choices=("published", "constant"),
        default="published",
        help="published: as the paper describes it; constant: Adam at one rate, as the published code did",
    )
    training.add_argument("--patience", type=positive_int, help="stop after this many epochs without a better one")
    training.add_argument(
        "--seed", type=seed_number, default=0, help="fixes initial weights, crops, their order and dropout"
    )
    training.add_argument(
        "--hold_batchnorm",
        action="store_true",
        help="with a final-layer transfer (_f): keep the frozen layers' BatchNorm still; the published runs did not",
    )

    model = parser.add_argument_group("model")
    model.add_argument(
        "--musicnn_layout",
        choices=MUSICNN_LAYOUTS,
        help="published: on the transposed input, as the authors' checkpoints; paper if not given, or the source's",
    )
    model.add_argument("--ast_size", choices=AST_SIZES, help="size of AST; base384 if not given, or the source's")
    model.add_argument(
        "--ast_init",
        default="imagenet",
        metavar="imagenet|random|FILE",
        help="initial weights of an AST from scratch: ImageNet's (downloaded), random, or a DeiT's file",
    )

    running = parser.add_argument_group("running")
    running.add_argument(
        "--spectrograms",
        choices=("auto", "files", "memory"),
        default="auto",
        help="read crops from files, or hold all recordings in the device's memory as float16; auto: memory on a "
        "GPU with room, else files",
    )
    running.add_argument("--save_every", type=positive_float, default=10.0, help="minutes between saves in an epoch")
    running.add_argument("--restart", action="store_true", help="begin anew, also if there is a result or saved state")
    running.add_argument("--deterministic", action="store_true", help="use deterministic algorithms only, on CUDA too")
    running.add_argument(
        "--no_graph",
        action="store_true",
        help="on CUDA: launch the operations of a step one by one, instead of recording them once and replaying them",
    )
    return parser.parse_args(given)


def main() -> None:
    arguments = parse_arguments()
    run = run_config(arguments.dataset, arguments.model_name)
    given = {
        "epochs": arguments.epochs,
        "batch_size": arguments.batch_size,
        "learning_rate": arguments.lr,
        "schedule": arguments.schedule,
        "patience": arguments.patience,
    }
    run = dataclasses.replace(run, **{name: value for name, value in given.items() if value is not None})

    from training.loop import train  # imports PyTorch: not before the arguments are known to be good
    from training.settings import TrainingSettings

    same = [field.name for field in dataclasses.fields(TrainingSettings) if field.name != "run"]
    try:
        train(TrainingSettings(run=run, **{name: getattr(arguments, name) for name in same}))
    except GraphError as error:
        # What is left of a failed recording on the GPU ends with this program, which begins again without one.
        print(f"NOTE: {error}. Beginning again with it: slower, and the same result.", flush=True)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:], "--no_graph"])


if __name__ == "__main__":
    run_script(main)
