"""The pictures of an evaluation: the areas under the drawn curves, their size, and names in any script."""

import logging
import math
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from config import ROOT
from evaluation import fonts
from evaluation.metrics import evaluate_scores
from evaluation.plots import DPI, GRID, _tag_bars_figure, mean_pr, mean_roc, pr_curves, roc_curves, save_plots
from evaluation.recording_scores import RecordingScores
from evaluation.reports import report_files, write_report

LATIN = ("makam--Hüseynî Uşşâk", "raga--Kalyāṇi", "genres--Ρεμπέτικο")
AWKWARD = ("raga--ಕಲ್ಯಾಣಿ", "raga--कल्याणी", r"costs $5 and $\frac", "_hidden", "two\nlines", "long " * 30)


def make_case(tags, recordings: int = 80, seed: int = 0, empty: tuple[int, ...] = (), ties: bool = False):
    rng = np.random.default_rng(seed)
    labels = (rng.random((recordings, len(tags))) < rng.uniform(0.1, 0.6, len(tags))).astype(np.uint8)
    labels[0], labels[1] = 0, 1
    labels[:, list(empty)] = 0
    noise = rng.normal(size=labels.shape) + 1.5 * labels
    scores = (1 / (1 + np.exp(-noise))).astype(np.float32)
    scores = np.round(scores, 1) if ties else scores
    names = tuple(map(str, range(recordings)))
    return evaluate_scores(labels, scores, tags), RecordingScores(names, tuple(tags), labels, scores)


def draw(directory: Path, tags, **options):
    metrics, recordings = make_case(tags, **options)
    files = report_files(directory, "makam", "ast")
    files.directory.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_plots(files, "ast on makam", metrics, recordings, notes=["A note."])
    return files, metrics


@pytest.mark.parametrize("ties", [False, True])
def test_areas_under_the_mean_curves_are_the_macro_averages(ties):
    metrics, recordings = make_case("abcde", recordings=300, empty=(2,), ties=ties)
    roc, pr = roc_curves(metrics, recordings), pr_curves(metrics, recordings)
    assert [curve.tag for curve in roc] == [curve.tag for curve in pr] == list("abde")
    assert np.trapezoid(mean_roc(roc), GRID) == pytest.approx(metrics.roc_auc, abs=2e-3)
    assert mean_pr(pr)[1:].mean() == pytest.approx(metrics.pr_auc, abs=2e-3)


@pytest.mark.parametrize("ties", [False, True])
def test_each_drawn_curve_has_the_area_in_its_label(ties):
    metrics, recordings = make_case("abc", ties=ties)
    for curve in roc_curves(metrics, recordings):
        assert np.trapezoid(curve.y, curve.x) == pytest.approx(curve.area, abs=1e-12)
    for curve in pr_curves(metrics, recordings):  # drawn as steps: y holds from the last x up to this one
        assert (np.diff(curve.x) * curve.y[1:]).sum() == pytest.approx(curve.area, abs=1e-12)
        assert curve.x[0] == 0 and curve.x[-1] == 1


@pytest.mark.parametrize("n_tags", [1, 7, 50])
def test_pictures_are_png_and_grow_with_the_tags(tmp_path, n_tags):
    files, _ = draw(tmp_path, [f"tag {i}" for i in range(n_tags)])
    curves, bars = imread(files.curves), imread(files.tag_bars)
    assert curves.shape[1] == bars.shape[1] == 10 * DPI
    assert 6 * DPI < curves.shape[0] < 10 * DPI
    assert bars.shape[0] == pytest.approx((1.5 + 0.21 * n_tags + 0.16) * DPI, abs=2)
    for picture in (curves, bars):  # drawn on, and the edge free: nothing runs out of the picture
        grey = picture[..., :3].mean(axis=2)
        assert (grey < 0.5).mean() > 0.002
        assert min(grey[0].min(), grey[-1].min(), grey[:, 0].min(), grey[:, -1].min()) > 0.9


@pytest.mark.parametrize("tags", [LATIN, AWKWARD])
def test_names_in_any_script_are_drawn_without_a_warning(tmp_path, tags):
    files, _ = draw(tmp_path, tags)
    assert imread(files.tag_bars).shape[0] > DPI


def test_latin_and_greek_names_need_no_other_font(caplog):
    assert fonts.font_families(LATIN) == [fonts.DEFAULT_FAMILY]
    assert not caplog.records


def test_characters_no_font_has_are_told_in_one_line(caplog):
    with caplog.at_level(logging.WARNING):
        assert fonts.font_families(["a \U0010fffd"]) == [fonts.DEFAULT_FAMILY]  # private use
    assert len(caplog.records) == 1 and "\U0010fffd" in caplog.text


def test_another_font_that_has_the_characters_is_used(caplog):
    script_a = "\U0001d49c"  # DejaVu Sans lacks it; the STIX fonts that come with matplotlib have it
    default, other = fonts.font_families([f"tag {script_a}"])
    assert default == fonts.DEFAULT_FAMILY and other.startswith("STIX")
    assert not caplog.records


def test_a_font_installed_after_matplotlib_listed_them_is_found(monkeypatch, caplog):
    script_a = "\U0001d49c"
    listed = list(fonts.fontManager.ttflist)
    stix = next(
        font.fname
        for font in listed
        if font.name.startswith("STIX") and script_a in fonts._characters(font.fname, {script_a})
    )
    monkeypatch.setattr(fonts.fontManager, "ttflist", [font for font in listed if font.name == fonts.DEFAULT_FAMILY])
    monkeypatch.setattr(fonts, "findSystemFonts", lambda: [stix, "/not/there.ttf"])
    _, other = fonts.font_families([script_a])
    assert other.startswith("STIX")
    assert not caplog.records


def test_the_font_that_has_most_of_a_script_is_taken_before_one_with_a_few_of_its_characters(monkeypatch):
    """Noto's Grantha has some Tamil letters, but cannot write Tamil."""
    has = {"Noto Sans Grantha": "கா", "Noto Sans Tamil": "காமபோஜி"}
    entries = [fonts.FontEntry(fname=name, name=name) for name in has]
    default = [font for font in fonts.fontManager.ttflist if font.name == fonts.DEFAULT_FAMILY]
    monkeypatch.setattr(fonts.fontManager, "ttflist", [*default, *entries])
    monkeypatch.setattr(fonts, "findSystemFonts", list)
    real = fonts._characters
    monkeypatch.setattr(
        fonts, "_characters", lambda file, wanted: wanted & set(has[file]) if file in has else real(file, wanted)
    )
    assert fonts.font_families(["காமபோஜி"]) == [fonts.DEFAULT_FAMILY, "Noto Sans Tamil"]


def test_excluded_tags_are_shown_as_such():
    metrics, _ = make_case(["a", "nobody", "b"], empty=(1,))
    axes = _tag_bars_figure("title", metrics, []).axes
    for panel in axes:
        assert [text.get_text() for text in panel.texts].count("not defined: no positive recording") == 1
        assert not any("nan" in text.get_text() for text in panel.texts)
    assert [label.get_text() for label in axes[0].get_yticklabels()][-1] == "nobody  (0)"


def test_no_tag_that_can_be_scored_still_gives_pictures(tmp_path):
    files, metrics = draw(tmp_path, ["a", "b"], empty=(0, 1))
    assert math.isnan(metrics.roc_auc)
    assert imread(files.curves).size and imread(files.tag_bars).size


def test_pictures_do_not_depend_on_the_users_settings(tmp_path):
    import matplotlib as mpl

    files, _ = draw(tmp_path / "a", ["x", "y"])
    with mpl.rc_context({"axes.facecolor": "black", "font.size": 20, "savefig.bbox": "tight", "text.usetex": True}):
        other, _ = draw(tmp_path / "b", ["x", "y"])
        assert mpl.rcParams["font.size"] == 20
    assert files.curves.read_bytes() == other.curves.read_bytes()


def test_a_new_report_removes_the_pictures_of_the_old_one(tmp_path):
    files, metrics = draw(tmp_path, ["x", "y"])
    _, recordings = make_case(["x", "y"])
    write_report(tmp_path, "makam", "ast", metrics, recordings, provenance={})
    assert not files.curves.exists() and not files.tag_bars.exists()
    assert files.json.exists()


def test_matplotlib_is_imported_only_to_draw():
    code = "import sys, evaluation.plots; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
