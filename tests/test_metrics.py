"""Metrics against hand-worked cases, pair counting, and scikit-learn's own macro averages."""

import math
import subprocess
import sys

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from config import ROOT
from evaluation.metrics import evaluate_scores, macro_auc
from runtime.errors import DataError

# Worked by hand. Tag a, with a tie between a positive and a negative recording at 0.8:
# pairs (positive, negative): 0.8/0.8 → ½, 0.8/0.2 → 1, 0.4/0.8 → 0, 0.4/0.2 → 1, so ROC-AUC = 2.5/4;
# precision, recall at 0.8: 1/2, 1/2; at 0.4: 2/3, 1, so AP = ½·½ + ½·⅔ = 7/12.
# Tag b is ordered perfectly: 1 and 1.
LABELS = np.array([[1, 0], [0, 1], [1, 0], [0, 0]])
SCORES = np.array([[0.8, 0.1], [0.8, 0.9], [0.4, 0.2], [0.2, 0.3]], dtype=np.float32)


def random_case(recordings: int, tags: int, seed: int, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = (rng.random((recordings, tags)) < 0.3).astype(np.uint8)
    labels[0], labels[1] = 0, 1
    scores = rng.random((recordings, tags)).astype(np.float32)
    return labels, np.round(scores, 1) if ties else scores


def test_areas_equal_the_hand_worked_values_with_a_tie():
    metrics = evaluate_scores(LABELS, SCORES, ["a", "b"])
    a, b = metrics.per_tag
    assert (a.tag, a.support, b.tag, b.support) == ("a", 2, "b", 1)
    assert a.roc_auc == pytest.approx(2.5 / 4, abs=1e-12)
    assert a.pr_auc == pytest.approx(7 / 12, abs=1e-12)
    assert (b.roc_auc, b.pr_auc) == (1.0, 1.0)
    assert metrics.roc_auc == pytest.approx((2.5 / 4 + 1) / 2, abs=1e-12)
    assert metrics.pr_auc == pytest.approx((7 / 12 + 1) / 2, abs=1e-12)
    assert metrics.excluded == () and metrics.exclusion_note is None
    assert (metrics.n_recordings, metrics.n_tags) == (4, 2)


@pytest.mark.parametrize("ties", [False, True])
def test_roc_auc_is_the_share_of_well_ordered_pairs(ties):
    labels, scores = random_case(60, 4, seed=1, ties=ties)
    for i, tag in enumerate(evaluate_scores(labels, scores, list("wxyz")).per_tag):
        positive, negative = scores[labels[:, i] == 1, i], scores[labels[:, i] == 0, i]
        above = (positive[:, None] > negative).mean() + 0.5 * (positive[:, None] == negative).mean()
        assert tag.roc_auc == pytest.approx(above, abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_macro_averages_equal_those_of_scikit_learn(ties):
    labels, scores = random_case(200, 7, seed=2, ties=ties)
    macro = macro_auc(labels, scores)
    assert macro.roc_auc == pytest.approx(roc_auc_score(labels, scores, average="macro"), abs=1e-12)
    assert macro.pr_auc == pytest.approx(average_precision_score(labels, scores, average="macro"), abs=1e-12)
    metrics = evaluate_scores(labels, scores, list("abcdefg"))
    assert (metrics.roc_auc, metrics.pr_auc) == macro


def test_a_score_of_exactly_one_half_predicts_the_tag():
    below = np.nextafter(np.float32(0.5), np.float32(0))
    labels = np.array([[1, 0], [0, 1], [1, 1]])
    scores = np.array([[0.5, 0.1], [0.2, below], [0.6, 0.7]], dtype=np.float32)
    report = evaluate_scores(labels, scores, ["a", "b"]).classification_report
    assert report["a"]["recall"] == 1.0
    assert report["b"]["recall"] == 0.5


def test_report_equals_the_hand_worked_counts():
    # a: predicted {0, 1} of true {0, 2}; b: predicted {1} of true {1}.
    report = evaluate_scores(LABELS, SCORES, ["a", "b"]).classification_report
    assert report["a"] == {"precision": 0.5, "recall": 0.5, "f1-score": 0.5, "support": 2}
    assert report["b"] == {"precision": 1.0, "recall": 1.0, "f1-score": 1.0, "support": 1}
    assert report["micro avg"]["precision"] == pytest.approx(2 / 3)
    assert report["macro avg"]["f1-score"] == 0.75
    assert report["samples avg"]["support"] == 3


def test_tags_without_positives_or_negatives_are_named_and_left_out():
    labels = np.column_stack([LABELS, np.zeros(4, int), np.ones(4, int)])
    scores = np.column_stack([SCORES, SCORES[:, 0], SCORES[:, 1]])
    metrics = evaluate_scores(labels, scores, ["a", "b", "nobody", "everybody"])
    assert metrics.excluded == ("nobody", "everybody")
    assert metrics.exclusion_note.endswith("nobody, everybody.")
    assert (metrics.roc_auc, metrics.pr_auc) == macro_auc(LABELS, SCORES) == macro_auc(labels, scores)
    assert [tag.support for tag in metrics.per_tag] == [2, 1, 0, 4]
    assert all(math.isnan(tag.roc_auc) and math.isnan(tag.pr_auc) for tag in metrics.per_tag[2:])
    assert "nobody" in metrics.classification_report_text


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("tags", [["a"], ["a", "b", "c"]])
def test_all_tags_excluded_is_said_and_no_crash(value, tags):
    shape = (5, len(tags))
    metrics = evaluate_scores(np.full(shape, value), np.full(shape, 0.2), tags)
    assert math.isnan(metrics.roc_auc) and math.isnan(metrics.pr_auc)
    assert metrics.excluded == tuple(tags)
    assert metrics.exclusion_note.startswith("The macro averages are not defined")


def test_a_single_tag_is_reported_as_its_positive_class():
    metrics = evaluate_scores(LABELS[:, :1], SCORES[:, :1], ["a"])
    assert metrics.classification_report["a"] == {"precision": 0.5, "recall": 0.5, "f1-score": 0.5, "support": 2}
    assert metrics.roc_auc == pytest.approx(2.5 / 4)


@pytest.mark.parametrize(
    ("labels", "scores", "tags", "message"),
    [
        (LABELS, SCORES[:3], ["a", "b"], r"\(4, 2\).*\(3, 2\)"),
        (LABELS[:, 0], SCORES[:, 0], ["a"], r"\(recordings, tags\)"),
        (LABELS, SCORES, ["a"], "1 tag names for 2 columns"),
        (LABELS, SCORES, ["a", "a"], "named twice: a"),
        (LABELS[:0], SCORES[:0], ["a", "b"], "nothing to evaluate"),
        (LABELS * 2, SCORES, ["a", "b"], "other than 0 and 1"),
        (LABELS, np.where(SCORES < 0.15, np.nan, SCORES), ["a", "b"], "1 of 4 recordings are NaN"),
        (LABELS, SCORES * 4 - 2, ["a", "b"], "after the sigmoid"),
    ],
)
def test_arrays_that_do_not_fit_are_one_clear_line(labels, scores, tags, message):
    with pytest.raises(DataError, match=message) as error:
        evaluate_scores(labels, scores, tags)
    assert "\n" not in str(error.value)


def test_metrics_do_not_need_torch():
    code = "import sys, evaluation.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
