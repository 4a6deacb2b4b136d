"""Exported files give the scores of the checkpoint, and say where they come from."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import export
from config import MODELS, run_config
from datasets import open_corpus
from evaluation.run import EvaluationSettings, evaluate
from models.checkpoints import load_checkpoint
from runtime.errors import run_script
from tagging import Tagger
from tests.corpora import make_corpus, write_spectrogram
from tests.saved_models import TAGS, save_random

needs_onnx = pytest.mark.skipif(
    any(__import__("importlib.util").util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="ONNX packages are not installed (requirements-export.txt)",
)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["export.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            run_script(export.main)
        return ended.value.code, capsys.readouterr().err

    return run


@pytest.mark.parametrize("model", MODELS)
def test_safetensors_hold_all_of_the_checkpoint(tmp_path: Path, call, model: str) -> None:
    from safetensors import safe_open

    path = tmp_path / f"{model}.pth"
    save_random(path, model, **({"ast_size": "tiny224"} if model == "ast" else {}))
    assert call("--checkpoint", path, "--out", tmp_path / "out", "--formats", "safetensors")[0] == 0
    exported = tmp_path / "out" / f"makam-{model}.safetensors"
    original = load_checkpoint(path)
    with safe_open(exported, framework="np") as file:
        assert set(file.keys()) == set(original.state_dict)
        for name, tensor in original.state_dict.items():
            np.testing.assert_array_equal(file.get_tensor(name), tensor.numpy())
        metadata = file.metadata()
    assert json.loads(metadata["tags"]) == list(TAGS)
    assert json.loads(metadata["info"]) == json.loads(json.dumps(dataclasses.asdict(original.info)))

    write_spectrogram(tmp_path / "x.npy", np.random.default_rng(0).normal(-50, 8, (520, 128)))
    scores = [Tagger.load(file, device="cpu").tag(tmp_path / "x.npy").scores for file in (path, exported)]
    np.testing.assert_array_equal(*scores)


@needs_onnx
@pytest.mark.parametrize(
    ("model", "settings", "lengths"),
    [
        ("vgg_ish", {}, (230, 128, 400)),
        ("musicnn", {}, (187, 100, 300)),
        ("musicnn", {"musicnn_layout": "published"}, (187,)),
        ("ast", {"ast_size": "tiny224"}, (500,)),
    ],
)
def test_onnx_gives_the_same_scores(tmp_path: Path, call, model: str, settings: dict, lengths: tuple[int, ...]) -> None:
    import onnxruntime

    network = save_random(tmp_path / "model.pth", model, **settings)
    assert call("--checkpoint", tmp_path / "model.pth", "--out", tmp_path / "out")[0] == 0
    session = onnxruntime.InferenceSession(tmp_path / "out" / f"makam-{model}.onnx", providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["tags"]) == list(TAGS)
    assert metadata["pooling"] == network.pooling
    generator = np.random.default_rng(0)
    for length in lengths:
        for batch in (1, 3):
            mel = generator.normal(-50, 15, (batch, length, 128)).astype(np.float32)
            scores, logits, embedding = session.run(["scores", "logits", "embedding"], {"mel": mel})
            with torch.no_grad():
                expected = network.embed(torch.from_numpy(mel))
                np.testing.assert_allclose(scores, network.scores(torch.from_numpy(mel)), rtol=0, atol=1e-4)
                np.testing.assert_allclose(logits, network.classify(expected), rtol=0, atol=1e-3)
                np.testing.assert_allclose(embedding, expected, rtol=1e-3, atol=1e-3)


def test_the_model_card_tells_the_results_of_this_very_checkpoint(tmp_path: Path, call) -> None:
    corpus = make_corpus(tmp_path / "corpus", counts=(6, 2, 4))
    path = tmp_path / "models" / "makam" / "musicnn.pth"
    tags = open_corpus("makam", corpus).tags
    save_random(path, "musicnn", tags=tags)
    settings = EvaluationSettings(
        run=run_config("makam", "musicnn"),
        data_dir=corpus,
        models_dir=tmp_path / "models",
        evaluation_dir=tmp_path / "evaluation",
        device="cpu",
        precision="float32",
    )
    metrics, _, _ = evaluate(settings)
    arguments = ("--dataset", "makam", "--model_name", "musicnn", "--models_dir", tmp_path / "models")
    arguments += ("--evaluation_dir", tmp_path / "evaluation", "--out", tmp_path / "out", "--formats", "safetensors")
    assert call(*arguments)[0] == 0
    card = (tmp_path / "out" / "makam-musicnn.md").read_text(encoding="utf-8")
    assert f"Macro ROC-AUC {metrics.roc_auc:.4g}, macro PR-AUC {metrics.pr_auc:.4g} over 4 recordings." in card
    for tag in tags:
        assert f"| {tag.split('--')[1]} |" in card
    assert load_checkpoint(path).sha256 in card
    assert "epoch of the weights (lowest validation loss): 7 of 9" in card

    save_random(path, "musicnn", tags=tags, seed=1)  # trained again: the results are of another checkpoint
    assert call(*arguments)[0] == 0
    card = (tmp_path / "out" / "makam-musicnn.md").read_text(encoding="utf-8")
    assert "Macro ROC-AUC" not in card
    assert "Not evaluated" in card


def test_what_cannot_be_exported_is_told_in_one_line(tmp_path: Path, call) -> None:
    network = save_random(tmp_path / "model.pth", "musicnn")
    torch.save(network.state_dict(), tmp_path / "bare.pth")
    (tmp_path / "damaged.safetensors").write_bytes(b"{}" * 100)
    out = ("--out", tmp_path / "out")
    code, stderr = call("--checkpoint", tmp_path / "bare.pth", *out)
    assert (code, "bare state dict" in stderr) == (1, True)
    assert call("--dataset", "makam", *out)[0] == 2
    assert call(*out)[0] == 2
    with pytest.raises(Exception, match="not a safetensors file"):
        Tagger.load(tmp_path / "damaged.safetensors", device="cpu")
