"""Speed of the study's bootstrap: macro ROC-AUC and PR-AUC on resampled test recordings.

    python -m benchmarks.bench_bootstrap

The baseline calls scikit-learn on the drawn recordings of one resample after another; ours is what
`study.comparisons` does. Both see the same scores and the same resamples, and what the baseline finds
must be what ours found: else there are no figures.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.timing import compare, print_results, write_results
from runtime.arguments import ScriptParser, positive_int
from runtime.errors import UsageError, run_script
from study.statistics import AreaSamples, draw_resamples, resampled_areas

TAG_RATE = 0.06  # of the recordings have a tag: MagnaTagATune's mean over its 50 tags is about that
TOLERANCE = 1e-10


def scored_recordings(recordings: int, tags: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels (uint8) and scores (float32) that know something of them, (recordings, tags)."""
    generator = np.random.default_rng(0)
    labels = (generator.random((recordings, tags)) < TAG_RATE).astype(np.uint8)
    scores = 0.6 * generator.random((recordings, tags)) + 0.3 * labels
    return labels, scores.astype(np.float32)


def plain_areas(labels: np.ndarray, scores: np.ndarray, counts: np.ndarray) -> AreaSamples:
    """What `resampled_areas` computes, by scikit-learn: `counts` is (recordings, resamples)."""
    areas = []
    for column in counts.T:
        rows = np.repeat(np.arange(len(counts)), column)
        areas.append((roc_auc_score(labels[rows], scores[rows]), average_precision_score(labels[rows], scores[rows])))
    return AreaSamples(*np.array(areas).T)


def largest_difference(labels: np.ndarray, scores: np.ndarray, counts: np.ndarray) -> float:
    """Between the two ways, over resamples and both areas; infinite where one of them is not defined."""
    plain, ours = plain_areas(labels, scores, counts), resampled_areas(labels, scores, counts)
    differences = np.abs([plain.roc_auc - ours.roc_auc, plain.pr_auc - ours.pr_auc])
    return float(np.where(np.isnan(differences), np.inf, differences).max())


def main() -> None:
    parser = ScriptParser(__doc__)
    parser.add_argument("--recordings", type=positive_int, default=5000, help="of the test set")
    parser.add_argument("--tags", type=positive_int, default=50, help="of the test set")
    parser.add_argument("--resamples", type=positive_int, default=1000, help="of ours, a round")
    parser.add_argument("--plain_resamples", type=positive_int, default=10, help="of the baseline, a round")
    parser.add_argument("--threads", type=positive_int, default=2, help="of ours")
    parser.add_argument("--rounds", type=positive_int, default=3, help="timed rounds")
    parser.add_argument("--out", type=Path, help="also write the figures to this JSON file")
    arguments = parser.parse_args()
    labels, scores = scored_recordings(arguments.recordings, arguments.tags)
    few = draw_resamples(arguments.recordings, arguments.plain_resamples)
    if not ((labels.T @ few > 0) & ((1 - labels).T @ few > 0)).all():
        raise UsageError("some resample lacks a tag, or has no recording without it; give more --recordings")
    difference = largest_difference(labels, scores, few)
    if difference > TOLERANCE:
        raise RuntimeError(f"the two ways differ by {difference:.1e}: timing them would mean nothing")
    print(f"largest difference from scikit-learn on {arguments.plain_resamples} resamples: {difference:.1e}")

    seconds: list[float] = []

    def baseline() -> int:
        plain_areas(labels, scores, few)
        return arguments.plain_resamples

    def ours() -> int:
        started = time.perf_counter()
        counts = draw_resamples(arguments.recordings, arguments.resamples)
        resampled_areas(labels, scores, counts, arguments.threads)
        seconds.append(time.perf_counter() - started)
        return arguments.resamples

    result = compare("bootstrap", "resamples/s", baseline, ours, arguments.rounds)
    print_results([result])
    timed = sorted(seconds[1:])  # the first is not timed by `compare` either
    print(
        f"{arguments.resamples} resamples of {arguments.recordings} recordings and {arguments.tags} tags, "
        f"{arguments.threads} threads: {timed[len(timed) // 2]:.1f} s ({timed[0]:.1f} to {timed[-1]:.1f} s)"
    )
    if arguments.out:
        settings = {name: value for name, value in vars(arguments).items() if name not in ("out", "debug")}
        write_results(arguments.out, [result], torch.device("cpu"), **settings, seconds=seconds[1:])


if __name__ == "__main__":
    run_script(main)
