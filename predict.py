"""Tag recordings with trained models.

    python predict.py --checkpoint saved_models/makam/ast.pth song.mp3
    python predict.py --dataset makam --model_name ast --out results --over_time folder

Takes audio files, mel-spectrograms (.npy) and folders of both. Prints the best tags of each
family; `--out` writes the scores of all tags as CSV and JSON, with `--over_time` also the scores of
each chunk as CSV and picture. A second run does only what is not finished.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from runtime.arguments import ScriptParser, positive_int
from runtime.errors import UsageError, run_script
from tagging.arguments import add_computing_arguments, add_model_arguments, check_model_arguments, load_taggers


def parse_arguments() -> argparse.Namespace:
    parser = ScriptParser(description=__doc__)
    parser.add_argument("inputs", nargs="+", type=Path, metavar="FILE_OR_FOLDER", help="what to tag")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where results are written; only printed if not given")
    parser.add_argument("--over_time", action="store_true", help="also write the scores of each chunk, as CSV and PNG")
    parser.add_argument("--top", type=positive_int, default=3, help="tags of each family to print")
    add_model_arguments(parser)
    add_computing_arguments(parser)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    check_model_arguments(arguments)
    if arguments.over_time and arguments.out is None:
        raise UsageError("--over_time writes files: say where with --out DIR")
    sys.stdout.reconfigure(errors="surrogateescape")  # names of files may be in any encoding

    # Imports PyTorch: not before the arguments are known to be good.
    from tagging.prediction import PredictionSettings, predict
    from tagging.recordings import failure, find_recordings

    recordings = find_recordings(arguments.inputs, arguments.out)
    settings = PredictionSettings(
        out=arguments.out,
        over_time=arguments.over_time,
        overlap=arguments.overlap,
        max_seconds=arguments.max_seconds,
        as_in_study=arguments.as_in_study,
        top=arguments.top,
    )
    failures = predict(recordings, load_taggers(arguments), settings)
    if arguments.out is not None:
        print(f"written: {arguments.out / 'scores.csv'} and .json" + (", over_time/" if arguments.over_time else ""))
    if error := failure(failures, len(recordings)):
        raise error


if __name__ == "__main__":
    run_script(main)
