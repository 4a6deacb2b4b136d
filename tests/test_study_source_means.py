"""Mean gains of sources: hand-worked values, and pairs compared on the targets they share."""

import base64
import itertools
import statistics

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from config import RunName
from evaluation.reports import read_scores
from study.comparisons import TargetStatistics, target_statistics
from study.results import Result, Study, load_study
from study.source_means import SourceGains
from study.statistics import draw_resamples, holm
from tests.study_results import RECORDINGS, write_evaluations

CORPORA = ("fma", "lyra", "makam")


def worked_study(gains: dict[tuple[str, str], float], datasets: tuple[str, ...]) -> Study:
    """A study of one model in which each transfer gains what is said over a ROC-AUC of 0.5 from scratch."""
    areas = {(target, RunName("ast")): 0.5 for target in datasets}
    areas |= {(target, RunName("ast", source)): 0.5 + value for (target, source), value in gains.items()}
    results = {
        (target, str(run)): Result(target, run, (0,), {"roc_auc": (area,), "pr_auc": (area,)})
        for (target, run), area in areas.items()
    }
    return Study("worked by hand", datasets, ("ast",), (0,), results)


def worked_statistics(target: str, samples: dict[str, list[float]]) -> TargetStatistics:
    packed = {source: base64.b64encode(np.array(of, "<f4").tobytes()).decode() for source, of in samples.items()}
    return TargetStatistics(target, 10, 4, {}, {}, (), (), packed)


def test_means_pairs_and_p_values_as_worked_by_hand():
    """Four corpora; fma and lyra share the targets makam and carnatic.

    Resampled differences of fma and lyra are 0.10 on makam in every resample, and on carnatic 0.30,
    0.30, −0.30 and 0.30, so that their means are 0.20 three times and −0.10 once, whatever the order of
    the resamples. The observed difference is (0.1 + 0.3) / 2 = 0.2: one resample lies as far from it as
    it lies from zero, hence p = (1 + 1) / (1 + 4).
    """
    datasets = ("fma", "lyra", "makam", "carnatic")
    gains = dict.fromkeys(itertools.permutations(datasets, 2), 0.0)
    gains |= {("makam", "fma"): 0.15, ("makam", "lyra"): 0.05, ("carnatic", "fma"): 0.3, ("lyra", "fma"): 0.06}
    samples = {target: {s: [gains[target, s]] * 4 for s in datasets if s != target} for target in datasets}
    samples["carnatic"]["fma"] = [0.3, 0.3, -0.3, 0.3]
    found = {target: worked_statistics(target, of) for target, of in samples.items()}
    sources = SourceGains(worked_study(gains, datasets), found)

    assert sources.means()["fma"].gain == pytest.approx((0.06 + 0.15 + 0.3) / 3)
    assert sources.means()["fma"].targets == ("lyra", "makam", "carnatic")
    assert sources.means()["lyra"].gain == pytest.approx(0.05 / 3)
    assert sources.on("carnatic", "fma").gain == pytest.approx(0.3)
    assert sources.on("fma", "fma") is None
    pairs = sources.pairs()
    assert len(pairs) == 6
    pair = next(pair for pair in pairs if {pair.better, pair.worse} == {"fma", "lyra"})
    assert (pair.better, pair.targets) == ("fma", ("makam", "carnatic"))
    assert pair.difference == pytest.approx(0.2)
    assert pair.p_value == pytest.approx(2 / 5)
    assert [pair.p_holm for pair in pairs] == pytest.approx(holm([pair.p_value for pair in pairs]))


def test_resampled_gains_are_what_scikit_learn_finds_averaged_over_models(tmp_path):
    write_evaluations(tmp_path, CORPORA, ("musicnn", "ast"))
    study = load_study(tmp_path, CORPORA, ("musicnn", "ast"))
    found = target_statistics(study, "makam", resamples=30)
    assert found.sources == ("fma", "lyra")
    counts = draw_resamples(RECORDINGS, 30)
    scores = {result.run: read_scores(result.files[0]) for result in study.of("makam")}
    for resample in (0, 29):
        rows = np.repeat(np.arange(RECORDINGS), counts[:, resample])
        area = {run: roc_auc_score(of.labels[rows], of.scores[rows]) for run, of in scores.items()}
        expected = statistics.fmean(area[RunName(m, "fma")] - area[RunName(m)] for m in study.models)
        assert found.gain_samples("fma")[resample] == pytest.approx(expected, abs=1e-6)


def test_means_are_not_compared_where_a_transfer_is_missing(tmp_path):
    write_evaluations(tmp_path, CORPORA)
    (tmp_path / "makam" / "musicnn_from_fma.json").unlink()
    study = load_study(tmp_path, CORPORA, ("musicnn",))
    found = {dataset: target_statistics(study, dataset, resamples=50) for dataset in CORPORA}
    sources = SourceGains(study, found)
    assert sources.means() == {}
    assert sources.on("makam", "fma") is None and sources.on("makam", "lyra") is not None
    assert {(pair.better, pair.worse) for pair in sources.pairs()} <= {("fma", "makam"), ("lyra", "makam")}


def test_no_statistics_no_means():
    sources = SourceGains(worked_study({}, ("fma", "lyra")), {})
    assert sources.means() == {} and sources.pairs() == [] and sources.on("fma", "lyra") is None
