"""Preprocessing speed: ours against the plain baseline, in files a second.

python benchmarks/bench_preprocessing.py --out preprocessing.json

Both make the mel-spectrograms of the same synthetic 30-second clips (mp3, 44.1 kHz, stereo), in
turn, each in its own process, for several rounds. The baseline's time is that of its loop, with
its libraries already loaded; ours is that of the whole command, its start included.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import soundfile

from runtime.arguments import ScriptParser, positive_int
from runtime.errors import run_script
from runtime.provenance import versions

ROOT = Path(__file__).resolve().parents[1]
SAMPLE_RATE = 44_100
SECONDS = 30


def clip(seed: int) -> np.ndarray:
    """Plucked notes over noise: float32 of shape (samples, 2)."""
    rng = np.random.default_rng(seed)
    samples = rng.normal(scale=0.003, size=(SECONDS * SAMPLE_RATE, 2))
    since = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    for onset in range(0, len(samples) - SAMPLE_RATE, SAMPLE_RATE // 4):
        note = 110 * 2 ** (rng.integers(0, 36) / 12)
        tone = sum(np.sin(2 * np.pi * note * overtone * since) / overtone for overtone in range(1, 7))
        samples[onset : onset + SAMPLE_RATE] += (np.exp(-5 * since) * tone)[:, None] * rng.uniform(0.02, 0.2, 2)
    return samples.astype(np.float32)


def make_corpus(directory: Path, files: int) -> None:
    """`files` clips, ten of them different, as the corpus `fma` has them."""
    audios = directory / "audios"
    audios.mkdir()
    for index in range(files):
        path = audios / f"{index:06}.mp3"
        if index < 10:
            soundfile.write(path, clip(index), SAMPLE_RATE)
        else:
            path.symlink_to(audios / f"{index % 10:06}.mp3")


def baseline_seconds(corpus: Path) -> float:
    """The baseline's loop over the corpus."""
    with tempfile.TemporaryDirectory(dir=corpus) as output:
        command = [sys.executable, ROOT / "benchmarks" / "preprocessing_baseline.py", corpus / "audios", output]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


def our_seconds(corpus: Path, workers: int) -> float:
    """Our whole command on the corpus."""
    script = ROOT / "preprocessing" / "create_mel_spectrograms.py"
    command = [sys.executable, script, "--dataset", "fma", "--data_dir", corpus]
    start = time.perf_counter()
    subprocess.run([*command, "--workers", str(workers), "--overwrite"], check=True, capture_output=True)
    return time.perf_counter() - start


def seconds_to_first_file(corpus: Path) -> float:
    """Our whole command with one file."""
    with tempfile.TemporaryDirectory(dir=corpus) as one:
        audios = Path(one) / "audios"
        audios.mkdir()
        (audios / "0.mp3").symlink_to(corpus / "audios" / "000000.mp3")
        return our_seconds(Path(one), 1)


def main() -> None:
    """The script."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser = ScriptParser(__doc__)
    parser.add_argument("--files", type=positive_int, default=100, help="clips of 30 s")
    parser.add_argument("--rounds", type=positive_int, default=5, help="times both are measured")
    parser.add_argument("--workers", type=positive_int, default=cores, help="worker processes of ours")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    arguments = parser.parse_args()

    rounds = []
    with tempfile.TemporaryDirectory() as directory:
        corpus = Path(directory)
        make_corpus(corpus, arguments.files)
        for number in range(arguments.rounds):
            times = {
                "baseline": arguments.files / baseline_seconds(corpus),
                "one_worker": arguments.files / our_seconds(corpus, 1),
                "ours": arguments.files / our_seconds(corpus, arguments.workers),
                "first_file_seconds": seconds_to_first_file(corpus),
            }
            times["ratio"] = times["ours"] / times["baseline"]
            times["scaling"] = times["ours"] / times["one_worker"]
            rounds.append(times)
            print(f"round {number + 1}: " + ", ".join(f"{name} {value:.2f}" for name, value in times.items()))
    median = {name: statistics.median(times[name] for times in rounds) for name in rounds[0]}
    print(
        f"median of {arguments.rounds} rounds, {arguments.files} clips, {cores} cores: "
        f"baseline {median['baseline']:.1f} files/s, ours {median['ours']:.1f} files/s with {arguments.workers} "
        f"workers ({median['ratio']:.2f}×; {median['scaling']:.2f}× one worker); "
        f"one file from the command to the end {median['first_file_seconds']:.2f} s"
    )
    if arguments.out:
        report = {"cores": cores, "workers": arguments.workers, "files": arguments.files, "versions": versions()}
        arguments.out.write_text(json.dumps({**report, "median": median, "rounds": rounds}, indent=1) + "\n")


if __name__ == "__main__":
    run_script(main)
