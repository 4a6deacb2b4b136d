"""The report: complete, self-contained, and readable in a real browser on a narrow screen."""

import re
import shutil
import subprocess

import pytest
from PIL import Image

from config import DATASETS
from study.comparisons import target_statistics
from study.figures import write_figures
from study.findings import teachers
from study.report import figure_files, report_html
from study.results import SYNTHETIC_NOTE, load_study, published_study
from study.tables import write_tables
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
    assert "Incomplete: 15 of 45 evaluations missing" in text  # of the third seed
    assert "Published: Papaioannou" not in text
    assert text.count("<img") == 8


def test_report_compares_sources_on_average_in_sight_and_target_by_target_to_be_opened(report):
    text = report.read_text(encoding="utf-8")
    section = text[text.index('<section id="pairs">') :]
    assert section.index("Which source teaches more on average?") < section.index("<summary>Lyra</summary>")
    assert text.count('href="#pairs"') == 1


def test_report_tells_what_ran_with_which_versions_and_data(report):
    text = report.read_text(encoding="utf-8")
    assert "30 trainings evaluated, of 15 different runs; seeds 0, 1, 2." in text
    assert "Time in training epochs altogether: 30 min." in text
    assert "python" in text and "3.11" in text and "makam-60" in text


def test_report_needs_nothing_from_outside(report):
    text = report.read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["'](?!data:|#)|url\(|@import|<script|<link""", text)


def test_published_figures_make_a_report_of_their_own(published_figures):
    study = published_study(published_figures / "results.csv")
    text = report_html(study, {})
    assert "The best source differs by target: MagnaTagATune for Lyra and Hindustani" in text
    row = next(line for line in text.splitlines() if '<th scope="row">Hindustani</th><td>MagnaTagATune' in line)
    assert "<small>ast</small>" in row and "<b>0.8658</b>" in row
    assert 'id="pairs"' not in text and 'id="runs"' not in text  # they have no scores to compare, and no provenance


def test_published_figures_are_in_the_studys_order_whatever_that_of_their_file(published_figures):
    theirs = published_study(published_figures / "results.csv")
    assert list(theirs.results) == list(published_study().results)
    assert [dataset for dataset, run in theirs.results if run == "ast"] == list(DATASETS)


def test_figures_follow_the_models_and_corpora_of_the_study(tmp_path):
    names = ["tag_gains_carnatic", "transfer_matrix_ast", "tag_gains_fma", "transfer_matrix_vgg_ish", "source_gains"]
    for name in [*names, "transfer_matrix_musicnn"]:
        (tmp_path / f"{name}.png").touch()
    assert [path.stem for path in figure_files(tmp_path)] == [
        "source_gains",
        "transfer_matrix_vgg_ish",
        "transfer_matrix_musicnn",
        "transfer_matrix_ast",
        "tag_gains_fma",
        "tag_gains_carnatic",
    ]


def test_a_study_of_one_corpus_has_tables_figures_and_a_report(tmp_path):
    write_evaluations(tmp_path / "evaluation", ("makam",), ("musicnn", "ast"))
    study = load_study(tmp_path / "evaluation", ("makam",), ("musicnn", "ast"))
    statistics = {"makam": target_statistics(study, "makam", resamples=20)}
    assert write_tables(tmp_path, study, statistics)
    assert write_figures(tmp_path / "figures", study, statistics) == []
    assert (tmp_path / "figures").is_dir()
    text = report_html(study, statistics)
    assert "No transfer has been evaluated yet" in text and "Turkish-makam" in text


def test_mean_gains_are_not_compared_where_only_the_best_transfers_are_known():
    """18 pairs of target and model: 6 times MagnaTagATune, 6 times FMA, twice each of three others."""
    ranked = teachers(published_study(), {})
    assert [teacher.mean_gain for teacher in ranked] == [None] * 5
    assert {teacher.source: teacher.wins for teacher in ranked} == {
        "magnatagatune": 6,
        "fma": 6,
        "lyra": 2,
        "makam": 2,
        "hindustani": 2,
    }


# A page that holds the report as wide as a telephone and tells, in its title, how wide the report wants to be.
PHONE = """<style>body {{ margin: 0 }} iframe {{ border: 0 }}</style>
<iframe src="{address}" width="390" height="{height}"></iframe>
<script>addEventListener("message", event => {{ document.title = event.data }})</script>"""
PROBE = """<script>addEventListener("load", () => {
  document.querySelectorAll("details").forEach(details => { details.open = true });
  const wide = [...document.querySelectorAll(".scroll")].filter(box => box.scrollWidth > box.clientWidth);
  parent.postMessage(`${document.documentElement.scrollWidth} of ${innerWidth}, ${wide.length} scroll`, "*") })
</script></body>"""


@pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed")
def test_on_a_telephone_the_page_does_not_scroll_sideways_and_wide_tables_scroll_within_themselves(report, tmp_path):
    page, phone, screenshot = (tmp_path / name for name in ("page.html", "phone.html", "screen.png"))
    page.write_text(report.read_text(encoding="utf-8").replace("</body>", PROBE), encoding="utf-8")
    phone.write_text(PHONE.format(address=page.as_uri(), height=1200), encoding="utf-8")
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=600,1200")
    options += (f"--user-data-dir={tmp_path}/u",)

    def browse(*more: str) -> str:
        command = [BROWSER, *options, *more, phone.as_uri()]
        return subprocess.run(command, check=True, timeout=120, capture_output=True, text=True).stdout

    title = re.search(r"<title>(\d+) of 390, (\d+) scroll", browse("--virtual-time-budget=10000", "--dump-dom"))
    assert title is not None
    width, scrolling = map(int, title.groups())
    assert width == 390
    assert scrolling > 3  # the tables of all runs do not fit
    browse(f"--screenshot={screenshot}")
    colors = Image.open(screenshot).convert("L").crop((0, 0, 390, 1200)).getextrema()
    assert colors[0] < 60 and colors[1] == 255  # dark text on white
