"""Write the embeddings of recordings: the activations of a trained model's penultimate layer.

    python embed.py --checkpoint saved_models/makam/ast.pth --out embeddings folder

512 numbers of VGG-ish, 200 of Musicnn, 768 of AST; one row a recording, or with `--per_chunk` a row
for each chunk. Takes what `predict.py` takes. A second run does only what is not finished.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from runtime.arguments import ScriptParser
from runtime.errors import UsageError, run_script
from tagging.arguments import add_computing_arguments, add_model_arguments, check_model_arguments, load_taggers


def parse_arguments() -> argparse.Namespace:
    parser = ScriptParser(description=__doc__)
    parser.add_argument("inputs", nargs="+", type=Path, metavar="FILE_OR_FOLDER", help="what to embed")
    parser.add_argument("--out", type=Path, metavar="DIR", required=True, help="where results are written")
    parser.add_argument("--per_chunk", action="store_true", help="a row for each chunk, not the mean of a recording")
    parser.add_argument(
        "--format",
        choices=("npy", "parquet"),
        default="npy",
        help="embeddings.npy with index.csv, or embeddings.parquet with all",
    )
    add_model_arguments(parser)
    add_computing_arguments(parser)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    check_model_arguments(arguments)
    if len(arguments.checkpoint) + (arguments.dataset is not None) > 1:
        raise UsageError("embeddings of several models do not fit into one table; give one checkpoint at a time")

    # Imports PyTorch: not before the arguments are known to be good.
    from tagging.embedding import embed
    from tagging.recordings import failure, find_recordings

    recordings = find_recordings(arguments.inputs, arguments.out)
    (tagger,) = load_taggers(arguments)
    files, failures = embed(
        recordings,
        tagger,
        arguments.out,
        per_chunk=arguments.per_chunk,
        file_format=arguments.format,
        overlap=arguments.overlap,
        max_seconds=arguments.max_seconds,
        as_in_study=arguments.as_in_study,
    )
    if files:
        done = len(recordings) - len(failures)
        print(f"{done} recordings by {tagger.label}, {tagger.model.embedding_size} numbers each")
    for path in files:
        print(f"written: {path}")
    if error := failure(failures, len(recordings)):
        raise error


if __name__ == "__main__":
    run_script(main)
