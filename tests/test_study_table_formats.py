"""Tables as Markdown, LaTeX, HTML and csv: what must be escaped, what LaTeX compiles and pandas reads."""

import re
import shutil
import subprocess

import pandas as pd
import pytest

from study.comparisons import target_statistics
from study.pair_tables import PAIR_COLUMNS
from study.results import load_study
from study.table_formats import Cell, Table, to_html, to_latex, to_markdown
from study.tables import COLUMNS, write_tables
from tests.study_results import write_evaluations

CORPORA = ("fma", "lyra", "makam")
PDFLATEX = shutil.which("pdflatex")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    directory = tmp_path_factory.mktemp("evaluation")
    write_evaluations(directory, CORPORA, seeds=(0, 1))
    return load_study(directory, CORPORA, ("musicnn",), (0, 1), notes=["100 % of it & more: #1_a {b} ~ ^ \\ $x$ < >"])


@pytest.fixture(scope="module")
def tables(study, tmp_path_factory):
    directory = tmp_path_factory.mktemp("results")
    found = {dataset: target_statistics(study, dataset, resamples=500) for dataset in CORPORA}
    write_tables(directory, study, found)
    return directory


def test_formats_escape_what_they_must():
    table = Table("A & B | 100 %", ("Tag_name", "x"), ((Cell("a|b_<c>"), Cell("0.5", "± 0.1 ▲", bold=True)),), 1)
    assert "| a\\|b_<c> | **0.5** ± 0.1 ▲ |" in to_markdown(table)
    latex = to_latex(table)
    assert r"a$|$b\_$<$c$>$ & \textbf{0.5} $\pm$ 0.1 $\blacktriangle$ \\" in latex and r"A \& B $|$ 100 \%" in latex
    assert '<th scope="row">a|b_&lt;c&gt;</th><td><b>0.5</b> <small>± 0.1 ▲</small></td>' in to_html(table)


def test_wide_latex_tables_put_the_rest_of_a_cell_below_its_value():
    header = ("Target", *("Whole network: ROC-AUC", "published (difference)") * 3)
    cell = Cell("0.5", "[0.4–0.6]", bold=True)
    latex = to_latex(Table("Wide", header, ((Cell("x"), *[cell] * 6),), 1))
    assert latex.index(r"\begin{landscape}") < latex.index(r"\begin{longtable}")
    assert r"\shortstack[r]{\textbf{0.5}\\{}[0.4--0.6]}" in latex
    assert r"\shortstack[r]{Whole network:\\{}ROC-AUC} & \shortstack[r]{published\\{}(difference)}" in latex


def test_latex_tables_hold_only_characters_that_every_latex_knows(tables):
    for path in tables.glob("*.tex"):
        assert path.read_text(encoding="utf-8").isascii(), path.name


@pytest.mark.skipif(PDFLATEX is None, reason="pdflatex is not installed")
def test_latex_compiles_every_table_within_the_page(tables, tmp_path):
    names = sorted(path.stem for path in tables.glob("*.tex"))
    inputs = "\n".join(rf"\input{{{tables.as_posix()}/{name}}}" for name in names)
    packages = r"\usepackage{booktabs,longtable,amssymb,pdflscape}\usepackage[a4paper,margin=2cm]{geometry}"
    document = tmp_path / "tables.tex"
    document.write_text(f"\\documentclass{{article}}\n{packages}\n\\begin{{document}}\n{inputs}\n\\end{{document}}\n")
    command = [PDFLATEX, "-interaction=nonstopmode", "-halt-on-error", document.name]
    for _ in range(3):  # longtable finds its widths in several runs
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert run.returncode == 0, run.stdout[-2000:]
    # TeX's points over the width it has; the caption breaks lines and never is.
    over = [float(points) for points in re.findall(r"Overfull \\hbox \(([\d.]+)pt too wide\)", run.stdout)]
    assert max(over, default=0) < 5


def test_pandas_reads_the_numbers_as_numbers(study, tables):
    table = pd.read_csv(tables / "transfer.csv")
    assert tuple(table.columns) == COLUMNS
    numbers = table.drop(columns=["target", "model", "source", "trained"])
    assert all(pd.api.types.is_numeric_dtype(column) for _, column in numbers.items())
    for row in table.itertuples():
        result = study.get(row.target, row.model, row.source, final_layer_only=row.trained == "final layer")
        assert (row.roc_auc, row.pr_auc) == (result.mean("roc_auc"), result.mean("pr_auc"))  # to the last digit
    single = pd.read_csv(tables / "single_domain.csv")
    assert single["source"].isna().all() and len(single) == 3
    pairs = pd.read_csv(tables / "source_pairs.csv")
    assert tuple(pairs.columns) == PAIR_COLUMNS
    assert (pairs["roc_auc_low"] < pairs["roc_auc_difference"]).all()


def test_differences_from_published_figures_carry_their_sign(tables):
    text = (tables / "single_domain.md").read_text(encoding="utf-8")
    row = pd.read_csv(tables / "single_domain.csv").set_index("target").loc["makam"]
    assert row.roc_auc_difference < 0
    assert f"{row.roc_auc_published:.4f} (−{-row.roc_auc_difference:.4f})" in text
