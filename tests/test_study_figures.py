"""Figures, the map of corpora, tag families and learning curves."""

import itertools
import re

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.distance import pdist, squareform

from runtime.errors import DataError
from study.comparisons import target_statistics
from study.culture_map import additive_constant, classical_mds, culture_map, dissimilarities, gain_matrix
from study.figure_style import draw_names, figure_style, new_figure
from study.figures import write_figures
from study.learning_curves import read_histories
from study.results import SYNTHETIC_NOTE, load_study, published_study, seed_dir
from study.tag_figures import tag_family, tag_gains
from tests.study_results import write_evaluations

CORPORA = ("fma", "lyra", "makam")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    directory = tmp_path_factory.mktemp("evaluation")
    write_evaluations(directory, CORPORA)
    return load_study(directory, CORPORA, ("musicnn",), synthetic=True)


def test_every_figure_is_written_as_svg_and_png_and_says_that_the_data_are_synthetic(study, tmp_path, monkeypatch):
    monkeypatch.setattr("study.figure_style._SETTINGS", {"svg.fonttype": "none"})  # text in the .svg stays text
    history = tmp_path / "models" / "makam" / "musicnn_from_fma.history.csv"
    history.parent.mkdir(parents=True)
    history.write_text("epoch,valid_roc_auc\n1,0.5\n2,\n3,0.7\n")
    statistics = {"makam": target_statistics(study, "makam", resamples=1000)}
    paths = write_figures(tmp_path / "figures", study, statistics, tmp_path / "models")
    assert sorted(path.stem for path in paths if path.suffix == ".svg") == [
        "culture_map",
        "gain_by_size",
        "learning_curves_makam",
        "tag_families",
        "tag_gains_fma",
        "tag_gains_lyra",
        "tag_gains_makam",
        "transfer_matrix_musicnn",
    ]
    for path in paths:
        if path.suffix == ".svg":
            text = path.read_text(encoding="utf-8")
            assert "SYNTHETIC" in text and SYNTHETIC_NOTE.split()[-1] in text
        else:
            assert min(Image.open(path).size) > 300
    assert "instruments--Λύρα" in (tmp_path / "figures" / "tag_gains_lyra.svg").read_text(encoding="utf-8")
    matrix = (tmp_path / "figures" / "transfer_matrix_musicnn.svg").read_text(encoding="utf-8")
    result = study.get("makam", "musicnn", "fma")
    assert f"{result.mean('roc_auc'):.3f}" in matrix
    assert re.search(r"\+0\.\d{3} ▲", matrix)  # the strong source is marked on the target that has statistics


def test_the_same_results_give_the_same_files(study, tmp_path):
    first = write_figures(tmp_path / "a", study, {})
    second = write_figures(tmp_path / "b", study, {})
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_published_figures_suffice_for_matrices_and_sizes_but_not_for_a_map(tmp_path):
    paths = write_figures(tmp_path, published_study(), {})
    assert {path.stem for path in paths} == {
        "gain_by_size",
        "transfer_matrix_vgg_ish",
        "transfer_matrix_musicnn",
        "transfer_matrix_ast",
    }


def test_gains_are_against_from_scratch(study):
    gains = gain_matrix(study)
    row, column = study.datasets.index("makam"), study.datasets.index("fma")
    expected = study.get("makam", "musicnn", "fma").mean("roc_auc") - study.get("makam", "musicnn").mean("roc_auc")
    assert gains[row, column] == pytest.approx(expected)
    assert np.isnan(np.diag(gains)).all()


def test_points_in_the_plane_are_found_again_from_their_distances():
    points = np.random.default_rng(0).normal(size=(6, 2))
    distances = squareform(pdist(points))
    found, explained = classical_mds(distances)
    assert squareform(pdist(found)) == pytest.approx(distances)
    assert explained == pytest.approx(1)
    assert additive_constant(distances) == pytest.approx(0, abs=1e-6)


def test_additive_constant_is_the_smallest_that_makes_distances_euclidean():
    distances = np.array([[0, 1, 5.0], [1, 0, 1], [5, 1, 0]])  # 5 > 1 + 1: short by 3
    assert additive_constant(distances) == pytest.approx(3)


def test_those_that_help_each_other_most_are_nearest():
    nan = np.nan
    gains = np.array([[nan, 0.09, 0.01], [0.05, nan, 0.01], [0.02, 0.02, nan]])
    distances = dissimilarities(gains)
    assert distances[0, 1] == distances[~np.eye(3, dtype=bool)].min() == 0
    assert np.array_equal(distances, distances.T)


def test_there_is_no_map_of_two_corpora_or_of_an_incomplete_matrix(study):
    assert culture_map(study).datasets == study.datasets
    assert culture_map(published_study()) is None
    incomplete = dict(study.results)
    del incomplete["makam", "musicnn_from_fma"]
    assert culture_map(type(study)(**{**vars(study), "results": incomplete})) is None


def test_names_of_neighbours_on_the_map_do_not_cover_each_other_or_leave_it():
    points = np.array([[0, 0], [0.002, 0.001], [0.003, -0.001], [1, 0], [1, 0.01], [0.5, 1]])
    with figure_style([]):
        figure = new_figure(5.8, 5.2, "title", ["a note"])
        axes = figure.subplots()
        axes.plot(*points.T, "o", markersize=9)
        labels = draw_names(axes, points, ["MagnaTagATune", "FMA-medium", "Lyra", "Turkish-makam", "Hindustani", "X"])
        figure.draw_without_rendering()
        boxes = [label.get_window_extent() for label in labels]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    whole = figure.bbox
    assert all(whole.contains(box.x0, box.y0) and whole.contains(box.x1, box.y1) for box in boxes)


def test_tags_of_the_published_vocabularies_have_the_families_of_their_kind(published_figures):
    with (published_figures / "tags.csv").open(encoding="utf-8") as file:
        rows = [line.rstrip("\n").split(",")[:3] for line in file][1:]
    families = {}
    for dataset, _, tag in rows:
        families.setdefault(dataset, set()).add(tag_family(dataset, tag))
    assert families == {
        "magnatagatune": {"all tags"},
        "fma": {"genre"},
        "lyra": {"instrument", "genre", "place"},
        "makam": {"instrument", "makam / raga", "usul / tala"},
        "hindustani": {"instrument", "makam / raga", "usul / tala", "form"},
        "carnatic": {"instrument", "makam / raga", "usul / tala", "form"},
    }


def test_gain_of_a_tag_is_the_mean_over_sources(study):
    gains = tag_gains(study, "makam", "musicnn")
    areas = [study.get("makam", "musicnn", source).tag_means("roc_auc")["usul--Düyek"] for source in ("fma", "lyra")]
    scratch = study.get("makam", "musicnn").tag_means("roc_auc")["usul--Düyek"]
    assert gains["usul--Düyek"] == pytest.approx(np.mean(areas) - scratch)


def test_histories_are_those_of_the_first_seed_and_damaged_ones_are_told(study, tmp_path):
    assert read_histories(tmp_path, study) == {}
    path = seed_dir(tmp_path, 0) / "fma" / "musicnn.history.csv"
    path.parent.mkdir(parents=True)
    path.write_text("epoch,valid_roc_auc\n1,0.5\n2,\n")
    assert read_histories(tmp_path, study) == {("fma", "musicnn"): [(1, 0.5)]}
    path.write_text("epoch\n1\n")
    with pytest.raises(DataError, match="is damaged"):
        read_histories(tmp_path, study)
