"""`predict.py`: its tables and pictures, resuming, failures and exit codes, run as users run it."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import predict
from runtime.errors import run_script
from tagging import Tagger
from tagging.recordings import find_recordings
from tagging.results import Analysis
from tagging.tables import score_table
from tagging.taggram import clock, tag_order, taggram_figure, time_extent
from tests.corpora import write_spectrogram
from tests.saved_models import TAGS, random_network, save_random
from tests.sounds import write_melody

ROOT = Path(__file__).resolve().parents[1]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `predict.py`; a traceback fails the test."""
    command = [sys.executable, str(ROOT / "predict.py"), "--device", "cpu", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert "Traceback" not in result.stderr
    return result


def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str, str]:
    """The same in this process, without the seconds that PyTorch takes to import."""
    monkeypatch.setattr(sys, "argv", ["predict.py", "--device", "cpu", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        run_script(predict.main)
    return ended.value.code, *capsys.readouterr()


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("saved_models")
    save_random(root / "makam" / "vgg_ish.pth", "vgg_ish")
    save_random(root / "fma" / "musicnn.pth", "musicnn", dataset="fma", tags=("Rock", "Folk"), seed=1)
    return root


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two recordings, a spectrogram, and a file that is no audio."""
    root = tmp_path_factory.mktemp("music")
    write_melody(root / "a" / "first.wav", 9.0, 22_050, 2)
    write_melody(root / "b" / "Sâba ☀.flac", 5.0, seed=1)
    write_spectrogram(root / "b" / "third.npy", np.random.default_rng(0).normal(-50, 8, (700, 128)))
    (root / "broken.mp3").write_bytes(b"no audio in here" * 50)
    (root / ".hidden.wav").write_bytes(b"")
    return root


def test_a_folder_is_tagged_and_a_second_run_does_only_what_is_not_finished(
    tmp_path: Path, models: Path, music: Path
) -> None:
    out = tmp_path / "out"
    arguments = (
        "--dataset",
        "makam",
        "--model_name",
        "vgg_ish",
        "--models_dir",
        models,
        "--out",
        out,
        "--over_time",
        music,
    )
    first = run(*arguments)
    assert first.returncode == 3  # done, but for some files
    assert first.stderr.splitlines()[-1].startswith("error: 1 of 4 recordings failed: broken.mp3 (")
    assert [row["recording"] for row in rows(out / "failed.csv")] == ["broken.mp3"]

    table = rows(out / "scores.csv")
    assert list(table[0]) == ["recording", "seconds", *TAGS]
    assert [row["recording"] for row in table] == ["a/first.wav", "b/Sâba ☀.flac", "b/third.npy"]
    tagger = Tagger.load(models / "makam" / "vgg_ish.pth", device="cpu")
    for row in table:
        analysis = tagger.tag(music / row["recording"])
        np.testing.assert_allclose([float(row[tag]) for tag in TAGS], analysis.scores, rtol=0, atol=2e-6)
        chunks = rows(out / "over_time" / f"{row['recording']}.makam-vgg_ish.csv")
        np.testing.assert_allclose([float(chunk["start_seconds"]) for chunk in chunks], analysis.starts, atol=6e-4)
        written = [[float(chunk[tag]) for tag in TAGS] for chunk in chunks]
        np.testing.assert_allclose(written, analysis.chunk_scores, rtol=0, atol=2e-6)
        picture = out / "over_time" / f"{row['recording']}.makam-vgg_ish.png"
        assert picture.read_bytes().startswith(b"\x89PNG")
    as_json = json.loads((out / "scores.json").read_text(encoding="utf-8"))
    assert list(as_json[0]["models"]["makam/vgg_ish"]["scores"]) == list(TAGS)

    records = {path: path.stat().st_mtime_ns for path in out.rglob("*.json") if "recordings" in path.parts}
    lost = out / "over_time" / "a" / "first.wav.makam-vgg_ish.png"
    lost.unlink()
    before = (out / "scores.csv").read_bytes()
    again = run(*arguments)
    assert again.returncode == 3
    changed = [path.name for path, time in records.items() if path.stat().st_mtime_ns != time]
    assert changed == ["first.wav.json"]
    assert lost.is_file()
    assert (out / "scores.csv").read_bytes() == before
    assert again.stdout == first.stdout

    run(*arguments[:-1], "--overlap", "0.5", music / "b" / "third.npy")  # other settings: nothing is finished
    assert len(rows(out / "over_time" / "third.npy.makam-vgg_ish.csv")) == (700 - 230) // 115 + 1


def test_models_of_several_corpora_stand_side_by_side(tmp_path: Path, models: Path, music: Path) -> None:
    checkpoints = ("--checkpoint", models / "makam/vgg_ish.pth", "--checkpoint", models / "fma/musicnn.pth")
    result = run(*checkpoints, "--top", 2, "--out", tmp_path, music / "a" / "first.wav")
    assert result.returncode == 0
    (row,) = rows(tmp_path / "scores.csv")
    assert list(row)[2:] == [f"makam/vgg_ish: {tag}" for tag in TAGS] + ["fma/musicnn: Rock", "fma/musicnn: Folk"]
    lines = result.stdout.splitlines()
    assert lines[0] == "first.wav  (0:09)"
    assert [line.split()[0] for line in lines[1:7]] == [
        "makam/vgg_ish",
        "instrument",
        "makam",
        "usul",
        "fma/musicnn",
        "genre",
    ]
    best = max((float(row[f"makam/vgg_ish: {tag}"]), tag) for tag in TAGS if tag.startswith("instrument--"))
    assert lines[2].split()[1:3] == [f"{best[0]:.3f}", best[1].removeprefix("instrument--")]


def test_mistakes_are_told_in_one_line(monkeypatch, capsys, tmp_path: Path, models: Path, music: Path) -> None:
    checkpoint = ("--checkpoint", models / "makam" / "vgg_ish.pth")
    song = music / "a" / "first.wav"
    (tmp_path / "empty").mkdir()
    torch.save(random_network("vgg_ish", 6).state_dict(), tmp_path / "bare.pth")
    cases = [
        ((song,), 2, "say which model"),
        (("--dataset", "makam", song), 2, "go together"),
        (("--dataset", "makam", "--model_name", "vgg", song), 2, "unknown model"),
        (("--dataset", "makam", "--model_name", "ast", "--models_dir", models, song), 1, "train it with"),
        (("--checkpoint", tmp_path / "none.pth", song), 1, "none.pth"),
        (("--checkpoint", tmp_path / "bare.pth", song), 1, "--tags"),
        ((*checkpoint, "--over_time", song), 2, "--out"),
        ((*checkpoint, "--overlap", "1", song), 2, "overlap"),
        ((*checkpoint, "--ast_normalisation", "nan", "1", song), 2, "ast_normalisation"),
        ((*checkpoint, tmp_path / "empty"), 1, "no audio file"),
        ((*checkpoint, tmp_path / "absent.mp3"), 1, "absent.mp3"),
        ((*checkpoint, music / "broken.mp3"), 1, "broken.mp3"),
    ]
    for arguments, code, words in cases:
        found, _, stderr = call(monkeypatch, capsys, *arguments)
        assert found == code, (arguments, stderr)
        last = stderr.splitlines()[-1]
        assert last.startswith("error: ")
        assert words in last


def test_a_bare_state_dict_takes_its_tags_from_a_file(
    monkeypatch, capsys, tmp_path: Path, models: Path, music: Path
) -> None:
    network = random_network("vgg_ish", len(TAGS))
    torch.save(network.state_dict(), tmp_path / "vgg_ish.pth")
    (tmp_path / "tags.txt").write_text("\n".join(TAGS) + "\n", encoding="utf-8")
    arguments = ("--checkpoint", tmp_path / "vgg_ish.pth", "--tags", tmp_path / "tags.txt", "--out", tmp_path / "out")
    assert call(monkeypatch, capsys, *arguments, music / "a" / "first.wav")[0] == 0
    (row,) = rows(tmp_path / "out" / "scores.csv")
    expected = Tagger.load(models / "makam" / "vgg_ish.pth", device="cpu").tag(music / "a" / "first.wav").scores
    np.testing.assert_allclose([float(row[tag]) for tag in TAGS], expected, rtol=0, atol=1e-5)


def test_two_recordings_of_one_name_are_not_mixed_up(monkeypatch, capsys, tmp_path: Path, models: Path) -> None:
    for folder in ("a", "b"):
        write_melody(tmp_path / folder / "same.wav", 4)
    checkpoint = models / "makam" / "vgg_ish.pth"
    code, _, stderr = call(monkeypatch, capsys, "--checkpoint", checkpoint, tmp_path / "a", tmp_path / "b")
    assert code == 1
    assert "would both be called 'same.wav'" in stderr


def analysis(n_chunks: int, hop_seconds: float, seconds: float) -> Analysis:
    scores = np.random.default_rng(0).random((n_chunks, len(TAGS))).astype(np.float32)
    starts = np.arange(n_chunks) * hop_seconds
    return Analysis(
        "makam/ast",
        "makam",
        TAGS,
        scores.mean(0),
        scores,
        np.zeros((n_chunks, 4), np.float32),
        starts,
        8.0,
        hop_seconds,
        seconds,
    )


def test_the_pictures_time_axis_is_that_of_the_recording() -> None:
    plain, overlapping = analysis(14, 8.0, 118.0), analysis(28, 4.0, 118.0)
    assert time_extent(plain) == (0.0, 112.0)
    assert time_extent(overlapping) == (2.0, 114.0)  # cells around the middles, 4 s … 112 s
    figure = taggram_figure(overlapping, "title")
    axes = figure.axes[0]
    assert axes.get_xlim() == (0, 118)
    (image,) = axes.images
    assert tuple(image.get_extent()[:2]) == (2.0, 114.0)
    assert image.get_clim() == (0, 1)
    order = tag_order(overlapping)
    np.testing.assert_array_equal(image.get_array(), overlapping.chunk_scores[:, order].T)
    assert [TAGS[i].split("--")[0] for i in order] == ["instrument"] * 3 + ["makam"] * 2 + ["usul"]
    assert (np.diff(overlapping.scores[order][:3]) <= 0).all()
    assert [clock(seconds) for seconds in (0, 59.6, 61, 3600, 7384)] == ["0:00", "1:00", "1:01", "1:00:00", "2:03:04"]


def test_a_table_of_nothing_has_only_its_header() -> None:
    assert score_table({}) == (["recording", "seconds"], [])


def test_a_link_that_leads_to_itself_is_found_like_any_other_file(tmp_path):
    (tmp_path / "in").mkdir()
    write_melody(tmp_path / "in" / "good.wav", 1)
    (tmp_path / "in" / "loop.mp3").symlink_to("loop.mp3")
    for inputs in ([tmp_path / "in"], [tmp_path / "in" / "good.wav", tmp_path / "in" / "loop.mp3"]):
        assert {recording.name for recording in find_recordings(inputs, tmp_path / "out")} == {"good.wav", "loop.mp3"}
