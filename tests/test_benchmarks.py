"""What the benchmarks compute from what they measure."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks.bench_bootstrap import largest_difference, plain_areas, scored_recordings
from benchmarks.flops import flops_per_chunk
from benchmarks.projection import draws, read_rates, seconds
from benchmarks.timing import compare
from config import MODELS, MODELS_CONFIG, run_config
from runtime.errors import DataError
from study.statistics import draw_resamples


def test_operations_of_vgg_ish_are_those_of_its_layers():
    # 3 x 3 convolutions over 230 frames x 128 bands, halved (rounded down) by each layer's pooling.
    channels, height, width, products = 1, 230, 128, 0
    for filters in (128, 128, 256, 256, 256, 256, 512):
        products += 9 * channels * filters * height * width
        channels, height, width = filters, height // 2, width // 2
    products += 512 * 512 + 512 * 50
    assert flops_per_chunk("vgg_ish", "evaluation") == 2 * products


def test_operations_of_ast_are_those_of_its_blocks():
    patches, tokens, width = 12 * 49, 12 * 49 + 2, 768
    block = 4 * tokens * width**2 + 2 * tokens * width * 4 * width + 2 * tokens**2 * width
    products = patches * 16 * 16 * width + 12 * block + width * 50
    assert flops_per_chunk("ast", "evaluation") == 2 * products
    # Backward takes two products for each of forward's, but none for the gradient of the input.
    backward = flops_per_chunk("ast", "training") - 2 * products
    assert backward == 2 * (2 * products - 2 * patches * 16 * 16 * width / 2)
    # Of the final layer alone, the gradient of its weights.
    assert flops_per_chunk("ast", "final_layer") - 2 * products == 2 * width * 50


def test_a_comparison_stops_at_its_deadline_and_says_how_many_rounds_there_were():
    def slow() -> int:
        time.sleep(0.05)
        return 1

    result = compare("work", "items/s", slow, lambda: slow() + slow(), 50, time.monotonic() + 0.5)
    assert 1 <= result.rounds < 10
    assert compare("work", "items/s", slow, slow, 50, time.monotonic()).rounds == 1
    assert compare("work", "items/s", slow, slow, 3).rounds == 3


@pytest.fixture
def epoch_end(tmp_path: Path) -> Path:
    path = tmp_path / "epoch_end.json"
    seconds = {model: {"whole": 2.0, "final_layer": 1.5} for model in MODELS}
    path.write_text(json.dumps({"seconds_at_the_end_of_an_epoch": seconds}))
    return path


@pytest.fixture
def figures(tmp_path: Path) -> Path:
    rates = {"training": 100.0, "final_layer": 300.0, "evaluation": 1000.0}
    results = [{"name": f"{what} {model}", "ours": rate} for what, rate in rates.items() for model in MODELS]
    path = tmp_path / "figures.json"
    path.write_text(json.dumps({"results": results}))
    return path


def test_a_projection_counts_training_validation_test_and_ends_of_epochs(figures, epoch_end):
    rates = read_rates(figures, epoch_end)
    # Makam and AST: 70 epochs of 3709 recordings, 4 chunks of 529, and 18 chunks of 8 s in 150 s of 1059.
    whole = 70 * 3709 / 100 + 70 * 4 * 529 / 1000 + 18 * 1059 / 1000 + 70 * 2
    assert seconds(run_config("makam", "ast_from_fma"), rates) == pytest.approx(whole)
    final = whole - 70 * 3709 / 100 + 70 * 3709 / 300 - 70 * 0.5
    assert seconds(run_config("makam", "ast_from_fma_f"), rates, start_seconds=15) == pytest.approx(final + 15)


def test_all_runs_draw_as_many_recordings_as_epochs_and_sets_say():
    everything = [run for runs in MODELS_CONFIG.values() for run in runs.values()]
    assert len(everything) == 198
    sizes = {"magnatagatune": 15247, "fma": 17486, "lyra": 1116, "makam": 3709, "hindustani": 844, "carnatic": 1829}
    epochs = {
        "musicnn": (50, 50, 200, 200, 200, 200),
        "vgg_ish": (200, 100, 200, 200, 200, 200),
        "ast": (50, 50, 50, 70, 50, 70),
    }
    expected = sum(11 * n * size for row in epochs.values() for n, size in zip(row, sizes.values(), strict=True))
    assert sum(map(draws, everything)) == expected


@pytest.mark.parametrize("content", ["", "[]", '{"results": [{"name": "training vgg_ish", "ours": 3}]}'])
def test_a_projection_from_incomplete_figures_is_refused(figures, epoch_end, content):
    for path in (figures, epoch_end):
        before = path.read_text()
        path.write_text(content)
        with pytest.raises(DataError, match=re.escape(path.name)):
            read_rates(figures, epoch_end)
        path.write_text(before)


def test_the_bootstraps_baseline_scores_the_drawn_recordings_and_a_difference_from_ours_would_show(monkeypatch):
    labels, scores = scored_recordings(300, 4)
    counts = draw_resamples(300, 5)
    rows = np.repeat(np.arange(300), counts[:, 3])
    by_tag = [roc_auc_score(labels[rows, tag], scores[rows, tag]) for tag in range(4)]
    assert plain_areas(labels, scores, counts).roc_auc[3] == pytest.approx(np.mean(by_tag))
    assert largest_difference(labels, scores, counts) < 1e-12
    monkeypatch.setattr("benchmarks.bench_bootstrap.resampled_areas", lambda *of: plain_areas(*of[:2], 1 + of[2]))
    assert largest_difference(labels, scores, counts) > 1e-3
