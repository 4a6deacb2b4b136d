"""Who understands the music of the others better? The answers in words, from a study's results."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from config import DATASETS
from study.comparisons import TargetStatistics
from study.results import Result, Study, gain
from study.source_means import MeanGain, SourceGains, SourcePair
from study.table_words import signed


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
    """A corpus as a source, whole network trained on, over all targets and models.

    Attributes:
        source: its name.
        transfers: how many transfers start from it.
        wins: for how many pairs of target and model it is the best source.
        best_for: the targets whose best transfer, of all models, starts from it.
        mean_gain: in ROC-AUC over training from scratch; None where the study does not have every source for
            every target and model: means over different transfers cannot be compared.
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


def teachers(study: Study, found: Mapping[str, TargetStatistics]) -> list[Teacher]:
    """All corpora as sources; the one with the highest mean gain first, or the one most often best."""

    def best_source(dataset: str, model: str | None = None) -> str | None:
        best = best_result(study, dataset, model=model, transfer=True, final_layer_only=False)
        return best.run.source if best else None

    winners = [best_source(dataset, model) for dataset in study.datasets for model in study.models]
    best = {dataset: best_source(dataset) for dataset in study.datasets}
    by_source = {source: [of for of in _transfers(study) if of.run.source == source] for source in study.datasets}
    gains = {source: [gain(study, result) for result in results] for source, results in by_source.items()}
    complete = all(
        len(of) == (len(study.datasets) - 1) * len(study.models)
        and all(g is not None and not math.isnan(g) for g in of)
        for of in gains.values()
    ) and all(_same_seeds(study, result) for results in by_source.values() for result in results)
    ranked = []
    for source, results in by_source.items():
        if not results:
            continue
        claims = [found[result.dataset].gain(result.run, "roc_auc") for result in results if result.dataset in found]
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


def _same_seeds(study: Study, transfer: Result) -> bool:
    scratch = study.get(transfer.dataset, transfer.run.model)
    return scratch is not None and scratch.seeds == transfer.seeds


def _transfers(study: Study, *, final_layer_only: bool = False) -> list[Result]:
    return [
        result
        for result in study.results.values()
        if result.run.source is not None and result.run.final_layer_only is final_layer_only
    ]


def answers(study: Study, found: Mapping[str, TargetStatistics]) -> list[str]:
    """Plain sentences, the answer first: which source teaches most, whether that may be chance, and what else shows."""
    ranked = teachers(study, found)
    if not ranked:
        return ["No transfer has been evaluated yet, so that no corpus can be compared as a source."]
    gains = SourceGains(study, found)
    sentences = [_most(study, ranked, gains.means().get(ranked[0].source))]
    if ranked[0].mean_gain is not None and len(ranked) > 1:
        sentences += [_beyond_chance(ranked[0].source, gains.pairs())] if found else []
        last = ranked[-1]
        sentences.append(f"{_title(last.source)} teaches least ({signed(last.mean_gain, 3)}).")
    elif study.missing:
        sentences.append("Evaluations are missing, so that the mean gains of sources are not compared.")
    if not all(of.can_tell for of in found.values()):
        few = min(of.resamples for of in found.values())
        sentences.append(f"{few} resamples are too few for differences to count as beyond chance; draw more.")
    return [*sentences, *_by_target(ranked), *_how_often(study, found), *_best_models(study)]


def _most(study: Study, ranked: Sequence[Teacher], mean: MeanGain | None) -> str:
    first = ranked[0]
    if first.mean_gain is None:
        often = [teacher.source for teacher in ranked if teacher.wins == first.wins]
        pairs = sum(teacher.wins for teacher in ranked)
        each = "each is" if len(often) > 1 else "it is"
        return (
            f"{_titles(often)} teach{'' if len(often) > 1 else 'es'} the others best most often: {each} the best "
            f"source for {first.wins} of {pairs} pairs of target and model."
        )
    sentence = (
        f"{_title(first.source)} teaches the others most: a model that starts from it gains "
        f"{signed(first.mean_gain, 3)} in ROC-AUC over one trained from scratch, on average over the other corpora"
    )
    if mean is not None:
        sentence += f" (95 % interval {signed(mean.interval.low, 3)} to {signed(mean.interval.high, 3)})"
    if mean is not None and mean.interval.low <= 0 <= mean.interval.high:
        sentence += ", which may be chance"
    return f"{sentence}."


def _beyond_chance(first: str, pairs: Sequence[SourcePair]) -> str:
    """How sure it is that `first` teaches most."""
    if not pairs:
        return "The two sources have no target in common on which they could be compared."
    if not any(pair.significant for pair in pairs):
        return "No source beats another beyond chance on average: which one teaches most, these results cannot tell."
    beaten = [pair.worse for pair in pairs if pair.better == first and pair.significant]
    lost = [pair.better for pair in pairs if pair.worse == first and pair.significant]
    open_ = [_other(pair, first) for pair in pairs if first in (pair.better, pair.worse) and not pair.significant]
    parts = []
    if beaten:
        parts.append(f"It beats {'every other source' if not lost and not open_ else _titles(beaten)} beyond chance")
    if open_:
        parts.append(
            f"{'whether' if parts else 'Whether'} it is really better than {_titles(open_, 'or')}, "
            "these results cannot tell"
        )
    if lost:
        parts.append(f"{'on' if parts else 'On'} the targets both have, {_titles(lost)} beat it beyond chance")
    return f"{'; '.join(parts)}."


def _other(pair: SourcePair, source: str) -> str:
    return pair.worse if pair.better == source else pair.better


def _by_target(ranked: Sequence[Teacher]) -> list[str]:
    best = [teacher for teacher in ranked if teacher.best_for]
    if len(best) < 2:
        return []
    by_source = ", ".join(f"{_title(of.source)} for {_titles(of.best_for)}" for of in best)
    return [f"The best source differs by target: {by_source}."]


def _how_often(study: Study, found: Mapping[str, TargetStatistics]) -> list[str]:
    """How many transfers do better than from scratch, whole network and final layer."""
    counts = []
    for final, words in ((False, "the whole network"), (True, "the final layer alone")):
        gains = [(result, gain(study, result)) for result in _transfers(study, final_layer_only=final)]
        known = [(result, value) for result, value in gains if value is not None and not math.isnan(value)]
        if not known:
            continue
        count = f"of {words} in {sum(value > 0 for _, value in known)} of {len(known)} cases"
        if found:
            claims = [found[of.dataset].gain(of.run, "roc_auc") for of, _ in known if of.dataset in found]
            count += f" ({sum(bool(c and c.significant and c.difference > 0) for c in claims)} beyond chance)"
        counts.append(count)
    return [f"Transfer does better than training from scratch: {', '.join(counts)}."] if counts else []


def _best_models(study: Study) -> list[str]:
    """Which models reach the best results, whether by transfer or not."""
    best = [result for dataset in study.datasets if (result := best_result(study, dataset))]
    if len(study.models) < 2:
        return []
    ranked = Counter(result.run.model for result in best).most_common()
    (model, count), rest = ranked[0], ranked[1:]
    others = "".join(f", {name} on {n}" for name, n in rest)
    return [f"Of the models, {model} reaches the best result on {count} of {len(best)} targets{others}."]


def _title(dataset: str) -> str:
    return DATASETS[dataset].title


def _titles(datasets: Sequence[str], word: str = "and") -> str:
    *others, last = map(_title, datasets)
    return f"{', '.join(others)} {word} {last}" if others else last
