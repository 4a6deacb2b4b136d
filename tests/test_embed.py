"""`embed.py`: its rows are the activations before the final layer, in both formats, once computed."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest

import embed
from preprocessing.audio import load_audio
from runtime.errors import run_script
from tagging import Tagger
from tests.saved_models import TAGS, random_network, save_random
from tests.sounds import write_melody


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "saved_models" / "makam" / "musicnn.pth"
    save_random(path, "musicnn")
    return path


@pytest.fixture
def music(tmp_path: Path) -> Path:
    write_melody(tmp_path / "music" / "a" / "first.wav", 9.5)
    write_melody(tmp_path / "music" / "second.flac", 6.5, 44_100, seed=1)
    (tmp_path / "music" / "broken.wav").write_bytes(b"RIFF")
    return tmp_path / "music"


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["embed.py", "--device", "cpu", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            run_script(embed.main)
        return ended.value.code, capsys.readouterr().err

    return run


def index(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def chunk_activations(path: Path) -> np.ndarray:
    """The input of the final layer, caught on its way in."""
    import torch

    from preprocessing.mel import mel_spectrogram

    spectrogram = mel_spectrogram(load_audio(path)).T
    count = len(spectrogram) // 187
    caught = []
    network = random_network("musicnn", len(TAGS))
    network.dense2.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
    with torch.no_grad():
        network(torch.from_numpy(np.ascontiguousarray(spectrogram[: count * 187])).reshape(count, 187, 128))
    return caught[0].numpy()


def test_rows_are_the_activations_before_the_final_layer(tmp_path: Path, call, checkpoint: Path, music: Path) -> None:
    out = tmp_path / "out"
    code, stderr = call("--checkpoint", checkpoint, "--out", out, "--per_chunk", music)
    assert code == 3
    assert "1 of 3 recordings failed: broken.wav" in stderr
    rows = index(out / "index.csv")
    embeddings = np.load(out / "embeddings.npy")
    assert embeddings.dtype == np.float32
    expected = {name: chunk_activations(music / name) for name in ("a/first.wav", "second.flac")}
    assert [row["recording"] for row in rows] == ["a/first.wav"] * 3 + ["second.flac"] * 2
    np.testing.assert_allclose(embeddings, np.concatenate(list(expected.values())), rtol=1e-4, atol=1e-4)
    assert [float(row["start_seconds"]) for row in rows] == [0, 2.992, 5.984, 0, 2.992]
    assert index(out / "failed.csv")[0]["recording"] == "broken.wav"

    call("--checkpoint", checkpoint, "--out", out, music)  # the same recordings, averaged
    means = np.stack([chunks.mean(axis=0) for chunks in expected.values()])
    np.testing.assert_allclose(np.load(out / "embeddings.npy"), means, rtol=1e-4, atol=1e-4)
    assert [(row["row"], row["recording"]) for row in index(out / "index.csv")] == [
        ("0", "a/first.wav"),
        ("1", "second.flac"),
    ]


def test_a_second_run_computes_only_what_changed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, call, checkpoint: Path, music: Path
) -> None:
    arguments = ("--checkpoint", checkpoint, "--out", tmp_path / "out", music)
    call(*arguments)
    before = np.load(tmp_path / "out" / "embeddings.npy")
    computed = []
    real = Tagger.tag
    monkeypatch.setattr(
        Tagger, "tag", lambda self, path, **options: computed.append(path.name) or real(self, path, **options)
    )
    write_melody(music / "second.flac", 6.5, seed=5)
    call(*arguments)
    assert computed == ["broken.wav", "second.flac"]
    after = np.load(tmp_path / "out" / "embeddings.npy")
    np.testing.assert_array_equal(after[0], before[0])
    assert not np.array_equal(after[1], before[1])


def test_parquet_holds_the_same(monkeypatch, tmp_path: Path, call, checkpoint: Path, music: Path) -> None:
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow", reason="pyarrow is not installed (requirements-export.txt)")
    monkeypatch.setattr("tagging.embedding.ROWS_AT_ONCE", 2)
    arguments = ("--checkpoint", checkpoint, "--per_chunk", music)
    call(*arguments, "--out", tmp_path / "npy")
    call(*arguments, "--out", tmp_path / "parquet", "--format", "parquet")
    table = pd.read_parquet(tmp_path / "parquet" / "embeddings.parquet")
    np.testing.assert_array_equal(np.stack(table["embedding"]), np.load(tmp_path / "npy" / "embeddings.npy"))
    rows = index(tmp_path / "npy" / "index.csv")
    assert table["recording"].tolist() == [row["recording"] for row in rows]
    assert table["end_seconds"].tolist() == pytest.approx([float(row["end_seconds"]) for row in rows])


def test_one_model_at_a_time(tmp_path: Path, call, checkpoint: Path, music: Path) -> None:
    code, stderr = call("--checkpoint", checkpoint, "--checkpoint", checkpoint, "--out", tmp_path / "out", music)
    assert code == 2
    assert "one checkpoint at a time" in stderr
