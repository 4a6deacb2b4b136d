"""What the command lines of `predict.py` and `embed.py` have in common."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from config import MODELS_DIR, run_config
from runtime.arguments import positive_float, positive_int
from runtime.errors import DataError, UsageError

if TYPE_CHECKING:
    from tagging.tagger import Tagger


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Which checkpoints, and what a bare state dict lacks."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--checkpoint",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="saved_models/DATASET/MODEL_NAME.pth; give it again for each further checkpoint",
    )
    group.add_argument("--dataset", help="with --model_name, instead of --checkpoint: the corpus it was trained on")
    group.add_argument("--model_name", metavar="MODEL[_from_SOURCE[_f]]", help="the run's name")
    group.add_argument("--models_dir", type=Path, default=MODELS_DIR, help="where the checkpoints of runs are")
    group.add_argument(
        "--tags", type=Path, metavar="FILE", help="for a bare state dict: its tags, one a line, in order"
    )
    group.add_argument("--musicnn_layout", choices=("paper", "published"), help="for a bare state dict of Musicnn")
    group.add_argument(
        "--ast_normalisation",
        nargs=2,
        type=float,
        metavar=("MEAN", "STD"),
        help="for a bare state dict of AST: mean and standard deviation in dB",
    )


def add_computing_arguments(parser: argparse.ArgumentParser) -> None:
    """What of the recordings is used, and where it is computed."""
    group = parser.add_argument_group("chunks")
    group.add_argument(
        "--overlap",
        type=float,
        default=0.0,
        help="the part of a chunk that the next one shares, 0 to 0.95; the scores of evaluate.py need 0",
    )
    group.add_argument("--max_seconds", type=positive_float, help="use only the beginning; all if not given")
    group.add_argument(
        "--as_in_study",
        action="store_true",
        help="use what the study uses of recordings of the model's corpus: of makam the first 150 s, of hindustani "
        "780 s, of carnatic 330 s, of the others all",
    )
    group = parser.add_argument_group("running")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda:N or mps")
    group.add_argument(
        "--precision", choices=("float32", "bfloat16", "auto"), default="float32", help="of the forward pass"
    )
    group.add_argument("--batch_size", type=positive_int, help="chunks at once; 2 on a CPU, else 64, if not given")


def check_model_arguments(arguments: argparse.Namespace) -> None:
    """Find what is wrong before PyTorch is imported.

    Raises:
        UsageError: no checkpoint is named, or an unknown run; a normalisation that makes no sense.
    """
    if (arguments.dataset is None) != (arguments.model_name is None):
        raise UsageError("--dataset and --model_name go together")
    if arguments.dataset is None and not arguments.checkpoint:
        raise UsageError("say which model: --checkpoint FILE, or --dataset and --model_name")
    if arguments.dataset is not None:
        run_config(arguments.dataset, arguments.model_name)
    normalisation = arguments.ast_normalisation
    if normalisation is not None and not (all(map(math.isfinite, normalisation)) and normalisation[1] > 0):
        raise UsageError("--ast_normalisation takes a mean and a standard deviation above 0, both in dB")
    if "overlap" in arguments and not 0 <= arguments.overlap <= 0.95:
        raise UsageError(
            f"--overlap is the part of a chunk shared with the next, from 0 to 0.95, not {arguments.overlap}"
        )


def load_taggers(arguments: argparse.Namespace) -> list[Tagger]:
    """The models of the command line, in its order.

    Raises:
        UserError: see `Tagger.load` and `models.checkpoints.load_trained`.
    """
    from models.checkpoints import load_trained
    from runtime.devices import resolve_device, resolve_precision
    from tagging.tagger import Tagger, read_checkpoint

    device = resolve_device(arguments.device)
    precision = resolve_precision(arguments.precision, device)
    tags = None if arguments.tags is None else read_tags(arguments.tags)
    checkpoints = [read_checkpoint(path) for path in arguments.checkpoint]
    if arguments.dataset is not None:
        checkpoints.append(load_trained(arguments.models_dir, arguments.dataset, arguments.model_name))
    normalisation = arguments.ast_normalisation
    return [
        Tagger.from_checkpoint(
            checkpoint,
            device=device,
            precision=precision,
            batch_size=arguments.batch_size,
            tags=None if checkpoint.info is not None else tags,
            musicnn_layout=arguments.musicnn_layout,
            normalisation=None if normalisation is None else tuple(normalisation),
        )
        for checkpoint in checkpoints
    ]


def read_tags(path: Path) -> tuple[str, ...]:
    """The tags in a text file, one a line, empty lines left out.

    Raises:
        DataError: it cannot be read, or a tag is there twice.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error})") from error
    tags = tuple(line.strip() for line in lines if line.strip())
    twice = {tag for tag in tags if tags.count(tag) > 1}
    if twice:
        raise DataError(f"{path}: the tag '{min(twice)}' is there twice")
    return tags
