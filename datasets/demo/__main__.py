"""`python -m datasets.demo --dataset D --out DIR`: make a small SYNTHETIC corpus."""

from __future__ import annotations

import argparse
from pathlib import Path

from config import DATASETS
from datasets.demo.corpus import Settings, make_corpus
from datasets.demo.recipes import RECIPES
from runtime.errors import UsageError, run_script


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m datasets.demo",
        description="Make a small SYNTHETIC corpus in the on-disk layout of one of the six: computed sounds, "
        "not recordings. It is for trying the whole path in minutes; results on it say nothing about music.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--dataset", required=True, choices=list(DATASETS), help="whose layout and tag names")
    parser.add_argument("--out", required=True, type=Path, help="directory of the corpus: new, empty or a demo corpus")
    defaults = ", ".join(f"{dataset} {recipe.recordings}" for dataset, recipe in RECIPES.items())
    parser.add_argument(
        "--recordings",
        type=int,
        default=argparse.SUPPRESS,
        help=f"how many in the three splits together (default: {defaults})",
    )
    parser.add_argument("--seconds", type=float, default=12.0, help="nominal length of a recording")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same corpus")
    parser.add_argument("--debug", action="store_true", help="show the traceback of errors")
    return parser.parse_args()


def main() -> None:
    args = _arguments()
    recordings = getattr(args, "recordings", RECIPES[args.dataset].recordings)
    if not 4 <= args.seconds <= 600:
        raise UsageError(f"--seconds {args.seconds:g} is out of range; use 4 to 600")
    if args.seed < 0:
        raise UsageError(f"--seed {args.seed} is negative; use 0 or more")
    summary = make_corpus(Settings(args.dataset, recordings, args.seconds, args.seed), args.out)
    done = "made" if summary.made else "already finished, nothing to do"
    print(f"SYNTHETIC {args.dataset} demo corpus in {args.out}: {done}; {summary}")


if __name__ == "__main__":
    run_script(main)
