"""Who understands the music of the others better? The answers in words, from a study's results."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from config import DATASETS
from study.comparisons import TargetStatistics
from study.results import Result, Study, gain


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


@dataclass(frozen=True)
class Teacher:
    """A corpus as a source, over all targets and models.

    Attributes:
        source: its name.
        transfers: how many transfers start from it.
        wins: for how many pairs of target and model it is the best source.
        best_for: the targets whose best transfer, of all models, starts from it.
        mean_gain: of its transfers over training from scratch; None where the study does not have every
            source for every target and model: means over different transfers cannot be compared.
        better: transfers significantly better than from scratch; None without statistics.
        worse: and significantly worse.
    """

    source: str
    transfers: int
    wins: int
    best_for: tuple[str, ...]
    mean_gain: float | None
    better: int | None
    worse: int | None


def teachers(
    study: Study, found: Mapping[str, TargetStatistics], metric: str = "roc_auc", *, final_layer_only: bool = False
) -> list[Teacher]:
    """All corpora as sources; the one with the highest mean gain first, or the one most often best."""

    def best_source(dataset: str, model: str | None = None) -> str | None:
        best = best_result(study, dataset, model=model, transfer=True, final_layer_only=final_layer_only, metric=metric)
        return best.run.source if best else None

    winners = [best_source(dataset, model) for dataset in study.datasets for model in study.models]
    best = {dataset: best_source(dataset) for dataset in study.datasets}
    by_source = {source: _transfers(study, source, final_layer_only) for source in study.datasets}
    gains = {source: [gain(study, result, metric) for result in results] for source, results in by_source.items()}
    complete = all(
        len(of) == (len(study.datasets) - 1) * len(study.models)
        and all(g is not None and not math.isnan(g) for g in of)
        for of in gains.values()
    )
    ranked = []
    for source, results in by_source.items():
        if not results:
            continue
        claims = [found[result.dataset].gain(result.run, metric) for result in results if result.dataset in found]
        significant = [claim.difference for claim in claims if claim and claim.significant]
        ranked.append(
            Teacher(
                source,
                transfers=len(results),
                wins=winners.count(source),
                best_for=tuple(dataset for dataset, teacher in best.items() if teacher == source),
                mean_gain=statistics.fmean(gains[source]) if complete else None,
                better=sum(difference > 0 for difference in significant) if found else None,
                worse=sum(difference < 0 for difference in significant) if found else None,
            )
        )
    return sorted(ranked, key=lambda teacher: -(teacher.mean_gain if complete else teacher.wins))


def _transfers(study: Study, source: str, final_layer_only: bool) -> list[Result]:
    return [
        result
        for result in study.results.values()
        if result.run.source == source and result.run.final_layer_only is final_layer_only
    ]


def headline(study: Study, ranked: Sequence[Teacher]) -> str:
    """One or two sentences: which source teaches the others most (whole network)."""
    first, last = ranked[0], ranked[-1]
    if first.mean_gain is not None:
        text = f"{DATASETS[first.source].title} teaches the others most: starting from it changes ROC-AUC by "
        text += f"{_signed(first.mean_gain)} on average over training from scratch"
        if len(ranked) > 1:
            text += f"; {DATASETS[last.source].title} teaches least ({_signed(last.mean_gain)})"
    else:
        pairs = sum(teacher.wins for teacher in ranked)
        often = [DATASETS[teacher.source].title for teacher in ranked if teacher.wins == first.wins]
        text = f"Most often the best source: {' and '.join(often)}, "
        text += f"{'each ' if len(often) > 1 else ''}for {first.wins} of {pairs} pairs of target and model"
    if sum(bool(teacher.best_for) for teacher in ranked) > 1:
        text += ". The best source differs by target"
    return f"{text}."


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
        sentence += f". Over {best.run.model} from scratch it gains {_signed(claim.difference)}, {verdict}"
    return f"{sentence}."


def _how(result: Result) -> str:
    if result.run.source is None:
        return f"{result.run.model} from scratch"
    layers = "final layer" if result.run.final_layer_only else "whole network"
    return f"{result.run.model} from {DATASETS[result.run.source].title} ({layers})"


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "−")
