"""Loading studies, their comparisons and tables; the paper's statements from its published figures."""

import csv
import json
import statistics

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from config import DATASETS, MODELS
from evaluation.reports import read_report, read_scores, write_report
from runtime.errors import DataError
from study.comparisons import load_statistics, read_statistics, statistics_path, target_statistics, write_statistics
from study.findings import best_result, gain, teachers
from study.report_answer import targets_table
from study.results import SYNTHETIC_NOTE, load_study, published_study, seed_dir
from study.statistics import draw_resamples
from study.tables import COLUMNS, single_domain_table, transfer_table, write_tables
from tests.study_results import RECORDINGS, write_evaluation, write_evaluations


@pytest.fixture(scope="module")
def evaluation_dir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("evaluation")
    write_evaluations(directory, ("fma", "lyra", "makam"), ("musicnn", "ast"), seeds=(0, 1))
    return directory


# The paper's statements, from the published figures alone


def test_published_figures_are_a_study_of_54_results():
    study = published_study()
    assert len(study.results) == 54
    assert study.datasets == tuple(DATASETS) and study.models == tuple(MODELS)
    assert not study.has_scores


def test_on_hindustani_ast_does_best_from_magnatagatune():
    study = published_study()
    best = best_result(study, "hindustani")
    assert (best.run.model, best.run.source, best.run.final_layer_only) == ("ast", "magnatagatune", False)
    assert best_result(study, "hindustani", metric="pr_auc") == best
    assert gain(study, best) == pytest.approx(0.8658 - 0.8307, abs=1e-4)


def test_the_best_source_differs_by_target():
    study = published_study()
    best = {dataset: best_result(study, dataset, transfer=True).run.source for dataset in DATASETS}
    assert best == {
        "magnatagatune": "fma",
        "fma": "lyra",
        "lyra": "magnatagatune",
        "makam": "fma",
        "hindustani": "magnatagatune",
        "carnatic": "hindustani",
    }


def test_a_final_layer_alone_never_reaches_the_whole_network_for_the_same_target_and_model():
    study = published_study()
    for dataset in DATASETS:
        for model in MODELS:
            whole = best_result(study, dataset, model=model, transfer=True, final_layer_only=False)
            final = best_result(study, dataset, model=model, transfer=True, final_layer_only=True)
            assert final.mean("roc_auc") < whole.mean("roc_auc")


def test_transfer_beats_training_from_scratch_on_every_target_but_two():
    """On MagnaTagATune and Carnatic AST from scratch has the highest ROC-AUC."""
    study = published_study()
    scratch_best = {dataset for dataset in DATASETS if best_result(study, dataset).run.source is None}
    assert scratch_best == {"magnatagatune", "carnatic"}
    rows = {row[0].value: row for row in targets_table(study, {}).rows}
    assert [cell.value for cell in rows["Carnatic"]] == ["Carnatic", "Hindustani", "+0.0199", "0.7696", "0.7706"]
    assert {title for title, row in rows.items() if row[4].bold} == {"MagnaTagATune", "Carnatic"}


def test_tables_of_the_published_study_show_its_figures_alone(tmp_path):
    study = published_study()
    write_tables(tmp_path, study, load_statistics(tmp_path, study))
    text = (tmp_path / "transfer.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith("| Hindustani | ast | MagnaTagATune"))
    assert row == "| Hindustani | ast | MagnaTagATune | **0.8658** | **0.6313** | 0.7468 | 0.3932 |"
    table = pd.read_csv(tmp_path / "transfer.csv")
    assert len(table) == 36 and len(pd.read_csv(tmp_path / "single_domain.csv")) == 18
    assert table["roc_auc_published"].isna().all()


# A study of one's own


def test_every_seed_is_read_and_what_is_missing_is_named(evaluation_dir):
    study = load_study(evaluation_dir, ("makam", "lyra", "fma"), ("ast", "musicnn"), seeds=(0, 1, 2))
    assert study.datasets == ("fma", "lyra", "makam")  # the order of config.py
    assert len(study.results) == 3 * 2 * 5
    assert len(study.missing) == 30 and study.missing[0].parts[-3] == "seed_2"
    result = study.get("makam", "musicnn", "fma")
    assert result.seeds == (0, 1)
    expected = [read_scores(seed_dir(evaluation_dir, seed) / "makam" / "musicnn_from_fma.json") for seed in (0, 1)]
    areas = [roc_auc_score(of.labels, of.scores) for of in expected]
    assert result.figures["roc_auc"] == pytest.approx(areas)
    assert result.mean("roc_auc") == pytest.approx(np.mean(areas))
    assert result.deviation("roc_auc") == pytest.approx(np.std(areas, ddof=1))
    assert result.training_recordings == 50


def test_a_corpus_left_out_leaves_its_runs_out(evaluation_dir):
    study = load_study(evaluation_dir, ("lyra", "makam"), ("musicnn",))
    assert {str(result.run) for result in study.of("makam")} == {
        "musicnn",
        "musicnn_from_lyra",
        "musicnn_from_lyra_f",
    }
    assert not study.of("fma")


def test_no_results_or_other_test_sets_are_told_in_one_line(tmp_path):
    with pytest.raises(DataError, match="no evaluations of makam"):
        load_study(tmp_path, ("makam",))
    labels = np.eye(4, dtype=np.uint8)[np.arange(40) % 4]
    write_evaluation(tmp_path, "makam", "musicnn", labels, 0.5)
    write_evaluation(tmp_path, "makam", "ast", labels[:32], 0.5)
    with pytest.raises(DataError, match="different test sets"):
        load_study(tmp_path, ("makam",))


def test_intervals_come_from_what_scikit_learn_finds_on_the_resamples(evaluation_dir):
    study = load_study(evaluation_dir, ("lyra", "makam"), ("musicnn",), seeds=(0, 1))
    found = target_statistics(study, "makam", resamples=200)
    counts = draw_resamples(RECORDINGS, 200)
    values = []
    for resample in range(200):
        rows = np.repeat(np.arange(RECORDINGS), counts[:, resample])
        runs = [read_scores(path) for path in study.get("makam", "musicnn", "lyra").files]
        values.append(statistics.fmean(roc_auc_score(run.labels[rows], run.scores[rows]) for run in runs))
    interval = found.intervals["musicnn_from_lyra", "roc_auc"]
    figure = study.get("makam", "musicnn", "lyra").mean("roc_auc")
    assert [interval.high, interval.low] == pytest.approx(2 * figure - np.quantile(values, [0.025, 0.975]))


def test_a_much_better_source_is_significant_and_an_equal_one_is_not(evaluation_dir):
    study = load_study(evaluation_dir, ("fma", "lyra", "makam"), ("musicnn",), seeds=(0, 1))
    found = target_statistics(study, "makam", resamples=1000)
    claims = {claim.first: claim for claim in found.over_scratch if claim.metric == "roc_auc"}
    assert len(claims) == 4
    assert claims["musicnn_from_fma"].significant and claims["musicnn_from_fma"].difference > 0
    assert not claims["musicnn_from_lyra_f"].significant  # made as good as from scratch
    pairs = {(claim.first, claim.second) for claim in found.between_sources}
    assert pairs == {("musicnn_from_fma", "musicnn_from_lyra"), ("musicnn_from_fma_f", "musicnn_from_lyra_f")}
    assert all(claim.p_holm >= claim.p_value for claim in found.over_scratch + found.between_sources)
    assert teachers(study, {"makam": found})[0].source == "fma"


def test_statistics_are_read_back_and_refused_for_other_evaluations(tmp_path):
    evaluations, results = tmp_path / "evaluation", tmp_path / "results"
    write_evaluations(evaluations, ("lyra", "makam"))
    study = load_study(evaluations, ("lyra", "makam"), ("musicnn",))
    for dataset in study.datasets:
        found = target_statistics(study, dataset, resamples=50)
        write_statistics(statistics_path(results, dataset), found)
        assert read_statistics(statistics_path(results, dataset)) == found
    assert set(load_statistics(results, study)) == {"lyra", "makam"}
    write_evaluation(evaluations, "makam", "musicnn", np.eye(4, dtype=np.uint8)[np.arange(RECORDINGS) % 4], 0.9)
    with pytest.raises(DataError, match="computed from other evaluations"):
        load_statistics(results, load_study(evaluations, ("makam",), ("musicnn",)))
    statistics_path(results, "lyra").write_text("{}")
    with pytest.raises(DataError, match="is damaged"):
        read_statistics(statistics_path(results, "lyra"))


def test_tables_give_means_deviations_intervals_and_the_difference_from_the_paper(evaluation_dir, tmp_path):
    study = load_study(evaluation_dir, ("fma", "lyra", "makam"), ("musicnn", "ast"), seeds=(0, 1))
    found = {dataset: target_statistics(study, dataset, resamples=100) for dataset in study.datasets}
    paths = write_tables(tmp_path, study, found)
    assert [path.name for path in paths[:3]] == ["single_domain.csv", "single_domain.md", "single_domain.tex"]
    with (tmp_path / "transfer.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS and len(rows) == 3 * 2 * 4
    (row,) = [
        row
        for row in rows
        if (row["target"], row["model"], row["source"], row["trained"]) == ("makam", "ast", "fma", "whole network")
    ]
    result = study.get("makam", "ast", "fma")
    theirs = published_study().get("makam", "ast", "fma").mean("roc_auc")
    assert theirs == pytest.approx(0.8744, abs=5e-5)
    assert float(row["roc_auc"]) == result.mean("roc_auc")
    assert float(row["roc_auc_sd"]) == result.deviation("roc_auc")
    assert float(row["roc_auc_difference"]) == pytest.approx(result.mean("roc_auc") - theirs)
    assert float(row["roc_auc_low"]) < result.mean("roc_auc") < float(row["roc_auc_high"])
    line = next(
        line
        for line in (tmp_path / "transfer.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| Turkish-makam | ast | FMA")
    )
    assert f"{result.mean('roc_auc'):.4f}" in line and "±" in line and f"{theirs:.4f} (" in line


def test_the_best_of_a_target_is_bold_in_every_way_of_training(evaluation_dir):
    study = load_study(evaluation_dir, ("fma", "lyra", "makam"), ("musicnn", "ast"))
    table = transfer_table(study, {}, None)
    for dataset in study.datasets:
        rows = [row for row in table.rows if row[0].value == DATASETS[dataset].title]
        for column, final in ((3, False), (5, True)):
            (bold,) = [row for row in rows if row[column].bold]
            best = best_result(study, dataset, transfer=True, final_layer_only=final)
            assert (bold[1].value, bold[2].value) == (best.run.model, DATASETS[best.run.source].title)
    assert sum(row[2].bold for row in single_domain_table(study, {}, None).rows) == 3


def test_synthetic_studies_say_so_and_are_not_set_beside_published_figures(evaluation_dir, tmp_path):
    study = load_study(evaluation_dir, ("lyra", "makam"), ("musicnn",), synthetic=True)
    for path in write_tables(tmp_path, study, {}):
        if path.suffix != ".csv":
            text = path.read_text(encoding="utf-8")
            assert SYNTHETIC_NOTE in text and "Published" not in text
        else:
            with path.open(encoding="utf-8", newline="") as file:
                assert {row["synthetic"] for row in csv.DictReader(file)} == {"true"}


def test_evaluations_on_a_synthetic_corpus_make_their_study_synthetic_without_being_told(tmp_path):
    write_evaluations(tmp_path, ("lyra", "makam"))
    assert not load_study(tmp_path, ("lyra", "makam"), ("musicnn",)).synthetic
    path = tmp_path / "makam" / "musicnn.json"
    report = read_report(path)
    provenance = {**report.provenance, "synthetic": True}
    write_report(tmp_path, "makam", "musicnn", report.metrics, read_scores(path), provenance)
    study = load_study(tmp_path, ("lyra", "makam"), ("musicnn",))
    assert study.synthetic and SYNTHETIC_NOTE in study.notes
    found = target_statistics(study, "makam", resamples=20)
    write_statistics(statistics_path(tmp_path, "makam"), found, synthetic=study.synthetic)
    assert json.loads(statistics_path(tmp_path, "makam").read_text(encoding="utf-8"))["synthetic"] is True


def test_statistics_file_is_strict_json(tmp_path, evaluation_dir):
    study = load_study(evaluation_dir, ("lyra", "makam"), ("musicnn",))
    path = statistics_path(tmp_path, "makam")
    write_statistics(path, target_statistics(study, "makam", resamples=20))
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["n_recordings"] == RECORDINGS and document["resamples"] == 20
