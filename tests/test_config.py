"""The 198 runs and their names."""

from __future__ import annotations

import csv

import pytest

from config import DATASETS, MODELS, MODELS_CONFIG, RunName, checkpoint_path, parse_model_name, run_config
from runtime.errors import UsageError

# Epochs of the study, as its experiments give them: musicnn, vgg_ish, ast.
PUBLISHED_EPOCHS = {
    "magnatagatune": (50, 200, 50),
    "fma": (50, 100, 50),
    "lyra": (200, 200, 50),
    "makam": (200, 200, 70),
    "hindustani": (200, 200, 50),
    "carnatic": (200, 200, 70),
}


def test_the_study_has_198_runs():
    # 6 corpora × 3 models × (from scratch + 5 sources × whole network or final layer)
    assert sum(len(runs) for runs in MODELS_CONFIG.values()) == 6 * 3 * (1 + 5 * 2) == 198


def test_every_published_result_is_of_one_of_the_runs(published_figures):
    with (published_figures / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 54
    for row in rows:
        assert str(parse_model_name(row["dataset"], row["model_name"])) == row["model_name"]


def test_epochs_batches_and_rates_are_the_published_ones():
    for dataset, epochs in PUBLISHED_EPOCHS.items():
        for model, expected in zip(("musicnn", "vgg_ish", "ast"), epochs, strict=True):
            for name, run in MODELS_CONFIG[dataset].items():
                if run.model.name == model:
                    assert (run.epochs, str(run.name), run.dataset.name) == (expected, name, dataset)
                    assert run.batch_size == (12 if model == "ast" else 16)
                    assert run.learning_rate == (1e-5 if model == "ast" else 1e-4)


def test_input_lengths_are_the_published_numbers_of_frames():
    assert {name: model.input_frames for name, model in MODELS.items()} == {"musicnn": 187, "vgg_ish": 230, "ast": 500}


def test_a_name_says_model_source_and_what_is_trained():
    assert parse_model_name("makam", "vgg_ish") == RunName("vgg_ish", None, False)
    assert parse_model_name("makam", "vgg_ish_from_fma") == RunName("vgg_ish", "fma", False)
    assert parse_model_name("makam", "ast_from_magnatagatune_f") == RunName("ast", "magnatagatune", True)


@pytest.mark.parametrize(
    ("dataset", "name", "message"),
    [
        ("makan", "ast", "unknown dataset 'makan'; the nearest names are makam"),
        ("makam", "vgg_from_fma", r"unknown model 'vgg'.*vgg_ish_from_fma"),
        ("makam", "ast_from_fmaa", r"unknown source 'fmaa'.*ast_from_fma"),
        ("makam", "ast_from_makam_f", "starts from makam itself"),
        ("makam", "ast_f", "unknown model 'ast_f'"),
        ("makam", "ast_from_", "unknown source ''"),
        ("makam", "", "unknown model ''"),
        ("makam", "../../x", "unknown model"),
    ],
)
def test_a_wrong_name_is_one_line_with_the_nearest_ones(dataset, name, message):
    with pytest.raises(UsageError, match=message) as error:
        run_config(dataset, name)
    assert "\n" not in str(error.value) and "nearest" in str(error.value)


def test_checkpoints_are_kept_by_corpus_and_run(tmp_path):
    assert checkpoint_path(tmp_path, "fma", "ast_from_lyra_f") == tmp_path / "fma" / "ast_from_lyra_f.pth"


def test_recordings_are_cut_as_published():
    cut = {name: dataset.max_seconds for name, dataset in DATASETS.items() if dataset.max_seconds}
    assert cut == {"makam": 150, "hindustani": 780, "carnatic": 330}
