"""Which source is better on average? Mean gains over targets and models, with intervals and comparisons.

The gain of a source on a target is its ROC-AUC less that of training from scratch, whole network, mean
over the models. Test sets are independent of each other, so a resample of the study is one resample of
each target's recordings, and what a source gains on average on it is the mean over its targets. Two
sources are compared on the targets that both have: not on themselves, where they cannot be sources.
Holm's correction is applied over all pairs.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from config import DATASETS
from study.comparisons import ALPHA, TargetStatistics
from study.results import Study, gain
from study.statistics import Interval, basic_interval, compare, holm


@dataclass(frozen=True)
class MeanGain:
    """What a source gains over training from scratch, mean over models and some targets."""

    source: str
    targets: tuple[str, ...]
    gain: float
    interval: Interval


@dataclass(frozen=True)
class SourcePair:
    """Does one source gain more than another, on the targets they share?

    Attributes:
        better: the source with the higher mean gain.
        worse: the other.
        targets: those compared on.
        difference: of the mean gains, not negative.
        interval: of the difference.
        p_value: two-sided, not corrected.
        p_holm: corrected over all pairs of the study.
    """

    better: str
    worse: str
    targets: tuple[str, ...]
    difference: float
    interval: Interval
    p_value: float
    p_holm: float

    @property
    def significant(self) -> bool:
        return self.p_holm <= ALPHA


class SourceGains:
    """Gains by target and source, observed and resampled; those known for every model of the study."""

    def __init__(self, study: Study, found: Mapping[str, TargetStatistics]) -> None:
        self._study = study
        self._observed: dict[tuple[str, str], float] = {}
        self._samples: dict[tuple[str, str], np.ndarray] = {}
        resamples = min((of.resamples for of in found.values()), default=0)
        for target, of in found.items():
            # Targets with equally many test recordings drew the same resamples; another order unties them.
            order = np.random.default_rng(list(DATASETS).index(target)).permutation(resamples)
            for source in of.sources:
                results = [study.get(target, model, source) for model in study.models]
                self._observed[target, source] = statistics.fmean(gain(study, result) for result in results)
                self._samples[target, source] = of.gain_samples(source)[order]

    def on(self, target: str, source: str) -> MeanGain | None:
        """The gain on one target; None where a result is missing."""
        return self._mean(source, (target,)) if (target, source) in self._observed else None

    def means(self) -> dict[str, MeanGain]:
        """By source, the mean over all other corpora; empty where one is missing: means would not be comparable."""
        n = len(self._study.datasets)
        if n < 2 or len(self._observed) != n * (n - 1):
            return {}
        return {source: self._mean(source, self._targets(source)) for source in self._study.datasets}

    def pairs(self) -> list[SourcePair]:
        """Every pair of sources with a target in common."""
        compared = []
        for pair in itertools.combinations(self._study.datasets, 2):
            shared = tuple(target for target in self._targets(pair[0]) if target in self._targets(pair[1]))
            if shared:
                better, worse = sorted(pair, key=lambda source: -self._gain(source, shared))
                difference = self._gain(better, shared) - self._gain(worse, shared)
                result = compare(difference, self._resampled(better, shared), self._resampled(worse, shared))
                compared.append((better, worse, shared, result))
        adjusted = holm([result.p_value for *_, result in compared])
        return [
            SourcePair(better, worse, shared, result.difference, result.interval, result.p_value, p_holm)
            for (better, worse, shared, result), p_holm in zip(compared, adjusted, strict=True)
        ]

    def _targets(self, source: str) -> tuple[str, ...]:
        return tuple(target for target in self._study.datasets if (target, source) in self._observed)

    def _mean(self, source: str, targets: Sequence[str]) -> MeanGain:
        observed = self._gain(source, targets)
        return MeanGain(source, tuple(targets), observed, basic_interval(observed, self._resampled(source, targets)))

    def _gain(self, source: str, targets: Sequence[str]) -> float:
        return statistics.fmean(self._observed[target, source] for target in targets)

    def _resampled(self, source: str, targets: Sequence[str]) -> np.ndarray:
        return np.mean([self._samples[target, source] for target in targets], axis=0)
