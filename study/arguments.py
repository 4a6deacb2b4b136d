"""What the command lines of `study/` have in common: which results they are about, and where the output goes."""

from __future__ import annotations

import argparse
from pathlib import Path

from config import DATASETS, EVALUATION_DIR, MODELS, MODELS_DIR, ROOT
from evaluation.published_results import PUBLISHED_RESULTS
from runtime.arguments import seed_number
from study.results import Study, load_study, published_study

RESULTS_DIR = ROOT / "results"


def add_study_arguments(parser: argparse.ArgumentParser) -> None:
    """`--evaluation_dir`, `--datasets` … and `--published`."""
    parser.add_argument(
        "--published",
        nargs="?",
        type=Path,
        const=PUBLISHED_RESULTS,
        metavar="CSV",
        help="use the figures published with the paper instead (from a file like the authors' results.csv)",
    )
    parser.add_argument("--evaluation_dir", type=Path, default=EVALUATION_DIR, help="where evaluate.py wrote")
    parser.add_argument("--models_dir", type=Path, default=MODELS_DIR, help="where train.py wrote")
    parser.add_argument("--results_dir", type=Path, default=RESULTS_DIR, help="where output is written")
    parser.add_argument("--datasets", nargs="+", default=list(DATASETS), choices=list(DATASETS), metavar="DATASET")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS), metavar="MODEL")
    parser.add_argument("--seeds", nargs="+", type=seed_number, default=[0], metavar="N")
    parser.add_argument("--synthetic", action="store_true", help="say everywhere that the data are synthetic")
    parser.add_argument("--note", action="append", default=[], help="a sentence to print with every result")


def study_from(arguments: argparse.Namespace) -> Study:
    """The study the arguments speak of.

    Raises:
        DataError: there are no results, or damaged ones.
    """
    if arguments.published:
        return published_study(arguments.published)
    return load_study(
        arguments.evaluation_dir,
        arguments.datasets,
        arguments.models,
        arguments.seeds,
        notes=arguments.note,
        synthetic=arguments.synthetic,
    )
