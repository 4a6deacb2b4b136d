"""Evaluations of made-up scores, in the files that evaluate.py writes, for tests of the study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from evaluation.metrics import evaluate_scores
from evaluation.recording_scores import RecordingScores
from evaluation.reports import write_report
from study.results import run_names, seed_dir

TAGS = {
    "makam": ("makam--Hicaz", "usul--Düyek", "instrument--Ney", "instrument--Classical kemençe"),
    "hindustani": ("raga--यमन", "tala--Teentaal", "instrument--Sitar", "form--Khayal"),
    "lyra": ("genres--Nisiotiko", "place--None", "instruments--Laouto", "instruments--Λύρα"),
    "fma": ("Rock", "Punk", "Hip-Hop", "Folk"),
    "magnatagatune": ("0", "1", "2", "3"),
    "carnatic": ("raga--காம்போஜி", "tala--Ādi", "instrument--Mridangam", "form--Kriti"),
}
RECORDINGS = 60
# How much better than noise the scores of a transfer from each corpus are.
STRENGTH = {"makam": 0.15, "hindustani": 0.12, "lyra": 0.3, "fma": 0.6, "magnatagatune": 0.4, "carnatic": 0.1}


def write_evaluations(
    evaluation_dir: Path,
    datasets: Sequence[str],
    models: Sequence[str] = ("musicnn",),
    seeds: Sequence[int] = (0,),
    strength: Mapping[str, float] = STRENGTH,
) -> None:
    """Write an evaluation of every run among these corpora; from scratch the scores are worth 0.2."""
    for dataset in datasets:
        labels = (np.random.default_rng(len(dataset)).random((RECORDINGS, len(TAGS[dataset]))) < 0.4).astype(np.uint8)
        labels[0], labels[1] = 1, 0
        for seed in seeds:
            for run in run_names(dataset, datasets, models):
                worth = 0.2 if run.source is None else strength[run.source] - 0.1 * run.final_layer_only
                write_evaluation(evaluation_dir, dataset, str(run), labels, worth, seed)


def write_evaluation(
    evaluation_dir: Path, dataset: str, name: str, labels: np.ndarray, worth: float, seed: int = 0
) -> RecordingScores:
    """Write one evaluation, and return its scores."""
    noise = np.random.default_rng([seed, *name.encode()]).random(labels.shape)
    scores = ((noise + worth * labels) / (1 + worth)).astype(np.float32)
    recordings = RecordingScores(tuple(map(str, range(len(labels)))), TAGS[dataset], labels, scores)
    metrics = evaluate_scores(labels, scores, recordings.tags)
    training = {"configuration": {"recordings": {"train": 10 * len(dataset)}, "seconds": 60.0, "device": "cpu"}}
    provenance = {"training": training, "test_fingerprint": f"{dataset}-{len(labels)}", "versions": {"python": "3.11"}}
    write_report(seed_dir(evaluation_dir, seed), dataset, name, metrics, recordings, provenance)
    return recordings
