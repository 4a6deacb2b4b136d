"""The report: complete, self-contained, and readable in a real browser on a narrow screen."""

import re
import shutil
import subprocess

import pytest
from PIL import Image

from study.comparisons import target_statistics
from study.figures import write_figures
from study.findings import headline, teachers
from study.report import figure_files, report_html
from study.results import SYNTHETIC_NOTE, load_study, published_study
from tests.study_results import write_evaluations

CORPORA = ("fma", "lyra", "makam")
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report of a synthetic study, as a file."""
    directory = tmp_path_factory.mktemp("study")
    write_evaluations(directory / "evaluation", CORPORA, seeds=(0, 1))
    study = load_study(directory / "evaluation", CORPORA, ("musicnn",), (0, 1, 2), synthetic=True)
    statistics = {dataset: target_statistics(study, dataset, resamples=1000) for dataset in CORPORA}
    write_figures(directory / "figures", study, statistics)
    path = directory / "report.html"
    path.write_text(report_html(study, statistics, figure_files(directory / "figures")), encoding="utf-8")
    return path


def test_report_answers_first_and_says_that_the_data_are_synthetic(report):
    text = report.read_text(encoding="utf-8")
    assert "FMA-medium teaches the others most" in text
    assert text.index(SYNTHETIC_NOTE) < text.index("teaches the others most") < text.index("<table>")
    assert "15 evaluations missing" in text  # of the third seed
    assert "Published: Papaioannou" not in text
    assert text.count("<img") == 7


def test_report_compares_sources_on_average_in_sight_and_target_by_target_to_be_opened(report):
    text = report.read_text(encoding="utf-8")
    section = text[text.index('<section id="pairs">') :]
    assert section.index("Which source teaches more on average?") < section.index("<summary>Target by target</summary>")
    assert text.count('href="#pairs"') == 1
    assert 'id="pairs"' not in report_html(published_study(), {})  # they have no scores to compare


def test_report_tells_what_ran_with_which_versions_and_data(report):
    text = report.read_text(encoding="utf-8")
    assert "30 trainings evaluated, of 15 different runs; seeds 0, 1, 2." in text
    assert "Time in training epochs altogether: 30 min." in text
    assert "python" in text and "3.11" in text and "makam-60" in text


def test_report_needs_nothing_from_outside(report):
    text = report.read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["'](?!data:|#)|url\(|@import|<script|<link""", text)


def test_published_figures_make_a_report_of_their_own():
    study = published_study()
    text = report_html(study, {})
    assert "The best source differs by target" in text
    assert "Hindustani: best is ast from MagnaTagATune (whole network) (ROC-AUC 0.8658)" in text


def test_mean_gains_are_not_compared_where_only_the_best_transfers_are_known():
    """18 pairs of target and model: 6 times MagnaTagATune, 6 times FMA, twice each of three others."""
    study = published_study()
    ranked = teachers(study, {})
    assert [teacher.mean_gain for teacher in ranked] == [None] * 5
    assert {teacher.source: teacher.wins for teacher in ranked} == {
        "magnatagatune": 6,
        "fma": 6,
        "lyra": 2,
        "makam": 2,
        "hindustani": 2,
    }
    assert "MagnaTagATune and FMA-medium, each for 6 of 18 pairs" in headline(study, ranked)


@pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed")
def test_a_browser_shows_it_without_scrolling_sideways_on_a_narrow_screen(report, tmp_path):
    probe = "<script>document.title = 'width ' + document.documentElement.scrollWidth + ' of ' + innerWidth</script>"
    page = tmp_path / "page.html"
    page.write_text(report.read_text(encoding="utf-8").replace("</body>", f"{probe}</body>"), encoding="utf-8")
    screenshot = tmp_path / "screen.png"
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--window-size=500,1200", f"--user-data-dir={tmp_path}/u")
    subprocess.run(
        [BROWSER, *options, f"--screenshot={screenshot}", page.as_uri()], check=True, timeout=120, capture_output=True
    )
    colors = Image.open(screenshot).convert("L").getextrema()
    assert colors[0] < 60 and colors[1] == 255  # dark text on white
    dom = subprocess.run(
        [BROWSER, *options, "--dump-dom", page.as_uri()], check=True, timeout=120, capture_output=True, text=True
    ).stdout
    width, window = map(int, re.search(r"<title>width (\d+) of (\d+)", dom).groups())
    assert width <= window
