"""Intervals and paired comparisons of every run on a target, computed once and kept as JSON.

    python -m study.comparisons --dataset makam

Two families of claims are tested on each target, for each metric: "this transfer beats training
from scratch" (every model and source, whole network and final layer) and "this source beats that
one" (every pair of sources of a model, whole network and final layer apart). Holm's correction is
applied within a family. With several seeds the figure compared is the mean over seeds. What each source
gains on each resample is kept too, for averages over targets (`study.source_means`).
"""

from __future__ import annotations

import base64
import itertools
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from config import DATASETS, RunName
from evaluation.reports import read_scores
from runtime.arguments import ScriptParser, positive_int
from runtime.atomic_files import atomic_write, make_directory
from runtime.errors import DataError, run_script
from study.arguments import add_study_arguments, study_from
from study.results import METRICS, Result, Study
from study.statistics import Interval, basic_interval, compare, draw_resamples, holm, resampled_areas

FORMAT = 2
ALPHA = 0.05
RESAMPLES = 10_000  # p-values reach down to 1/10001: enough for Holm in families of hundreds


@dataclass(frozen=True)
class Claim:
    """One comparison: does run `first` differ from run `second`?"""

    first: str
    second: str
    metric: str
    difference: float
    interval: Interval
    p_value: float
    p_holm: float

    @property
    def significant(self) -> bool:
        return self.p_holm <= ALPHA


@dataclass(frozen=True)
class TargetStatistics:
    """What the bootstrap says of the runs on one target."""

    dataset: str
    n_recordings: int
    resamples: int
    scores_sha256: dict[str, list[str]]  # by run name: the files of scores it was computed from
    intervals: dict[tuple[str, str], Interval]  # by (run name, metric)
    over_scratch: tuple[Claim, ...]
    between_sources: tuple[Claim, ...]
    packed_gains: dict[str, str]  # by source, what `gain_samples` unpacks

    def gain(self, run: RunName, metric: str) -> Claim | None:
        """The claim that a transfer beats training from scratch."""
        found = (claim for claim in self.over_scratch if (claim.first, claim.metric) == (str(run), metric))
        return next(found, None)

    def between(self, first: RunName, second: RunName, metric: str) -> Claim | None:
        """The claim that one source beats another, `first` being the run with the higher ROC-AUC."""
        wanted = str(first), str(second), metric
        found = (claim for claim in self.between_sources if (claim.first, claim.second, claim.metric) == wanted)
        return next(found, None)

    def gain_samples(self, source: str) -> np.ndarray:
        """(resamples,) gain in ROC-AUC over from scratch, mean over all models, whole network; see `sources`."""
        return np.frombuffer(base64.b64decode(self.packed_gains[source]), dtype="<f4").astype(np.float64)

    @property
    def can_tell(self) -> bool:
        """Whether the resamples suffice for any claim to be significant: p is never below 1 / (1 + resamples)."""
        largest = max(
            (Counter(of.metric for of in claims).most_common(1)[0][1] for claims in self._families), default=1
        )
        return largest / (1 + self.resamples) <= ALPHA

    @property
    def _families(self) -> list[tuple[Claim, ...]]:
        return [claims for claims in (self.over_scratch, self.between_sources) if claims]

    @property
    def sources(self) -> tuple[str, ...]:
        """Sources that every model of the study has been transferred from."""
        return tuple(self.packed_gains)


def target_statistics(study: Study, dataset: str, resamples: int = RESAMPLES, threads: int = 2) -> TargetStatistics:
    """Bootstrap every run on `dataset` on the same resamples.

    Raises:
        DataError: no run was evaluated, a file is damaged, or the runs were evaluated on different recordings.
    """
    results = study.of(dataset)
    if not results:
        raise DataError(f"no run on {dataset} has been evaluated; run evaluate.py or snakemake")
    samples: dict[str, dict[str, np.ndarray]] = {}
    counts = labels = ids = None
    for result in results:
        per_seed = []
        for path in result.files:
            recordings = read_scores(path)
            if counts is None:
                labels, ids = recordings.labels, recordings.ids
                counts = draw_resamples(len(labels), resamples)
            elif ids != recordings.ids or not np.array_equal(labels, recordings.labels):
                raise DataError(f"{path} has other recordings or tags than the other runs on {dataset}; evaluate again")
            per_seed.append(resampled_areas(labels, recordings.scores, counts, threads))
        name = str(result.run)
        samples[name] = {metric: np.mean([getattr(areas, metric) for areas in per_seed], axis=0) for metric in METRICS}
    defined = [result for result in results if not math.isnan(result.mean("roc_auc"))]
    intervals = {
        (str(result.run), metric): _area_interval(result.mean(metric), samples[str(result.run)][metric])
        for result in defined
        for metric in METRICS
    }
    over_scratch, between_sources = [], []
    for metric in METRICS:
        over_scratch += _claims(_scratch_pairs(defined), metric, samples)
        between_sources += _claims(_source_pairs(defined), metric, samples)
    return TargetStatistics(
        dataset,
        len(labels),
        resamples,
        _hashes(results),
        intervals,
        tuple(over_scratch),
        tuple(between_sources),
        _packed_gains(study, dataset, samples),
    )


def _packed_gains(study: Study, dataset: str, samples: dict[str, dict[str, np.ndarray]]) -> dict[str, str]:
    """Base64 of little-endian float32: as numbers they would be most of the file."""
    packed = {}
    for source in study.datasets:
        pairs = [(study.get(dataset, model, source), study.get(dataset, model)) for model in study.models]
        if all(transfer and scratch and transfer.seeds == scratch.seeds for transfer, scratch in pairs):
            areas = [[samples[str(of.run)]["roc_auc"] for of in pair] for pair in pairs]
            gains = np.mean([transfer - scratch for transfer, scratch in areas], axis=0)
            packed[source] = base64.b64encode(gains.astype("<f4").tobytes()).decode()
    return packed


def _area_interval(observed: float, samples: np.ndarray) -> Interval:
    """The basic interval within the bounds of an area."""
    interval = basic_interval(observed, samples)
    return Interval(max(0.0, interval.low), min(1.0, interval.high))


def _hashes(results: Sequence[Result]) -> dict[str, list[str]]:
    return {str(result.run): [report.scores_sha256 for report in result.reports] for result in results}


def _scratch_pairs(results: Sequence[Result]) -> list[tuple[Result, Result]]:
    scratch = {result.run.model: result for result in results if result.run.source is None}
    transfers = [result for result in results if result.run.source is not None]
    return [(result, scratch[result.run.model]) for result in transfers if result.run.model in scratch]


def _source_pairs(results: Sequence[Result]) -> list[tuple[Result, Result]]:
    """Every pair of sources, the one with the higher ROC-AUC first."""
    ranked = sorted((result for result in results if result.run.source), key=lambda result: -result.mean("roc_auc"))
    return [
        (first, second)
        for first, second in itertools.combinations(ranked, 2)
        if (first.run.model, first.run.final_layer_only) == (second.run.model, second.run.final_layer_only)
    ]


def _claims(
    pairs: Sequence[tuple[Result, Result]], metric: str, samples: dict[str, dict[str, np.ndarray]]
) -> list[Claim]:
    """The comparisons of one family, corrected together."""
    found = []
    for first, second in pairs:
        shared = set(first.seeds) & set(second.seeds)
        if len(shared) != len(first.seeds) or len(shared) != len(second.seeds):
            continue  # a seed of one of them is still missing: the means would be of different things
        names = str(first.run), str(second.run)
        difference = first.mean(metric) - second.mean(metric)
        found.append((*names, compare(difference, *(samples[name][metric] for name in names))))
    adjusted = holm([comparison.p_value for *_, comparison in found])
    return [
        Claim(first, second, metric, result.difference, result.interval, result.p_value, p_holm)
        for (first, second, result), p_holm in zip(found, adjusted, strict=True)
    ]


def statistics_path(results_dir: Path, dataset: str) -> Path:
    return results_dir / "statistics" / f"{dataset}.json"


def write_statistics(path: Path, found: TargetStatistics, *, synthetic: bool = False) -> None:
    """Write what `read_statistics` reads, and whether the data are synthetic, for whoever else reads it."""

    def rows(claims: Sequence[Claim]) -> list[dict]:
        return [
            {**{name: value for name, value in vars(claim).items() if name != "interval"}, **vars(claim.interval)}
            for claim in claims
        ]

    document = {
        "format": FORMAT,
        "dataset": found.dataset,
        "n_recordings": found.n_recordings,
        "resamples": found.resamples,
        "synthetic": synthetic,
        "scores_sha256": found.scores_sha256,
        "intervals": [
            {"run": run, "metric": metric, **vars(interval)} for (run, metric), interval in found.intervals.items()
        ],
        "over_scratch": rows(found.over_scratch),
        "between_sources": rows(found.between_sources),
        "packed_gains": found.packed_gains,
    }
    make_directory(path.parent)
    with atomic_write(path, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1, allow_nan=False)
        file.write("\n")


def read_statistics(path: Path) -> TargetStatistics:
    """Read the statistics of one target.

    Raises:
        DataError: the file is missing, damaged or of another layout.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise ValueError(f"it is of format {document['format']}")
        families = {}
        for name in ("over_scratch", "between_sources"):
            families[name] = tuple(
                Claim(interval=Interval(row.pop("low"), row.pop("high")), **row) for row in document[name]
            )
        intervals = {(row["run"], row["metric"]): Interval(row["low"], row["high"]) for row in document["intervals"]}
        numbers = {
            name: document[name] for name in ("dataset", "n_recordings", "resamples", "scores_sha256", "packed_gains")
        }
        return TargetStatistics(**numbers, intervals=intervals, **families)
    except OSError as error:
        raise DataError(f"cannot read {path} ({error.strerror}); run python -m study.comparisons for it") from error
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged ({error}); remove it and run the workflow again") from error


def load_statistics(results_dir: Path, study: Study) -> dict[str, TargetStatistics]:
    """The statistics of every target of a study that has results; none for published figures, which have no scores.

    Raises:
        DataError: they have not been computed, or from other scores than the study's.
    """
    found = {}
    for dataset in study.datasets if study.has_scores else ():
        results = study.of(dataset)
        if results:
            path = statistics_path(results_dir, dataset)
            found[dataset] = read_statistics(path)
            if found[dataset].scores_sha256 != _hashes(results):
                raise DataError(
                    f"{path} was computed from other evaluations; run python -m study.comparisons --dataset {dataset}"
                )
    return found


def main() -> None:
    parser = ScriptParser(__doc__)
    parser.add_argument("--dataset", required=True, choices=list(DATASETS), help="the target")
    parser.add_argument("--resamples", type=positive_int, default=RESAMPLES, help="bootstrap resamples")
    parser.add_argument("--threads", type=positive_int, default=2, help="blocks of resamples computed side by side")
    add_study_arguments(parser)
    arguments = parser.parse_args()
    study = study_from(arguments)
    found = target_statistics(study, arguments.dataset, arguments.resamples, arguments.threads)
    path = statistics_path(arguments.results_dir, arguments.dataset)
    write_statistics(path, found, synthetic=study.synthetic)
    claims = found.over_scratch + found.between_sources
    print(f"{sum(claim.significant for claim in claims)} of {len(claims)} comparisons significant; written: {path}")


if __name__ == "__main__":
    run_script(main)
