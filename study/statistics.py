"""Are differences real? Bootstrap over test recordings, paired comparisons, Holm's correction.

**Intervals.** A resample draws as many recordings as the test set has, with replacement, and the
macro averages are computed on it (Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter
13). With q the 2.5 % and 97.5 % quantiles over resamples and θ the figure on the test set itself, the
limits are 2θ − q (the basic interval: Davison & Hinkley 1997, Bootstrap Methods and their Application,
section 5.2). The quantiles themselves would not do for PR-AUC: a recording drawn twice is a hit right
behind itself, which lifts the average precision of nearly every resample, and the interval with it.

**Paired comparisons.** Two runs on the same test set are computed on the same resamples, so that
what makes a recording hard for both cancels out (Koehn 2004, Statistical Significance Tests for
Machine Translation Evaluation, EMNLP). The p-value asks how often the resampled difference lies as
far from the observed one as that lies from zero (Berg-Kirkpatrick, Burkett & Klein 2012, An Empirical
Investigation of Statistical Significance in NLP, section 2; here two-sided):
p = (1 + #{|δ* − δ| ≥ |δ|}) / (1 + resamples), which is never 0 (Davison & Hinkley 1997, section 4.2).

**Many comparisons.** Holm's step-down correction (1979, A Simple Sequentially Rejective Multiple Test
Procedure, Scandinavian Journal of Statistics 6) bounds the chance of even one false claim in a family.

**Tags.** Where a resample holds no recording with a tag, or only such, the tag orders nothing and is
left out of that resample's macro averages, as `evaluation.metrics` does for a whole test set. That
depends on the labels only, so both sides of a comparison leave out the same tags.

What is resampled is the test recordings. How much a result would change if the network were trained
again is another question; several seeds answer it.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
_BLOCK = 50  # resamples computed at a time: what they need fits a processor's cache


@dataclass(frozen=True)
class AreaSamples:
    """Macro averages on each resample; NaN where a resample leaves no tag to score."""

    roc_auc: np.ndarray  # (resamples,)
    pr_auc: np.ndarray  # (resamples,)


def draw_resamples(n_recordings: int, n_resamples: int, seed: int = 0) -> np.ndarray:
    """How often each recording is in each resample: (recordings, resamples) int32, each column adding up to the first.

    The same arguments give the same resamples, which is what pairs comparisons.
    """
    generator = np.random.default_rng(seed)
    counts = np.empty((n_recordings, n_resamples), dtype=np.int32)
    for resample in range(n_resamples):
        drawn = generator.integers(n_recordings, size=n_recordings)
        counts[:, resample] = np.bincount(drawn, minlength=n_recordings)
    return counts


def resampled_areas(labels: np.ndarray, scores: np.ndarray, counts: np.ndarray, threads: int = 2) -> AreaSamples:
    """Macro ROC-AUC and PR-AUC on every resample.

    Equal to computing both on the drawn recordings, ties included. Scores are sorted once a tag; a
    resample is then a weight for each recording, and both areas follow from weights summed down the
    ranking at the places where a recording with the tag stands.

    Args:
        labels: (recordings, tags), 0 or 1.
        scores: (recordings, tags).
        counts: (recordings, resamples), of `draw_resamples`.
        threads: how many blocks of resamples are computed side by side.
    """
    rankings = [_Ranking.of(y, s) for y, s in zip(labels.T, scores.T, strict=True) if 0 < y.sum() < len(y)]

    def macro(start: int) -> np.ndarray:
        weights = np.ascontiguousarray(counts[:, start : start + _BLOCK])
        sums, defined = np.zeros((2, weights.shape[1])), np.zeros(weights.shape[1])
        for ranking in rankings:
            areas = ranking.areas(weights)
            scored = ~np.isnan(areas[0])
            sums[:, scored] += areas[:, scored]
            defined += scored
        return np.divide(sums, defined, out=np.full_like(sums, np.nan), where=defined > 0)

    with ThreadPoolExecutor(threads) as pool:
        blocks = list(pool.map(macro, range(0, counts.shape[1], _BLOCK)))
    return AreaSamples(*np.concatenate(blocks, axis=1))


@dataclass(frozen=True)
class _Ranking:
    """One tag's recordings from the highest score down, and the ties among them that hold the tag."""

    order: np.ndarray  # (recordings,)
    first: np.ndarray  # (ties,) place in `order` where a tie begins
    last: np.ndarray  # (ties,) and where it ends
    with_tag: np.ndarray  # the recordings with the tag, in order
    tie_starts: np.ndarray  # (ties,) place in `with_tag` where a tie begins

    @classmethod
    def of(cls, labels: np.ndarray, scores: np.ndarray) -> _Ranking:
        order = np.argsort(-scores, kind="stable")
        has_tag, ranked = labels[order].astype(bool), scores[order]
        begins = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))
        ends = np.append(begins[1:], len(order)) - 1
        tie_of = np.repeat(np.arange(len(begins)), ends - begins + 1)
        ties, tie_starts = np.unique(tie_of[has_tag], return_index=True)
        return cls(order, begins[ties], ends[ties], order[has_tag], tie_starts)

    def areas(self, weights: np.ndarray) -> np.ndarray:
        """ROC-AUC and average precision, (2, resamples), for weights (recordings, resamples); NaN if not defined."""
        drawn = np.cumsum(weights[self.order], axis=0, dtype=np.int32)
        total = drawn[-1].astype(np.float64)
        seen = drawn[self.last].astype(np.float64)  # (ties, resamples) recordings down to the end of each tie
        in_tie = seen - np.where(self.first[:, None] > 0, drawn[self.first - 1], 0)
        tagged = np.add.reduceat(weights[self.with_tag], self.tie_starts, axis=0).astype(np.float64)
        hits = np.cumsum(tagged, axis=0)  # of `seen`, those with the tag
        positives = hits[-1]
        negatives = total - positives
        # Of two recordings with one score, each stands above the other half the time.
        below = negatives - (seen - hits) + 0.5 * (in_tie - tagged)
        with np.errstate(divide="ignore", invalid="ignore"):
            roc_auc = np.einsum("ij,ij->j", tagged, below) / (positives * negatives)
            precision = hits / np.maximum(seen, 1)
            average_precision = np.einsum("ij,ij->j", tagged, precision) / positives
        average_precision[negatives == 0] = np.nan
        return np.stack([roc_auc, average_precision])


@dataclass(frozen=True)
class Interval:
    """Limits of a confidence interval."""

    low: float
    high: float


def basic_interval(observed: float, samples: np.ndarray, confidence: float = CONFIDENCE) -> Interval:
    """The basic bootstrap interval of a figure.

    Args:
        observed: the figure on the test set itself.
        samples: its values on the resamples; NaN ones are left out.
        confidence: between 0 and 1.
    """
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(samples, [tail, 1 - tail])
    return Interval(float(2 * observed - high), float(2 * observed - low))


@dataclass(frozen=True)
class Comparison:
    """The difference of two figures on the same recordings."""

    difference: float  # first minus second, on the test set itself
    interval: Interval
    p_value: float  # two-sided, not corrected


def compare(difference: float, first: np.ndarray, second: np.ndarray) -> Comparison:
    """Paired bootstrap test of two runs.

    Args:
        difference: of the two figures on the test set itself.
        first: the first run's figure on each resample.
        second: the second run's, on the same resamples in the same order.
    """
    differences = first - second
    differences = differences[~np.isnan(differences)]
    # Not smaller by rounding: two runs with the same scores differ by exactly 0 and must get p = 1.
    as_far = np.count_nonzero(np.abs(differences - difference) >= abs(difference) * (1 - 1e-12))
    return Comparison(difference, basic_interval(difference, differences), (1 + as_far) / (1 + len(differences)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values: a claim holds at level α within the family where its value is at most α."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    steps = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(p) else steps
    return adjusted.tolist()
