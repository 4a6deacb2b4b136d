"""How long a training takes from its command to its first step, on a large corpus.

    python -m benchmarks.bench_start --recordings 20000 --device cpu

The corpus is synthetic: spectrograms of 30 s under as many names as there are recordings (hard
links to a few files), so that they come from the page cache. AST, from scratch and of random weights,
measures its normalisation over all of them first. There is no baseline: the published code starts
otherwise (it estimates the normalisation from crops).
"""

from __future__ import annotations

import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.corpus import random_recordings
from benchmarks.timing import machine, write_json
from config import MODELS, ROOT
from runtime.arguments import ScriptParser, positive_int
from runtime.devices import resolve_device
from runtime.errors import UserError, run_script
from runtime.provenance import versions

FIRST_STEP = re.compile(rb"epoch 1:.*\| [1-9]\d*/")  # tqdm, once a step is done


def make_corpus(root: Path, count: int) -> None:
    """A corpus in the layout of the CompMusic corpora: `count` recordings to train on."""
    mels = root / "mel-spectrograms"
    files = sorted({file.path for file in random_recordings(root / "different", count).files})
    mels.mkdir()
    sets = {"train": count, "valid": max(count // 10, 2), "test": max(count // 5, 2)}
    metadata = {}
    (root / "split").mkdir()
    for name, size in sets.items():
        ids = [f"{name}-{i:06d}" for i in range(size)]
        np.save(root / "split" / f"{name}.npy", np.array(ids))
        for i, id_ in enumerate(ids):
            os.link(files[i % len(files)], mels / f"{id_}.npy")
            metadata[id_] = [f"makam--{tag}" for tag in range(30) if (i + tag) % 7 == 0]
    np.save(root / "split" / "metadata.npy", metadata, allow_pickle=True)


def seconds_to_first_step(corpus: Path, model: str, device: str) -> float:
    """Start a training, wait for its first step, end it.

    Raises:
        UserError: it ended before.
    """
    with tempfile.TemporaryDirectory(dir=corpus) as models:
        options = ("--data_dir", corpus, "--models_dir", models, "--model_name", model, "--ast_init", "random")
        command = [sys.executable, ROOT / "train.py", "--dataset", "makam", "--device", device, *options]
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, bufsize=0)
        told = b""
        try:
            while not FIRST_STEP.search(told):
                read = process.stderr.read(65536)
                if not read:
                    raise UserError(f"the training ended before its first step: {told.decode()[-300:]}")
                told += read
            return time.perf_counter() - started
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()


def main() -> None:
    parser = ScriptParser(__doc__)
    parser.add_argument("--recordings", type=positive_int, default=20_000, help="in the training set")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda:N or mps")
    parser.add_argument("--models", nargs="+", default=["vgg_ish", "ast"], choices=list(MODELS), help="which models")
    parser.add_argument("--rounds", type=positive_int, default=3, help="starts of each model")
    parser.add_argument("--out", type=Path, help="also write the figures to this JSON file")
    arguments = parser.parse_args()
    device = resolve_device(arguments.device)
    figures = {}
    with tempfile.TemporaryDirectory() as directory:
        corpus = Path(directory)
        make_corpus(corpus, arguments.recordings)
        for model in arguments.models:
            seconds = [seconds_to_first_step(corpus, model, str(device)) for _ in range(arguments.rounds)]
            figures[model] = {"median_seconds": statistics.median(seconds), "seconds": seconds}
            listed = ", ".join(f"{value:.1f}" for value in seconds)
            print(f"{model}, {arguments.recordings} recordings: first step after {listed} s", flush=True)
    if arguments.out:
        settings = {"recordings": arguments.recordings, "machine": machine(device), "versions": versions()}
        write_json(arguments.out, {**settings, "start": figures})


if __name__ == "__main__":
    run_script(main)
