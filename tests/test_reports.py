"""The three files of an evaluation: their layout, what is read back, and what a crash leaves."""

import errno
import json
import math
import os
import resource
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evaluation.metrics import evaluate_scores
from evaluation.recording_scores import RecordingScores
from evaluation.reports import prepare_report, read_report, read_scores, write_report
from runtime.errors import DataError

TAGS = ("makam--Hüseynî", 'raga--"Kalyāṇi", ಕಲ್ಯಾಣಿ', "place--None")
PROVENANCE = {
    "checkpoint": Path("saved_models/makam/ast.pth"),
    "seed": np.int64(3),
    "validation_loss": math.nan,
    "configuration": {"betas": (0.95, 0.999), "patience": None},
}


def make_scores(seed: int = 0, recordings: int = 40) -> RecordingScores:
    rng = np.random.default_rng(seed)
    labels = (rng.random((recordings, len(TAGS))) < 0.4).astype(np.uint8)
    labels[0], labels[1], labels[2:, 0] = (1, 1, 0), (0, 0, 1), 1
    scores = rng.random(labels.shape).astype(np.float32)
    scores[:3, 0] = [0, 1, 1e-30]
    return RecordingScores(tuple(f"{i:06d}" for i in range(recordings)), TAGS, labels, scores)


def write(directory: Path, recordings: RecordingScores, **options):
    metrics = evaluate_scores(recordings.labels, recordings.scores, recordings.tags)
    return write_report(directory, "makam", "ast_from_fma", metrics, recordings, PROVENANCE, **options)


def excluding(recordings: RecordingScores) -> RecordingScores:
    labels = recordings.labels.copy()
    labels[:, 2] = 0
    return RecordingScores(recordings.ids, recordings.tags, labels, recordings.scores)


def test_text_has_the_layout_of_the_study(tmp_path):
    labels = np.array([[1, 0], [0, 1], [1, 0], [0, 0]])
    scores = np.array([[0.8, 0.1], [0.8, 0.9], [0.4, 0.2], [0.2, 0.3]], dtype=np.float32)
    recordings = RecordingScores(("1", "2", "3", "4"), ("genres--Laiko", "place--None"), labels, scores)
    files = write(tmp_path, recordings)
    assert files.text == tmp_path / "makam" / "ast_from_fma.txt"
    title, roc_auc, pr_auc, *report = files.text.read_text(encoding="utf-8").splitlines(keepends=True)
    assert title == 'Evaluation of the model "ast_from_fma" on the test set of "makam":\n'
    assert roc_auc == "ROC-AUC score: 0.8125\n"
    assert pr_auc.startswith("PR-AUC score: ")
    assert float(pr_auc.removeprefix("PR-AUC score: ")) == pytest.approx((7 / 12 + 1) / 2, abs=1e-15)
    assert "".join(report) == (
        "\n"
        "               precision    recall  f1-score   support\n"
        "\n"
        "genres--Laiko       0.50      0.50      0.50         2\n"
        "  place--None       1.00      1.00      1.00         1\n"
        "\n"
        "    micro avg       0.67      0.67      0.67         3\n"
        "    macro avg       0.75      0.75      0.75         3\n"
        " weighted avg       0.67      0.67      0.67         3\n"
        "  samples avg       0.38      0.50      0.42         3\n"
    )


def test_excluded_tags_and_notes_end_the_text(tmp_path):
    files = write(tmp_path, excluding(make_scores()), notes=["2 recordings without a spectrogram were left out."])
    last = files.text.read_text(encoding="utf-8").splitlines()[-2:]
    assert last[0].startswith("Left out of the macro averages") and last[0].endswith("place--None.")
    assert last[1] == "2 recordings without a spectrogram were left out."


def test_averages_that_are_not_defined_are_said_so(tmp_path):
    recordings = make_scores()
    recordings = RecordingScores(recordings.ids, TAGS, np.zeros_like(recordings.labels), recordings.scores)
    files = write(tmp_path, recordings)
    assert "ROC-AUC score: not defined\nPR-AUC score: not defined\n" in files.text.read_text(encoding="utf-8")
    assert math.isnan(read_report(files.json).metrics.roc_auc)


def test_json_is_strict_and_has_the_documented_keys(tmp_path):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    recordings = excluding(make_scores())
    text = write(tmp_path, recordings).json.read_text(encoding="utf-8")
    document = json.loads(text, parse_constant=refuse)
    assert list(document) == [
        "format", "dataset", "model_name",
        "n_recordings", "roc_auc", "pr_auc", "per_tag", "excluded", "threshold",
        "classification_report", "classification_report_text",
        "notes", "provenance", "scores_sha256", "recordings",
    ]  # fmt: skip
    assert document["provenance"] == {
        "checkpoint": "saved_models/makam/ast.pth",
        "seed": 3,
        "validation_loss": None,
        "configuration": {"betas": [0.95, 0.999], "patience": None},
    }
    assert document["per_tag"][2] == {"tag": "place--None", "support": 0, "roc_auc": None, "pr_auc": None}
    assert "makam--Hüseynî" in text and "ಕಲ್ಯಾಣಿ" in text
    true = {row["id"]: set(row["tags"]) for row in document["recordings"]}
    assert true["000000"] == {TAGS[0], TAGS[1]} and true["000001"] == set()


def test_reading_gives_back_what_was_written(tmp_path):
    recordings = excluding(make_scores())
    files = write(tmp_path, recordings, notes=["a note"])
    report, back = read_report(files.json), read_scores(files.json)
    assert (back.ids, back.tags) == (recordings.ids, recordings.tags)
    assert back.scores.dtype == np.float32
    np.testing.assert_array_equal(back.scores, recordings.scores)
    np.testing.assert_array_equal(back.labels, recordings.labels)
    assert (report.dataset, report.model_name, report.notes) == ("makam", "ast_from_fma", ("a note",))
    again = write_report(
        tmp_path / "again", report.dataset, report.model_name, report.metrics, back, report.provenance, report.notes
    )
    for old, new in ((files.json, again.json), (files.text, again.text), (files.scores, again.scores)):
        assert old.read_bytes() == new.read_bytes()


def test_csv_gives_back_any_float32_score(tmp_path):
    rng = np.random.default_rng(5)
    bits = rng.integers(0, np.float32(1).view(np.uint32), size=(4000, 3), dtype=np.uint32)
    scores = bits.view(np.float32)  # every magnitude down to the subnormals
    labels = np.zeros(scores.shape, np.uint8)
    recordings = RecordingScores(tuple(map(str, range(4000))), TAGS, labels, scores)
    np.testing.assert_array_equal(read_scores(write(tmp_path, recordings).json).scores, scores)


def test_csv_reads_in_pandas(tmp_path):
    recordings = make_scores()
    table = pd.read_csv(write(tmp_path, recordings).scores, dtype={"id": str}, index_col="id")
    assert tuple(table.columns) == TAGS and tuple(table.index) == recordings.ids
    np.testing.assert_array_equal(table.to_numpy(np.float32), recordings.scores)


class Crash(BaseException):
    pass


def crash_at(monkeypatch, call: int, die) -> None:
    """Have the `call`-th renaming (counted from 0) not happen."""
    replace, calls = Path.replace, []

    def crashing(self, target):
        calls.append(target)
        if len(calls) == call + 1:
            die()
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", crashing)


@pytest.mark.parametrize("call", [0, 1, 2])
def test_after_a_kill_at_any_renaming_no_json_vouches_for_other_files(tmp_path, monkeypatch, call):
    old, new = make_scores(seed=1), make_scores(seed=2)
    files = write(tmp_path, old)
    child = os.fork()
    if child == 0:  # killed without any clean-up
        crash_at(monkeypatch, call, lambda: os._exit(9))
        write(tmp_path, new)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert not files.json.exists()
    with pytest.raises(DataError, match="cannot read the evaluation"):
        read_report(files.json)
    # The same command again sweeps up and completes.
    prepare_report(tmp_path, "makam", "ast_from_fma")
    write(tmp_path, new)
    np.testing.assert_array_equal(read_scores(files.json).scores, new.scores)
    assert {path.name for path in files.directory.iterdir()} == {
        f"ast_from_fma.{end}" for end in ("txt", "csv", "json")
    }


@pytest.mark.parametrize("call", [0, 1, 2])
def test_an_interruption_leaves_no_part_files(tmp_path, monkeypatch, call):
    def interrupt():
        raise Crash

    crash_at(monkeypatch, call, interrupt)
    with pytest.raises(Crash):
        write(tmp_path, make_scores())
    assert not list((tmp_path / "makam").glob(".*"))
    assert not (tmp_path / "makam" / "ast_from_fma.json").exists()


def test_a_full_disk_is_one_line_and_leaves_the_earlier_evaluation(tmp_path):
    old = make_scores(seed=1)
    files = write(tmp_path, old)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(DataError, match=f"cannot write to {files.directory}") as error:
            write(tmp_path, make_scores(seed=2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(error.value)
    np.testing.assert_array_equal(read_scores(files.json).scores, old.scores)
    assert len(list(files.directory.iterdir())) == 3


def test_a_directory_that_cannot_be_made_is_told_before_scoring(tmp_path):
    (tmp_path / "makam").write_text("a file is in the way")
    with pytest.raises(DataError, match="cannot create the directory"):
        prepare_report(tmp_path, "makam", "ast")


def test_a_read_only_directory_is_told_before_scoring(tmp_path, monkeypatch):
    def denied(self, *args, **options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    monkeypatch.setattr(Path, "touch", denied)  # permissions do not bind root
    with pytest.raises(DataError, match=f"cannot write to {tmp_path / 'makam'} .Permission denied"):
        prepare_report(tmp_path, "makam", "ast")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda text: text[: len(text) // 2], "damaged"),
        (lambda text: "", "damaged"),
        (lambda text: "[]", "not an evaluation"),
        (lambda text: text.replace('"format": 1', '"format": 99'), "format 99"),
        (lambda text: text.replace('"per_tag"', '"tags"'), "'per_tag' is missing"),
        (lambda text: text.replace('"roc_auc": 0.', '"roc_auc": 7.'), "no area"),
        (lambda text: text.replace('"roc_auc": 0.', '"roc_auc": NaN, "x": 0.', 1), "NaN"),
        (lambda text: text.replace('"provenance": {', '"provenance": 4, "x": {'), "damaged"),
        (lambda text: text.replace('"n_recordings": 40', '"n_recordings": 41'), "40 of 41 recordings"),
    ],
)
def test_a_damaged_json_is_one_clear_line(tmp_path, damage, reason):
    path = write(tmp_path, make_scores()).json
    text = path.read_text(encoding="utf-8")
    assert damage(text) != text
    path.write_text(damage(text), encoding="utf-8")
    with pytest.raises(DataError, match=reason) as error:
        read_report(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_csv_of_another_evaluation_is_refused(tmp_path):
    files = write(tmp_path, make_scores(seed=1))
    other = write(tmp_path / "other", make_scores(seed=2))
    files.scores.write_bytes(other.scores.read_bytes())
    with pytest.raises(DataError, match=r"is not the file that ast_from_fma\.json describes"):
        read_scores(files.json)
    files.scores.unlink()
    with pytest.raises(DataError, match="cannot read the scores"):
        read_scores(files.json)


def test_scores_that_are_not_float32_are_refused():
    recordings = make_scores()
    with pytest.raises(TypeError, match="float32"):
        RecordingScores(recordings.ids, TAGS, recordings.labels, recordings.scores.astype(np.float64))
