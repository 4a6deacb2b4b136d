"""The data check says what is there, and fails exactly when training could not start."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from datasets import open_corpus, open_recordings
from preprocessing import check_data
from runtime.errors import DataError, IncompleteError, UsageError
from tests.corpora import make_corpus, write_spectrogram

SCRIPT = Path(check_data.__file__)


def check(data_dir: Path, *more: str, dataset: str = "makam") -> None:
    check_data.main(["--dataset", dataset, "--data_dir", str(data_dir), *more])


def table(output: str) -> dict[str, list[str]]:
    """The lines of the output that end in numbers: title → numbers."""
    rows = (re.fullmatch(r"(\S.*?)  +([\d.]+(?:  +[\d.]+){2,3})", line) for line in output.splitlines())
    return {row[1]: row[2].split() for row in rows if row}


def training_could_start(data_dir: Path, skip_missing: bool = False) -> bool:
    """What training itself does first."""
    try:
        corpus = open_corpus("makam", data_dir, skip_missing=skip_missing)
        for split in (corpus.train, corpus.valid):
            open_recordings(split, skip_missing=skip_missing)
    except DataError:
        return False
    return True


def test_complete_corpus_is_counted(corpus_dir, capsys):
    for name in ("train-000.mp3", "train-001.WAV", "sub/valid-000.flac", "elsewhere.mp3", "notes.txt"):
        path = corpus_dir / "audios" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    # Known lengths: 10 seconds each, but for 6 minutes, 4 seconds and 2 seconds; 596 seconds in all.
    for path in (corpus_dir / "mel-spectrograms").iterdir():
        write_spectrogram(path, np.zeros((625, 128)))
    write_spectrogram(corpus_dir / "mel-spectrograms" / "test-000.npy", np.zeros((22_500, 128)))
    write_spectrogram(corpus_dir / "mel-spectrograms" / "valid-000.npy", np.zeros((250, 128)))
    write_spectrogram(corpus_dir / "mel-spectrograms" / "valid-001.npy", np.zeros((125, 128)))
    check(corpus_dir)
    output = capsys.readouterr().out
    assert table(output) == {
        "ids in the split": ["12", "6", "8", "26"],
        "audio found": ["2", "1", "0", "3"],
        "spectrograms found": ["12", "6", "8", "26"],
        "missing": ["0", "0", "0", "0"],
        "unreadable": ["0", "0", "0", "0"],
        "too short for musicnn (< 3 s)": ["0", "1", "0", "1"],
        "too short for vgg_ish (< 3.69 s)": ["0", "1", "0", "1"],
        "too short for ast (< 8 s)": ["0", "2", "0", "2"],
        "tags unknown": ["0", "0", "0", "0"],
        "no tag of the vocabulary": ["4", "2", "3", "9"],
        "hours": ["0.0", "0.0", "0.1", "0.2"],
        "instrument--Ud": ["6", "3", "4"],
        "instrument--Ney": ["4", "2", "2"],
        "instrument--Kanun": ["3", "1", "2"],
    }
    assert "4 recordings of audio, 26 spectrogram files" in output
    assert output.endswith("training and evaluation can start\n")


def test_missing_spectrograms_are_named(corpus_dir, capsys):
    for id_ in ("train-003", "train-007", "valid-002"):
        (corpus_dir / "mel-spectrograms" / f"{id_}.npy").unlink()
    with pytest.raises(DataError, match=r"training cannot start: 2 .*train-003, train-007; 1 .*valid-002"):
        check(corpus_dir)
    assert table(capsys.readouterr().out)["missing"] == ["2", "1", "0", "3"]
    check(corpus_dir, "--skip_missing")
    assert "can start, without 3 recordings" in capsys.readouterr().out


def damage(corpus_dir: Path, what: str) -> None:
    """One way each in which a corpus can be incomplete."""
    spectrograms, split = corpus_dir / "mel-spectrograms", corpus_dir / "split"
    path = spectrograms / "train-002.npy"
    if what == "truncated":
        path.write_bytes(path.read_bytes()[:-1])
    elif what == "empty file":
        path.write_bytes(b"")
    elif what == "garbage":
        path.write_bytes(b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'shape': ((((" + b" " * 200)
    elif what == "other shape":
        np.save(path, np.zeros((96, 300), dtype=np.float32))
    elif what == "no spectrograms":
        shutil.rmtree(spectrograms)
    elif what == "one missing":
        path.unlink()
    elif what == "test missing":
        (spectrograms / "test-001.npy").unlink()
    elif what == "unknown tags":
        metadata = np.load(split / "metadata.npy", allow_pickle=True).item()
        np.save(split / "metadata.npy", metadata | {"train-001": None}, allow_pickle=True)
    elif what == "tags or spectrogram":  # each recording of a split has one of them only
        metadata = np.load(split / "metadata.npy", allow_pickle=True).item()
        np.save(split / "metadata.npy", metadata | {"valid-000": None}, allow_pickle=True)
        for i in range(1, 6):
            (spectrograms / f"valid-{i:03d}.npy").unlink()
    elif what == "no metadata":
        (split / "metadata.npy").unlink()
    elif what == "empty split":
        np.save(split / "valid.npy", np.array([], dtype="U9"))
    else:
        assert what == "nothing"


DAMAGES = [
    *("nothing", "truncated", "empty file", "garbage", "other shape", "no spectrograms", "one missing"),
    *("test missing", "unknown tags", "tags or spectrogram", "no metadata", "empty split"),
]


@pytest.mark.parametrize("skip_missing", [False, True])
@pytest.mark.parametrize("what", DAMAGES)
def test_verdict_is_that_of_training(tmp_path, what, skip_missing, capsys):
    corpus_dir = make_corpus(tmp_path / "corpus")
    damage(corpus_dir, what)
    more = ["--skip_missing"] if skip_missing else []
    try:
        check(corpus_dir, *more)
        code = 0
    except (DataError, IncompleteError) as error:
        code = error.exit_code
        assert "\n" not in str(error)
    if what == "garbage":  # training, too, must refuse it; how it says so is its own affair
        assert code == 1
    else:
        assert (code in (0, 3)) == training_could_start(corpus_dir, skip_missing)
    assert (code == 3) == (what == "test missing" and not skip_missing)


def test_unreadable_file_is_named_with_the_reason(corpus_dir, capsys):
    damage(corpus_dir, "truncated")
    with pytest.raises(DataError, match="1 spectrograms of train cannot be read: train-002"):
        check(corpus_dir)
    output = capsys.readouterr().out
    assert table(output)["unreadable"] == ["1", "0", "0", "1"]
    assert "unreadable:" in output
    assert "train-002.npy: its header claims" in output


def test_advice_fits_what_is_missing(corpus_dir):
    (corpus_dir / "mel-spectrograms" / "train-000.npy").unlink()
    with pytest.raises(DataError, match=r"fetch the audio of the 26 recordings without, then make them with"):
        check(corpus_dir)
    (corpus_dir / "audios").mkdir()
    for path in (corpus_dir / "mel-spectrograms").iterdir():
        (corpus_dir / "audios" / f"{path.stem}.mp3").touch()
    (corpus_dir / "audios" / "train-000.mp3").touch()
    with pytest.raises(DataError, match=r"train-000; make them with preprocessing/create_mel_spectrograms\.py"):
        check(corpus_dir)


def test_supports_are_the_published_ones(tmp_path, published_splits, published_figures, capsys):
    shutil.copytree(published_splits / "fma", tmp_path / "fma" / "split")
    with pytest.raises(DataError, match="all 17486 spectrograms of train are missing"):
        check(tmp_path / "fma", dataset="fma")
    rows = table(capsys.readouterr().out)
    with (published_figures / "tags.csv").open(newline="") as file:
        published = [row for row in csv.DictReader(file) if row["dataset"] == "fma"]
    support = next(name for name in published[0] if "support" in name)
    assert len(published) == 20
    assert {row["tag"]: rows[row["tag"]][2] for row in published} == {row["tag"]: row[support] for row in published}


def test_missing_folder_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="there is no directory"):
        check(tmp_path / "nowhere")


def test_script_runs_from_anywhere(corpus_dir):
    done = subprocess.run(
        [sys.executable, SCRIPT, "--dataset", "makam", "--data_dir", corpus_dir],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shutil.rmtree(corpus_dir / "mel-spectrograms")
    done = subprocess.run(
        [sys.executable, SCRIPT, "--dataset", "makam", "--data_dir", corpus_dir],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: training cannot start")
