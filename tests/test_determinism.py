"""The seed fixes everything: two processes give the same weights and the same scores, bit for bit."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from models.checkpoints import load_checkpoint
from tests.commands import EVALUATE, ROOT, TRAIN, run
from tests.corpora import make_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("data") / "corpus", counts=(8, 4, 4), n_frames=190)


def trained(corpus: Path, models: Path, model_name: str, *options: object, hash_seed: int = 0, cwd: Path = ROOT) -> str:
    """SHA-256 of the weights of a training in a process of its own."""
    arguments = ("--model_name", model_name, "--data_dir", corpus, "--models_dir", models, "--epochs", 1, *options)
    # Another seed of Python's hashes gives sets and dicts of another order.
    code, _, errors = run(ROOT / TRAIN[0], *TRAIN[1:], *arguments, env={"PYTHONHASHSEED": str(hash_seed)}, cwd=cwd)
    assert code == 0, errors
    digest = hashlib.sha256()
    for name, tensor in sorted(load_checkpoint(models / "makam" / f"{model_name}.pth").state_dict.items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def test_two_trainings_give_the_same_weights_whatever_workers_hash_seed_and_directory(corpus, tmp_path):
    first = trained(corpus, tmp_path / "a", "musicnn", "--num_workers", 0, "--seed", 3, hash_seed=1)
    options = ("--num_workers", 5, "--seed", 3, "--deterministic")
    again = trained(corpus, tmp_path / "b", "musicnn", *options, hash_seed=2, cwd=tmp_path)
    assert first == again


@pytest.mark.slow
@pytest.mark.parametrize("model_name", ["vgg_ish", "ast"])
def test_two_trainings_of_the_other_models_give_the_same_weights(corpus, tmp_path, model_name):
    options = ("--ast_size", "tiny224", "--ast_init", "random") if model_name == "ast" else ()
    first = trained(corpus, tmp_path / "a", model_name, *options, "--num_workers", 0, hash_seed=1)
    again = trained(corpus, tmp_path / "b", model_name, *options, "--num_workers", 5, hash_seed=2, cwd=tmp_path)
    other = trained(corpus, tmp_path / "c", model_name, *options, "--seed", 1)
    assert first == again != other


@pytest.mark.slow
def test_two_evaluations_give_the_same_files(corpus, tmp_path):
    trained(corpus, tmp_path / "models", "musicnn")
    written = []
    for workers in (0, 5):
        results = tmp_path / f"results-{workers}"
        options = ("--models_dir", tmp_path / "models", "--evaluation_dir", results, "--num_workers", workers)
        code, _, errors = run(*EVALUATE, "--model_name", "musicnn", "--data_dir", corpus, *options)
        assert code == 0, errors
        written.append({path.name: path.read_bytes() for path in (results / "makam").iterdir()})
    assert len(written[0]) == 3 and written[0] == written[1]


@pytest.mark.parametrize("before", [None, ":0:0", ":16:8"])
def test_deterministic_prepares_cublas_cudnn_and_pytorch(before):
    """In a process of its own: the settings are the process', and cuBLAS reads its part but once."""
    script = (
        "import os, torch; from runtime.devices import compute_deterministically; compute_deterministically();"
        "cudnn = torch.backends.cudnn; print(os.environ['CUBLAS_WORKSPACE_CONFIG'],"
        "torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark)"
    )
    code, output, errors = run("-c", script, env={} if before is None else {"CUBLAS_WORKSPACE_CONFIG": before})
    assert code == 0, errors
    assert output.split() == [":16:8" if before == ":16:8" else ":4096:8", "True", "True", "False"]
