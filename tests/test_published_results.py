"""The published results of the project against the reference figures and the names of the configuration."""

import csv
import re
from collections import Counter
from pathlib import Path

import pytest

from config import DATASETS, MODELS, MODELS_CONFIG, ROOT
from evaluation.published_results import (
    COLUMNS,
    PUBLISHED_RESULTS,
    markdown_table,
    read_published_results,
    read_repository,
    write_published_results,
)
from runtime.errors import DataError, UserError

REFERENCE = ROOT.parent / "shared" / "published" / "results.csv"


def test_figures_equal_the_reference():
    if not REFERENCE.is_file():
        pytest.skip(f"needs the reference figures in {REFERENCE}")
    with REFERENCE.open(encoding="utf-8", newline="") as file:
        expected = {
            (row["dataset"], row["model_name"]): (float(row["roc_auc"]), float(row["pr_auc"]))
            for row in csv.DictReader(file)
        }
    results = {
        (result.dataset, str(result.run)): (result.roc_auc, result.pr_auc) for result in read_published_results()
    }
    assert len(expected) == 54
    assert results == expected


def test_each_target_and_model_has_one_result_of_each_kind():
    results = read_published_results()
    kinds = Counter(
        (result.dataset, result.run.model, result.run.source is not None, result.run.final_layer_only)
        for result in results
    )
    expected = [
        (dataset, model, *kind)
        for dataset in DATASETS
        for model in MODELS
        for kind in ((False, False), (True, False), (True, True))
    ]
    assert kinds == Counter(expected)


def test_columns_agree_with_the_model_names():
    with PUBLISHED_RESULTS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    for row in rows:
        assert row["model_name"] in MODELS_CONFIG[row["dataset"]]
        name = row["model"]
        if row["source"]:
            name += f"_from_{row['source']}" + ("_f" if row["final_layer_only"] == "true" else "")
        assert name == row["model_name"]


def test_file_is_rebuilt_from_a_checkout_of_the_authors_repository(tmp_path):
    for result in read_published_results():
        path = tmp_path / "evaluation" / result.dataset / f"{result.run}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"\nA title:\nROC-AUC score: {result.roc_auc}\nPR-AUC score: {result.pr_auc}\n\n   report\n")
    rebuilt = tmp_path / "results.csv"
    write_published_results(read_repository(tmp_path), rebuilt)
    assert rebuilt.read_bytes() == PUBLISHED_RESULTS.read_bytes()


def test_table_gives_every_figure_and_the_best_of_a_target_in_bold():
    rows = markdown_table(read_published_results()).splitlines()
    assert len(rows) == 2 + len(DATASETS) * len(MODELS)
    assert len({row.count("|") for row in rows}) == 1
    assert "| Hindustani | `ast` | 0.8307 / 0.5787 | **0.8658** / **0.6313** from MagnaTagATune |" in rows[16]
    assert len(re.findall(r"\*\*0\.\d{4}\*\*", "\n".join(rows))) == 2 * len(DATASETS)
    assert len(re.findall(r"0\.\d{4}", "\n".join(rows))) == 2 * 54


def test_readme_shows_the_table_as_it_is_generated():
    readme = ROOT / "README.md"
    if not readme.is_file():
        pytest.skip("there is no README")
    assert markdown_table(read_published_results()) in readme.read_text(encoding="utf-8")


def test_damaged_or_missing_files_are_one_clear_line(tmp_path):
    with pytest.raises(DataError, match="cannot read the published results"):
        read_published_results(tmp_path / "results.csv")
    with pytest.raises(DataError, match="give a checkout"):
        read_repository(tmp_path)
    table = tmp_path / "results.csv"
    for content in (
        "a,b\n1,2\n",
        "dataset,model_name,roc_auc,pr_auc\nfma,ast,many,0.5\n",
        "dataset,model_name,roc_auc,pr_auc\nfma,ast_from_fma,0.5,0.5\n",
        "",
        "dataset,model_name,roc_auc,pr_auc\n",
        "dataset,model_name,roc_auc,pr_auc\nfma,ast,nan,0.5\n",
        "dataset,model_name,roc_auc,pr_auc\nfma,ast,0.5,2\n",
        "dataset,model_name,roc_auc,pr_auc\nfma,ast,0.9,0.5\nfma,ast,0.8,0.5\n",
        "dataset,model_name,roc_auc,pr_auc\nfma,ast_from_hindust",
    ):
        table.write_text(content)
        with pytest.raises(UserError) as error:
            read_published_results(table)
        assert "\n" not in str(error.value)
        assert str(table) in str(error.value)
    text = Path(tmp_path / "evaluation" / "fma" / "ast.txt")
    text.parent.mkdir(parents=True)
    text.write_text("ROC-AUC score: 0.9\n")
    with pytest.raises(DataError, match="no line 'PR-AUC score"):
        read_repository(tmp_path)
