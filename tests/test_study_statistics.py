"""Bootstrap and Holm's correction against scikit-learn, known distributions and hand-worked values."""

import math
import time

import numpy as np
import pytest
from scipy import integrate
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score

from evaluation.metrics import macro_auc
from study.statistics import basic_interval, compare, draw_resamples, holm, resampled_areas


def tagged(recordings: int, tags: int, seed: int, *, rate: float = 0.2, steps: int | None = None):
    """Labels and scores that know something of them; with `steps`, scores on a coarse grid, full of ties."""
    generator = np.random.default_rng(seed)
    labels = (generator.random((recordings, tags)) < rate).astype(np.uint8)
    scores = 0.6 * generator.random((recordings, tags)) + 0.3 * labels
    if steps:
        scores = np.round(scores * steps) / steps
    return labels, scores.astype(np.float32)


def drawn(counts: np.ndarray, resample: int) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts[:, resample])


@pytest.mark.parametrize("steps", [None, 4, 1])
def test_areas_of_a_resample_are_those_scikit_learn_finds_on_the_drawn_recordings(steps):
    labels, scores = tagged(120, 6, seed=1, steps=steps)
    counts = draw_resamples(120, 130, seed=2)
    areas = resampled_areas(labels, scores, counts)
    for resample in range(0, 130, 13):
        rows = drawn(counts, resample)
        assert areas.roc_auc[resample] == pytest.approx(roc_auc_score(labels[rows], scores[rows]), abs=1e-12)
        assert areas.pr_auc[resample] == pytest.approx(average_precision_score(labels[rows], scores[rows]), abs=1e-12)


def test_a_tag_without_recordings_in_a_resample_is_left_out_of_it():
    labels, scores = tagged(40, 3, seed=3)
    labels[:, 1] = 0
    labels[7, 1] = 1  # a third of the resamples lack this recording
    labels[:, 2] = 1
    labels[7, 2] = 0
    counts = draw_resamples(40, 60, seed=0)
    areas = resampled_areas(labels, scores, counts)
    lacking = np.flatnonzero(counts[7] == 0)
    assert 0 < len(lacking) < 60
    for resample in range(60):
        rows = drawn(counts, resample)
        expected = macro_auc(labels[rows], scores[rows])
        assert areas.roc_auc[resample] == pytest.approx(expected.roc_auc, abs=1e-12)
        assert areas.pr_auc[resample] == pytest.approx(expected.pr_auc, abs=1e-12)
    only = lacking[0]
    rows = drawn(counts, only)
    assert areas.roc_auc[only] == pytest.approx(roc_auc_score(labels[rows, 0], scores[rows, 0]), abs=1e-12)


def test_a_resample_without_any_tag_to_score_is_not_a_number_and_stays_out_of_the_interval():
    labels = np.array([[1], [0]], dtype=np.uint8)
    counts = np.array([[1, 2, 0], [1, 0, 2]], dtype=np.int32)
    areas = resampled_areas(labels, np.array([[0.9], [0.1]], dtype=np.float32), counts)
    assert areas.roc_auc[0] == 1 and np.isnan(areas.roc_auc[1:]).all()
    assert areas.pr_auc[0] == 1 and np.isnan(areas.pr_auc[1:]).all()
    assert basic_interval(1.0, areas.roc_auc).low == 1


def test_resamples_have_the_size_of_the_set_and_are_those_of_the_seed():
    counts = draw_resamples(30, 400, seed=5)
    assert (counts.sum(axis=0) == 30).all()
    assert np.array_equal(counts, draw_resamples(30, 400, seed=5))
    assert not np.array_equal(counts, draw_resamples(30, 400, seed=6))
    # A recording is absent from a resample with probability (1 - 1/n)^n (Efron & Tibshirani, chapter 17).
    assert (counts == 0).mean() == pytest.approx((1 - 1 / 30) ** 30, abs=0.01)


def test_intervals_cover_the_true_area_about_95_times_in_100():
    """Scores of two normal distributions one standard deviation apart: the area is Φ(1/√2)."""
    truth = norm.cdf(1 / math.sqrt(2))
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        labels = (np.arange(200) < 80).astype(np.uint8)[:, None]
        scores = generator.normal(labels, 1.0)
        areas = resampled_areas(labels, scores, draw_resamples(200, 300, seed=trial))
        interval = basic_interval(roc_auc_score(labels, scores), areas.roc_auc)
        covered += interval.low <= truth <= interval.high
    assert 180 <= covered <= 199  # 190 expected; binomial, three standard deviations


def test_intervals_of_pr_auc_are_not_carried_upwards_by_recordings_drawn_twice():
    """The quantiles alone hold the truth 59 times in 100 here, all the rest of the time lying above it."""
    threshold = np.linspace(-6, 8, 20_001)
    recall, false_alarms = norm.sf(threshold - 1), norm.sf(threshold)
    precision = 0.1 * recall / (0.1 * recall + 0.9 * false_alarms)
    truth = integrate.trapezoid(precision[::-1], recall[::-1])
    generator = np.random.default_rng(1)
    covered = 0
    for trial in range(60):
        labels = (generator.random((200, 8)) < 0.1).astype(np.uint8)
        scores = norm.cdf(generator.normal(labels, 1.0))
        samples = resampled_areas(labels, scores, draw_resamples(200, 200, seed=trial)).pr_auc
        interval = basic_interval(macro_auc(labels, scores).pr_auc, samples)
        covered += interval.low <= truth <= interval.high
    assert 48 <= covered <= 60


def test_interval_is_mirrored_at_the_figure():
    interval = basic_interval(0.5, np.linspace(0.5, 0.9, 401))
    assert (interval.low, interval.high) == pytest.approx((0.11, 0.49))


def test_p_values_of_equal_runs_are_uniform_and_a_real_difference_is_found():
    """Two runs of the same quality: claims at the 5 % level are wrong about 5 times in 100."""
    generator = np.random.default_rng(1)
    found = 0
    for trial in range(200):
        labels = (np.arange(150) < 50).astype(np.uint8)[:, None]
        common = generator.normal(0, 0.7, labels.shape)
        runs = [generator.normal(labels + common, 0.7) for _ in range(2)]
        counts = draw_resamples(150, 300, seed=trial)
        first, second = (resampled_areas(labels, scores, counts).roc_auc for scores in runs)
        difference = roc_auc_score(labels, runs[0]) - roc_auc_score(labels, runs[1])
        found += compare(difference, first, second).p_value <= 0.05
    assert 2 <= found <= 20

    better = resampled_areas(labels, runs[0] + 2 * labels, counts).roc_auc
    difference = roc_auc_score(labels, runs[0] + 2 * labels) - roc_auc_score(labels, runs[1])
    result = compare(difference, better, second)
    assert result.p_value == 1 / 301
    assert result.interval.low > 0


def test_two_runs_with_the_same_scores_do_not_differ():
    samples = np.array([0.5, 0.6, 0.7])
    assert compare(0.0, samples, samples).p_value == 1
    assert compare(0.0, samples, samples).interval.high == 0


def test_p_value_counts_resamples_as_far_from_the_difference_as_it_is_from_zero():
    first, second = np.array([0.3, 0.1, 0.2, 0.0]), np.zeros(4)
    assert compare(0.1, first, second).p_value == pytest.approx(4 / 5)  # 0.3, 0.2 and 0.0 are 0.1 or more away
    assert compare(-0.15, -first, second).p_value == pytest.approx(3 / 5)
    assert compare(0.4, first, second).p_value == pytest.approx(2 / 5)


def test_holm_corrects_as_worked_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def test_a_thousand_resamples_of_the_largest_test_set_take_seconds():
    labels, scores = tagged(5000, 50, seed=0, rate=0.06)
    started = time.process_time()
    areas = resampled_areas(labels, scores, draw_resamples(5000, 1000))
    assert time.process_time() - started < 20  # seconds of processor time: ten on two cores
    rows = drawn(draw_resamples(5000, 1000), 999)
    assert areas.roc_auc[999] == pytest.approx(roc_auc_score(labels[rows], scores[rows]), abs=1e-12)
