"""The results of a study: every evaluation that is there, or the figures published with the paper.

Each seed has directories of its own, so that adding seeds never touches what is finished. Seed 0,
the default of `train.py`, has the directories themselves; seed 3 has `seed_3` in them:

    evaluation/makam/ast_from_fma.json            saved_models/makam/ast_from_fma.pth
    evaluation/seed_3/makam/ast_from_fma.json     saved_models/seed_3/makam/ast_from_fma.pth
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from config import DATASETS, MODELS, MODELS_CONFIG, RunName
from evaluation.published_results import PUBLISHED_RESULTS, PublishedResult, read_published_results
from evaluation.reports import Report, read_report, report_files
from runtime.errors import DataError

METRICS = ("roc_auc", "pr_auc")
METRIC_TITLES = {"roc_auc": "ROC-AUC", "pr_auc": "PR-AUC"}
PUBLISHED_TITLE = "Published results (Papaioannou et al., ISMIR 2023)"
SYNTHETIC_NOTE = "All data are SYNTHETIC demo corpora: computed sounds. These figures say nothing about music."
# Training recordings of each corpus in the published splits.
PUBLISHED_TRAINING_RECORDINGS = {
    "magnatagatune": 15_247,
    "fma": 17_486,
    "lyra": 1_116,
    "makam": 3_709,
    "hindustani": 844,
    "carnatic": 1_829,
}


def seed_dir(directory: Path, seed: int) -> Path:
    """Where the files of one seed are: `directory` itself for seed 0, else `directory/seed_N`."""
    return directory if seed == 0 else directory / f"seed_{seed}"


@dataclass(frozen=True)
class Result:
    """The test results of one run, one figure a seed.

    Attributes:
        dataset: the target corpus.
        run: model, source and what was trained.
        seeds: those there is an evaluation of.
        figures: by metric ("roc_auc", "pr_auc"), macro averages in the order of `seeds`.
        files: the `.json` of each evaluation, in the order of `seeds`; empty for published figures.
        reports: what is in them.
        training_recordings: size of the target's training set, None where it is not known.
    """

    dataset: str
    run: RunName
    seeds: tuple[int, ...]
    figures: Mapping[str, tuple[float, ...]]
    files: tuple[Path, ...] = ()
    reports: tuple[Report, ...] = ()
    training_recordings: int | None = None

    def mean(self, metric: str) -> float:
        """Mean over seeds."""
        return statistics.fmean(self.figures[metric])

    def deviation(self, metric: str) -> float | None:
        """Standard deviation over seeds (n − 1 in the denominator); None with fewer than two."""
        values = self.figures[metric]
        return statistics.stdev(values) if len(values) > 1 else None

    def tag_means(self, metric: str) -> dict[str, float]:
        """The figure of each tag, averaged over seeds; NaN where it is not defined."""
        rows = [report.metrics.per_tag for report in self.reports]
        return {of[0].tag: statistics.fmean(getattr(row, metric) for row in of) for of in zip(*rows, strict=True)}


@dataclass(frozen=True)
class Study:
    """Results by target and run.

    Attributes:
        title: one line.
        datasets: the corpora of the study, in the order of `config.py`.
        models: its models, likewise.
        seeds: the seeds it should have.
        results: by (dataset, run name).
        missing: evaluations that are not there, as paths.
        notes: sentences every reader must see.
        synthetic: whether any corpus is a demo corpus (`datasets.demo`), which `notes` then says.
    """

    title: str
    datasets: tuple[str, ...]
    models: tuple[str, ...]
    seeds: tuple[int, ...]
    results: Mapping[tuple[str, str], Result]
    missing: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    synthetic: bool = False

    def get(
        self, dataset: str, model: str, source: str | None = None, *, final_layer_only: bool = False
    ) -> Result | None:
        """The result of a run; None where there is none."""
        return self.results.get((dataset, str(RunName(model, source, final_layer_only))))

    def of(self, dataset: str) -> list[Result]:
        """All results on a target, in the order of `config.py`."""
        return [result for (target, _), result in self.results.items() if target == dataset]

    @property
    def has_scores(self) -> bool:
        """Whether the scores of recordings are there (they are not for published figures)."""
        return any(result.files for result in self.results.values())


def gain(study: Study, result: Result, metric: str = "roc_auc") -> float | None:
    """What a transfer gains over the same model trained from scratch on the target; None if that is missing."""
    scratch = study.get(result.dataset, result.run.model)
    return None if scratch is None else result.mean(metric) - scratch.mean(metric)


def run_names(dataset: str, datasets: Sequence[str], models: Sequence[str]) -> list[RunName]:
    """The runs on a target within a study: from scratch, and from each of its other corpora."""
    return [
        run.name
        for run in MODELS_CONFIG[dataset].values()
        if run.model.name in models and (run.name.source is None or run.name.source in datasets)
    ]


def load_study(
    evaluation_dir: Path,
    datasets: Iterable[str] = tuple(DATASETS),
    models: Iterable[str] = tuple(MODELS),
    seeds: Sequence[int] = (0,),
    *,
    title: str = "Results of this study",
    notes: Sequence[str] = (),
    synthetic: bool = False,
) -> Study:
    """Read whatever evaluations of these corpora, models and seeds there are.

    Raises:
        DataError: there is none at all, one is damaged, or the runs on a target were evaluated on different sets.
    """
    datasets = tuple(name for name in DATASETS if name in set(datasets))
    models = tuple(name for name in MODELS if name in set(models))
    results, missing = {}, []
    for dataset in datasets:
        test_sets: dict[str, Path] = {}
        for run in run_names(dataset, datasets, models):
            paths = {seed: report_files(seed_dir(evaluation_dir, seed), dataset, str(run)).json for seed in seeds}
            missing += [path for path in paths.values() if not path.is_file()]
            found = {seed: path for seed, path in paths.items() if path.is_file()}
            if found:
                reports = tuple(read_report(path) for path in found.values())
                for path, report in zip(found.values(), reports, strict=True):
                    test_sets.setdefault(str(report.provenance.get("test_fingerprint")), path)
                results[dataset, str(run)] = _result(dataset, run, found, reports)
        if len(test_sets) > 1:
            first, second = list(test_sets.values())[:2]
            raise DataError(f"{first} and {second} were evaluated on different test sets; run one of them again")
    reports = [report for result in results.values() for report in result.reports]
    synthetic = synthetic or any(report.provenance.get("synthetic") is True for report in reports)
    if not results:
        raise DataError(f"no evaluations of {', '.join(datasets)} in {evaluation_dir}; run evaluate.py or snakemake")
    notes = ((SYNTHETIC_NOTE,) if synthetic else ()) + tuple(notes)
    return Study(title, datasets, models, tuple(seeds), results, tuple(missing), notes, synthetic)


def _result(dataset: str, run: RunName, files: Mapping[int, Path], reports: tuple[Report, ...]) -> Result:
    figures = {metric: tuple(getattr(report.metrics, metric) for report in reports) for metric in METRICS}
    training = reports[0].provenance.get("training") or {}
    recordings = training.get("configuration", {}).get("recordings", {}).get("train")
    return Result(dataset, run, tuple(files), figures, tuple(files.values()), reports, recordings)


def published_study(path: Path = PUBLISHED_RESULTS) -> Study:
    """The 54 published figures as a study of their own: for each model, from scratch and its best transfers.

    Raises:
        DataError: the file is missing or damaged.
    """
    results = {
        (row.dataset, str(row.run)): Result(
            row.dataset,
            row.run,
            seeds=(0,),
            figures={"roc_auc": (row.roc_auc,), "pr_auc": (row.pr_auc,)},
            training_recordings=PUBLISHED_TRAINING_RECORDINGS[row.dataset],
        )
        for row in sorted(read_published_results(path), key=_published_place)
    }
    note = "Of the transfers only the best of each target and model was published, not the whole matrix."
    return Study(PUBLISHED_TITLE, tuple(DATASETS), tuple(MODELS), (0,), results, notes=(note,))


def _published_place(row: PublishedResult) -> tuple[int, int]:
    """The order of `config.py`, whatever that of the file."""
    return list(DATASETS).index(row.dataset), list(MODELS_CONFIG[row.dataset]).index(str(row.run))
