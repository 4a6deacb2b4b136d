"""What the command lines of the scripts have in common."""

from __future__ import annotations

import argparse
import math
from pathlib import Path


class ScriptParser(argparse.ArgumentParser):
    """A parser whose help shows defaults and keeps the description's lines; it knows `--debug`."""

    def __init__(self, description: str | None) -> None:
        super().__init__(description=description, formatter_class=_HelpFormatter)
        self.add_argument("--debug", action="store_true", help="show the traceback of errors")


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False:  # "(default: None)" tells nobody anything
            return action.help
        return super()._get_help_string(action)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that `train.py` and `evaluate.py` share."""
    parser.add_argument("--dataset", required=True, help="magnatagatune, fma, lyra, makam, hindustani or carnatic")
    parser.add_argument(
        "--model_name",
        required=True,
        metavar="MODEL[_from_SOURCE[_f]]",
        help="vgg_ish, musicnn or ast; from the model trained on SOURCE; with _f only the final layer is trained",
    )
    parser.add_argument("--data_dir", type=Path, help="the corpus' directory; data/DATASET if not given")
    parser.add_argument("--skip_missing", action="store_true", help="leave out recordings without spectrogram or tags")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda:N or mps")
    parser.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
        help="auto: bfloat16 (mixed precision) where the device computes it natively, else float32",
    )
    parser.add_argument(
        "--plain",
        action="store_true",
        help="compute each layer as it is written down, not rearranged for speed: the same function, other rounding",
    )
    parser.add_argument("--num_workers", type=worker_count, default=4, help="threads that read spectrograms ahead")


def positive_int(text: str) -> int:
    """An argument that must be a whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def seed_number(text: str) -> int:
    """An argument that must be a whole number from 0 to 2⁶³ − 1, which every generator takes."""
    value = int(text)
    if not 0 <= value < 2**63:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 2^63 - 1")
    return value


def worker_count(text: str) -> int:
    """An argument that must be a whole number from 0 to 256."""
    value = int(text)
    if not 0 <= value <= 256:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 256")
    return value


def positive_float(text: str) -> float:
    """An argument that must be a finite number above 0."""
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return value
