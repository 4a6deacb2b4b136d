"""Does source A beat source B? `results/source_pairs.*`: every pair of sources, on every target and on average."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from config import DATASETS, RunName, parse_model_name
from study.comparisons import Claim, TargetStatistics
from study.results import METRIC_TITLES, METRICS, Study
from study.source_means import SourcePair
from study.table_formats import Cell, Table
from study.table_words import BLANK, FINAL, SYNTHETIC, WHOLE, signed

_PER_METRIC = ("_difference", "_low", "_high", "_p", "_p_holm")
PAIR_COLUMNS = (
    "target",
    "model",
    "trained",
    "first",
    "second",
    *(m + suffix for m in METRICS for suffix in _PER_METRIC),
    SYNTHETIC,
)
SHARED, ALL_MODELS = "shared targets", "mean over models"  # in the columns target and model


def source_pairs_table(study: Study, statistics: Mapping[str, TargetStatistics]) -> Table:
    """One row a target, model and pair of sources: the first's figures less the second's."""
    rows = []
    for dataset, found in statistics.items():
        claims = _by_pair(found)
        for model in study.models:
            sources = [source for source in study.datasets if source != dataset]
            for number, first in enumerate(sources):
                for second in sources[number + 1 :]:
                    cells = [
                        _difference_cell(claims.get((model, final, first, second, metric)))
                        for final in (False, True)
                        for metric in METRICS
                    ]
                    if any(cell is not BLANK for cell in cells):
                        names = (DATASETS[dataset].title, model, DATASETS[first].title, DATASETS[second].title)
                        rows.append((*map(Cell, names), *cells))
    caption = (
        "Does source A beat source B? Their difference on the test set of the target, in brackets its 95 % interval. "
        "▲: A is better, ▼: B is better (paired bootstrap over recordings, p ≤ 0.05 after Holm's correction over all "
        "pairs of a target and metric)."
    )
    figures = [f"{way}: {METRIC_TITLES[metric]}" for way in ("Whole network", "Final layer") for metric in METRICS]
    header = ("Target", "Model", "Source A", "Source B", *figures)
    return Table(" ".join((caption, *study.notes)), header, tuple(rows), text_columns=4)


def mean_pairs_table(study: Study, pairs: Sequence[SourcePair]) -> Table:
    """One row a pair of sources, over all targets they share: the better one first."""
    rows = [
        (
            Cell(DATASETS[pair.better].title),
            Cell(DATASETS[pair.worse].title),
            _cell(pair.difference, pair.interval.low, pair.interval.high, "▲" if pair.significant else ""),
            Cell(p_text(pair.p_holm)),
            Cell(_targets(study, pair)),
        )
        for pair in sorted(pairs, key=lambda pair: -pair.difference)
    ]
    caption = (
        "Which source teaches more on average? Difference of the mean gains in ROC-AUC, whole network, over all models "
        "and the targets that both sources have. ▲: beyond chance (paired bootstrap, p ≤ 0.05 after Holm's correction "
        "over all pairs)."
    )
    header = ("Source", "against", "Difference", "p (Holm)", "On")
    return Table(" ".join((caption, *study.notes)), header, tuple(rows), text_columns=2)


def _targets(study: Study, pair: SourcePair) -> str:
    if len(pair.targets) == len(study.datasets) - 2:
        return f"all others ({len(pair.targets)})"
    return ", ".join(DATASETS[name].title for name in pair.targets)


def pair_rows(statistics: Mapping[str, TargetStatistics], pairs: Sequence[SourcePair]) -> list[dict[str, object]]:
    """Rows of `source_pairs.csv`, the columns of `PAIR_COLUMNS`: the first has the higher ROC-AUC."""
    rows: dict[tuple[str, ...], dict[str, object]] = {}
    for pair in pairs:
        key = (SHARED, ALL_MODELS, WHOLE, pair.better, pair.worse)
        rows[key] = _csv_figures("roc_auc", pair)
    for dataset, found in statistics.items():
        for claim in found.between_sources:
            first, second = _runs(dataset, claim)
            key = (dataset, first.model, FINAL if first.final_layer_only else WHOLE, first.source, second.source)
            rows.setdefault(key, {}).update(_csv_figures(claim.metric, claim))
    return [{**dict(zip(PAIR_COLUMNS, key, strict=False)), **figures} for key, figures in rows.items()]


def p_text(value: float) -> str:
    """A p-value for reading."""
    return f"{value:.4f}" if value >= 0.0001 else "< 0.0001"


def _csv_figures(metric: str, of: Claim | SourcePair) -> dict[str, object]:
    values = (of.difference, of.interval.low, of.interval.high, of.p_value, of.p_holm)
    return {metric + suffix: value for suffix, value in zip(_PER_METRIC, values, strict=True)}


def _runs(dataset: str, claim: Claim) -> tuple[RunName, RunName]:
    return parse_model_name(dataset, claim.first), parse_model_name(dataset, claim.second)


def _by_pair(found: TargetStatistics) -> dict[tuple[str, bool, str, str, str], tuple[Claim, int]]:
    """Claims by model, way, sources and metric, in both orders: with −1 where the claim is the other way round."""
    claims = {}
    for claim in found.between_sources:
        first, second = _runs(found.dataset, claim)
        way = first.model, first.final_layer_only
        claims[(*way, first.source, second.source, claim.metric)] = claim, 1
        claims[(*way, second.source, first.source, claim.metric)] = claim, -1
    return claims


def _difference_cell(found: tuple[Claim, int] | None) -> Cell:
    if found is None:
        return BLANK
    claim, sign = found
    low, high = sorted((sign * claim.interval.low, sign * claim.interval.high))
    mark = ""
    if claim.significant:
        mark = "▲" if sign * claim.difference > 0 else "▼"
    return _cell(sign * claim.difference, low, high, mark)


def _cell(difference: float, low: float, high: float, mark: str) -> Cell:
    return Cell(signed(difference), f"[{signed(low, 3)} to {signed(high, 3)}] {mark}".rstrip(), bold=bool(mark))
