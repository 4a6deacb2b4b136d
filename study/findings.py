"""Who understands the music of the others better? The answers in words, from a study's results."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from config import DATASETS
from study.comparisons import TargetStatistics
from study.results import Result, Study


def best_result(
    study: Study,
    dataset: str,
    *,
    model: str | None = None,
    transfer: bool | None = None,
    final_layer_only: bool | None = None,
    metric: str = "roc_auc",
) -> Result | None:
    """The best result on a target among those asked for (None: any); None where there is none."""
    candidates = [
        result
        for result in study.of(dataset)
        if (model is None or result.run.model == model)
        and (transfer is None or (result.run.source is not None) is transfer)
        and (final_layer_only is None or result.run.final_layer_only is final_layer_only)
        and not math.isnan(result.mean(metric))
    ]
    return max(candidates, key=lambda result: result.mean(metric), default=None)


def gain(study: Study, result: Result, metric: str = "roc_auc") -> float | None:
    """What a transfer gains over the same model trained from scratch on the target; None if that is missing."""
    scratch = study.get(result.dataset, result.run.model)
    return None if scratch is None else result.mean(metric) - scratch.mean(metric)


@dataclass(frozen=True)
class Teacher:
    """A corpus as a source, over all targets and models (whole network)."""

    source: str
    mean_gain: float
    transfers: int  # how many the mean is over
    best_for: tuple[str, ...]  # targets whose best transfer starts from it
    better: int | None  # transfers significantly better than from scratch; None without statistics
    worse: int | None


def teachers(
    study: Study, found: Mapping[str, TargetStatistics], metric: str = "roc_auc", *, final_layer_only: bool = False
) -> list[Teacher]:
    """All corpora as sources, the one with the highest mean gain over training from scratch first."""
    best = {
        dataset: result.run.source
        for dataset in study.datasets
        if (result := best_result(study, dataset, transfer=True, final_layer_only=final_layer_only, metric=metric))
    }
    ranked = []
    for source in study.datasets:
        results = [
            result
            for result in study.results.values()
            if result.run.source == source and result.run.final_layer_only is final_layer_only
        ]
        gains = [value for result in results if (value := gain(study, result, metric)) is not None]
        gains = [value for value in gains if not math.isnan(value)]
        if not gains:
            continue
        claims = [found[result.dataset].gain(result.run, metric) for result in results if result.dataset in found]
        significant = [claim.difference for claim in claims if claim and claim.significant]
        ranked.append(
            Teacher(
                source,
                statistics.fmean(gains),
                len(gains),
                tuple(dataset for dataset, teacher in best.items() if teacher == source),
                sum(difference > 0 for difference in significant) if found else None,
                sum(difference < 0 for difference in significant) if found else None,
            )
        )
    return sorted(ranked, key=lambda teacher: -teacher.mean_gain)


def target_sentence(study: Study, dataset: str, found: TargetStatistics | None) -> str | None:
    """One sentence on a target: its best result, and whether transfer helped; None where there is no result."""
    best = best_result(study, dataset)
    if best is None:
        return None
    how = _how(best)
    sentence = f"{DATASETS[dataset].title}: best is {how} (ROC-AUC {best.mean('roc_auc'):.4f})"
    scratch = best_result(study, dataset, transfer=False)
    transfer = best_result(study, dataset, transfer=True)
    if scratch is None or transfer is None:
        return f"{sentence}."
    other = transfer if best.run.source is None else scratch
    sentence += f"; {_how(other)} reaches {other.mean('roc_auc'):.4f}"
    claim = found.gain(best.run, "roc_auc") if found else None
    if claim is not None:
        verdict = "beyond chance" if claim.significant else "not beyond chance"
        sentence += f". Over {best.run.model} from scratch it gains {claim.difference:+.4f}, {verdict}"
    return f"{sentence}."


def _how(result: Result) -> str:
    if result.run.source is None:
        return f"{result.run.model} from scratch"
    layers = "final layer" if result.run.final_layer_only else "whole network"
    return f"{result.run.model} from {DATASETS[result.run.source].title} ({layers})"
