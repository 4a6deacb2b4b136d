"""Tables of "source A beats source B": the sign, the marks and the correction, against hand-worked values."""

import csv

import pytest

from config import RunName
from study.comparisons import Claim, TargetStatistics, target_statistics
from study.pair_tables import PAIR_COLUMNS, mean_pairs_table, p_text, pair_rows, source_pairs_table
from study.results import load_study
from study.source_means import SourceGains, SourcePair
from study.statistics import Interval
from study.tables import write_tables
from tests.study_results import write_evaluations

CORPORA = ("fma", "lyra", "makam")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    directory = tmp_path_factory.mktemp("evaluation")
    write_evaluations(directory, CORPORA)
    return load_study(directory, CORPORA, ("musicnn",))


def claim(first: str, second: str, metric: str, difference: float, p_holm: float) -> Claim:
    return Claim(first, second, metric, difference, Interval(difference - 0.1, difference + 0.2), p_holm / 2, p_holm)


def test_a_claim_is_turned_round_where_the_second_source_is_the_better(study):
    """Lyra beats FMA by 0.25 [0.15, 0.45] on the whole network; the row says A = FMA, B = Lyra."""
    claims = (
        claim("musicnn_from_lyra", "musicnn_from_fma", "roc_auc", 0.25, 0.01),
        claim("musicnn_from_fma_f", "musicnn_from_lyra_f", "roc_auc", 0.3, 0.04),
        claim("musicnn_from_fma_f", "musicnn_from_lyra_f", "pr_auc", 0.05, 0.06),
    )
    statistics = {"makam": TargetStatistics("makam", 60, 100, {}, {}, (), claims, {})}
    (row,) = source_pairs_table(study, statistics).rows
    assert [cell.value for cell in row] == [
        "Turkish-makam",
        "musicnn",
        "FMA-medium",
        "Lyra",
        "−0.2500",
        "—",
        "+0.3000",
        "+0.0500",
    ]
    assert [cell.rest for cell in row[4:]] == [
        "[−0.450 to −0.150] ▼",
        "",
        "[+0.200 to +0.500] ▲",
        "[−0.050 to +0.250]",
    ]
    assert [cell.bold for cell in row[4:]] == [True, False, True, False]
    first, second = pair_rows(statistics, [])
    assert (first["first"], first["second"], first["roc_auc_difference"]) == ("lyra", "fma", 0.25)
    assert (second["trained"], second["roc_auc_p"], second["pr_auc_p_holm"]) == ("final layer", 0.02, 0.06)


def test_averages_come_first_the_largest_difference_at_the_top(study):
    pairs = [
        SourcePair("fma", "lyra", ("makam",), 0.1, Interval(-0.01, 0.2), 0.07, 0.07),
        SourcePair("fma", "makam", ("lyra",), 0.3, Interval(0.2, 0.4), 0.00001, 0.00003),
    ]
    first, second = mean_pairs_table(study, pairs).rows
    assert [cell.value for cell in first] == ["FMA-medium", "Turkish-makam", "+0.3000", "< 0.0001", "all others (1)"]
    assert first[2].rest.endswith("▲") and "▲" not in second[2].rest
    assert p_text(0.0375) == "0.0375"


def test_every_pair_of_every_target_is_in_the_files(study, tmp_path):
    statistics = {dataset: target_statistics(study, dataset, resamples=200) for dataset in CORPORA}
    paths = write_tables(tmp_path, study, statistics)
    assert [path.name for path in paths[-3:]] == ["source_pairs.csv", "source_pairs.md", "source_pairs.tex"]
    with (tmp_path / "source_pairs.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == PAIR_COLUMNS
    # Three targets with one pair of sources each, whole network and final layer; and three pairs on average.
    assert len(rows) == 3 * 2 + 3
    (row,) = [row for row in rows if row["target"] == "makam" and row["trained"] == "whole network"]
    found = statistics["makam"].between(RunName("musicnn", "fma"), RunName("musicnn", "lyra"), "roc_auc")
    assert (row["first"], row["second"]) == ("fma", "lyra")
    assert float(row["roc_auc_difference"]) == found.difference
    areas = [study.get("makam", "musicnn", source).mean("roc_auc") for source in ("fma", "lyra")]
    assert found.difference == pytest.approx(areas[0] - areas[1])
    (pair,) = [pair for pair in SourceGains(study, statistics).pairs() if pair.targets == ("makam",)]
    assert pair.difference == pytest.approx(found.difference)  # one model, one target: the same comparison
    assert "| FMA-medium | Lyra | **+" in (tmp_path / "source_pairs.md").read_text(encoding="utf-8")
