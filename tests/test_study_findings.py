"""The answer in words: what it says with clear, doubtful and missing differences; the figure that goes with it."""

import base64

import numpy as np

from config import RunName
from study.comparisons import TargetStatistics, target_statistics
from study.findings import answers, teachers
from study.report_answer import targets_table, teachers_table
from study.results import Result, Study, load_study, published_study
from study.source_figure import save_source_figure
from study.source_means import SourceGains
from tests.study_results import write_evaluations

CORPORA = ("fma", "lyra", "makam")


def worked(gains: dict[str, float], spread: float) -> tuple[Study, dict[str, TargetStatistics]]:
    """A study of one model in which each source gains the same everywhere, with normal errors of that spread."""
    results = {}
    for target in gains:
        runs = {RunName("ast"): 0.5, **{RunName("ast", s): 0.5 + g for s, g in gains.items() if s != target}}
        for run, area in runs.items():
            results[target, str(run)] = Result(target, run, (0,), {"roc_auc": (area,), "pr_auc": (area,)})
    study = Study("worked by hand", tuple(gains), ("ast",), (0,), results)
    generator = np.random.default_rng(0)
    found = {}
    for target in gains:
        samples = {s: generator.normal(g, spread, 2000) for s, g in gains.items() if s != target}
        packed = {source: base64.b64encode(of.astype("<f4").tobytes()).decode() for source, of in samples.items()}
        found[target] = TargetStatistics(target, 100, 2000, {}, {}, (), (), packed)
    return study, found


def test_a_clear_difference_is_called_beyond_chance():
    study, found = worked({"fma": 0.3, "lyra": 0.1, "makam": -0.2}, spread=0.001)
    first, second, third, *others = answers(study, found)
    assert first.startswith("FMA-medium teaches the others most: a model that starts from it gains +0.300 in ROC-AUC")
    assert "95 % interval +0.29" in first or "95 % interval +0.30" in first
    assert second == "It beats every other source beyond chance."
    assert third == "Turkish-makam teaches least (−0.200)."
    assert others == [
        "The best source differs by target: FMA-medium for Lyra and Turkish-makam, Lyra for FMA-medium.",
        "Transfer does better than training from scratch: of the whole network in 4 of 6 cases (0 beyond chance).",
    ]


def test_a_difference_that_may_be_chance_is_not_called_one():
    study, found = worked({"fma": 0.02, "lyra": 0.01, "makam": 0.0}, spread=0.1)
    first, second, *_ = answers(study, found)
    assert first.endswith(", which may be chance.")
    assert second.startswith("No source beats another beyond chance on average: which one teaches most, these results")


def test_a_lead_over_some_sources_only_names_them():
    study, found = worked({"fma": 0.3, "lyra": 0.299, "makam": -0.2}, spread=0.01)
    _, second, *_ = answers(study, found)
    assert second == (
        "It beats Turkish-makam beyond chance; whether it is really better than Lyra, these results cannot tell."
    )


def test_published_figures_answer_by_how_often_a_source_is_best():
    first, second, third, fourth = answers(published_study(), {})
    assert first == (
        "MagnaTagATune and FMA-medium teach the others best most often: each is the best source for 6 of 18 pairs "
        "of target and model."
    )
    assert second == (
        "The best source differs by target: MagnaTagATune for Lyra and Hindustani, FMA-medium for MagnaTagATune and "
        "Turkish-makam, Lyra for FMA-medium, Hindustani for Carnatic."
    )
    assert third == (
        "Transfer does better than training from scratch: of the whole network in 15 of 18 cases, "
        "of the final layer alone in 1 of 18 cases."
    )
    assert fourth == "Of the models, ast reaches the best result on 4 of 6 targets, vgg_ish on 2."


def test_without_transfers_there_is_nothing_to_compare():
    run = RunName("ast")
    study = Study("", ("fma",), ("ast",), (0,), {("fma", "ast"): Result("fma", run, (0,), {"roc_auc": (0.5,)})})
    assert answers(study, {}) == ["No transfer has been evaluated yet, so that no corpus can be compared as a source."]
    (row,) = targets_table(study, {}).rows
    assert [cell.value for cell in row] == ["FMA-medium", "—", "—", "—", "0.5000"]


def test_tables_of_the_answer_have_the_intervals_of_the_statistics(tmp_path):
    write_evaluations(tmp_path, CORPORA)
    study = load_study(tmp_path, CORPORA, ("musicnn",))
    found = {dataset: target_statistics(study, dataset, resamples=1000) for dataset in CORPORA}
    claim = found["makam"].gain(RunName("musicnn", "fma"), "roc_auc")
    row = next(row for row in targets_table(study, found).rows if row[0].value == "Turkish-makam")
    assert (row[1].value, row[1].rest) == ("FMA-medium", "musicnn")
    assert row[2].value == f"{claim.difference:+.4f}"
    assert row[2].rest == f"[{claim.interval.low:+.3f} to {claim.interval.high:+.3f}] ▲"
    mean = SourceGains(study, found).means()["fma"]
    first = teachers_table(teachers(study, found), {"fma": mean}).rows[0]
    assert first[1].rest == f"[{mean.interval.low:+.3f} to {mean.interval.high:+.3f}]"
    assert first[0].value == "FMA-medium" and first[2].value == "Lyra, Turkish-makam"


def test_a_seed_that_is_missing_on_one_side_leaves_means_out_and_is_told(tmp_path):
    write_evaluations(tmp_path, CORPORA, seeds=(0, 1))
    (tmp_path / "makam" / "musicnn.json").unlink()
    study = load_study(tmp_path, CORPORA, ("musicnn",), (0, 1))
    found = {dataset: target_statistics(study, dataset, resamples=1000) for dataset in CORPORA}
    assert [teacher.mean_gain for teacher in teachers(study, found)] == [None] * 3
    first, second, *_ = answers(study, found)
    assert "most often" in first
    assert second == "Evaluations are missing, so that the mean gains of sources are not compared."


def test_too_few_resamples_to_tell_anything_are_told(tmp_path):
    """12 comparisons with training from scratch a metric: p = 1 / (1 + n) times 12 is below 0.05 from n = 239 on."""
    models = ("vgg_ish", "musicnn", "ast")
    write_evaluations(tmp_path, CORPORA, models)
    study = load_study(tmp_path, CORPORA, models)
    few, enough = (target_statistics(study, "makam", resamples=n) for n in (238, 239))
    assert not few.can_tell and enough.can_tell
    warning = "238 resamples are too few for differences to count as beyond chance; draw more."
    assert warning in answers(study, {"makam": few})
    assert warning not in answers(study, {"makam": enough})


def test_sources_are_drawn_only_where_their_means_can_be_compared(tmp_path):
    study, found = worked({"fma": 0.3, "lyra": 0.1, "makam": -0.2}, spread=0.01)
    paths = save_source_figure(tmp_path, study, SourceGains(study, found))
    assert [path.name for path in paths] == ["source_gains.svg", "source_gains.png"]
    published = published_study()
    assert save_source_figure(tmp_path, published, SourceGains(published, {})) == []


def test_two_corpora_have_no_target_in_common_and_are_not_compared():
    study, found = worked({"fma": 0.3, "lyra": 0.1}, spread=0.01)
    first, second, *_ = answers(study, found)
    assert first.startswith("FMA-medium teaches the others most")
    assert second == "The two sources have no target in common on which they could be compared."
