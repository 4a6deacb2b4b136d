"""The training loop: what it learns, keeps, freezes, resumes and refuses.

Tiny corpora. Most tests train a small network in Musicnn's place, with the parts that matter to a
loop (BatchNorm, dropout, a final layer); those of transfers and of AST train the real ones.
"""

from __future__ import annotations

import csv
import dataclasses
import os
import signal
from pathlib import Path

import pytest
import torch

import training.start
from config import run_config, training_state_path
from models import TaggingModel
from models.checkpoints import load_checkpoint
from models.tensor_files import load_tensors, save_tensors
from runtime import signals
from runtime.errors import CheckpointError, Stopped, TrainingError, UsageError
from tests.corpora import make_corpus
from tests.recorded_steps import RecordedSteps
from training import loop
from training.job import Job
from training.loop import train
from training.settings import TrainingSettings
from training.state import check_length_of_result
from training.step import TrainingStep


def settings(root: Path, dataset: str, model_name: str, *, run_options=None, **options) -> TrainingSettings:
    run = dataclasses.replace(run_config(dataset, model_name), **{"epochs": 2, "batch_size": 6} | (run_options or {}))
    defaults = {
        "data_dir": root / "corpus",
        "models_dir": root / "models",
        "device": "cpu",
        "precision": "float32",
        "ast_init": "random",
    }
    return TrainingSettings(run=run, **defaults | options)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return dict(load_checkpoint(path).state_dict)


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class SmallNetwork(TaggingModel):
    """Takes Musicnn's place: convolution, BatchNorm, dropout, dense layer."""

    name = "musicnn"
    pooling = "scores"
    embedding_size = 32

    def __init__(self, n_tags: int) -> None:
        super().__init__(n_tags)
        self.conv = torch.nn.Conv1d(128, 32, 5)
        self.bn = torch.nn.BatchNorm1d(32)
        self.dropout = torch.nn.Dropout(0.5)
        self.dense2 = torch.nn.Linear(32, n_tags)

    @property
    def settings(self) -> dict[str, str]:
        return {"musicnn_layout": "paper"}

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn(self.conv(x.transpose(1, 2) / 50)).relu().amax(2)

    def classify(self, embedding: torch.Tensor) -> torch.Tensor:
        return self.dense2(self.dropout(embedding))


@pytest.fixture
def small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    real = training.start.build_model

    def build(model: str, n_tags: int, **keywords):
        return SmallNetwork(n_tags) if model == "musicnn" else real(model, n_tags, **keywords)

    monkeypatch.setattr(training.start, "build_model", build)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_corpus(tmp_path / "corpus", counts=(20, 6, 6), n_frames=190)
    return tmp_path


def stop_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Ask training to stop after so many optimiser steps, as a SIGTERM at that moment would."""
    taken = 0
    real = loop.set_learning_rate

    def counting(optimizer, rate):
        nonlocal taken
        taken += 1
        if taken == steps:
            active[-1].requested = "SIGTERM"
        real(optimizer, rate)

    active: list[signals.StopRequest] = []

    class Recorded(signals.StopRequest):
        def __enter__(self):
            active.append(self)
            return super().__enter__()

    monkeypatch.setattr(loop, "set_learning_rate", counting)
    monkeypatch.setattr(loop, "StopRequest", Recorded)


@pytest.mark.usefixtures("small_network")
def test_a_checkpoint_carries_what_is_needed_to_use_and_to_trace_it(root):
    path = train(settings(root, "makam", "musicnn", seed=7))
    assert path == root / "models" / "makam" / "musicnn.pth"
    content = torch.load(path, weights_only=True)  # plain values and tensors only
    assert content["info"]["tags"] == ["instrument--Ud", "instrument--Ney", "instrument--Kanun"]
    info = load_checkpoint(path).info
    assert (info.model, info.model_name, info.dataset, info.seed) == ("musicnn", "musicnn", "makam", 7)
    assert info.settings == {"musicnn_layout": "paper"} and info.input_frames == 187
    assert info.versions["torch"].startswith("2.") and len(info.data_fingerprint) == 64
    assert info.source is None and info.training["identity"]["batch_size"] == 6
    assert not training_state_path(path).exists() and not list(path.parent.glob("*.part"))


@pytest.mark.usefixtures("small_network")
def test_the_history_names_the_kept_epoch_as_the_lowest_validation_loss(root):
    path = train(settings(root, "makam", "musicnn", run_options={"epochs": 4, "learning_rate": 3e-3}))
    with path.with_suffix(".history.csv").open() as file:
        rows = list(csv.DictReader(file))
    losses = [float(row["valid_loss"]) for row in rows]
    assert len(losses) == 4
    info = load_checkpoint(path).info
    assert info.epoch == losses.index(min(losses)) + 1
    assert info.metrics["valid_loss"] == min(losses)
    assert list(path.with_suffix(".tensorboard").glob("events.*"))


@pytest.mark.usefixtures("small_network")
def test_tags_that_can_be_heard_are_learnt(tmp_path):
    make_corpus(tmp_path / "corpus", counts=(48, 12, 6), n_frames=190)
    path = train(settings(tmp_path, "makam", "musicnn", run_options={"epochs": 8, "learning_rate": 3e-3}))
    assert load_checkpoint(path).info.metrics["valid_roc_auc"] > 0.9


@pytest.mark.usefixtures("small_network")
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(root):
    first = weights(train(settings(root, "makam", "musicnn")))
    again = weights(train(settings(root, "makam", "musicnn", restart=True)))
    other = weights(train(settings(root, "makam", "musicnn", restart=True, seed=1)))
    threads = weights(train(settings(root, "makam", "musicnn", restart=True, num_workers=0)))
    assert same(first, again) and same(first, threads) and not same(first, other)


def stop_and_go_on(root: Path, monkeypatch: pytest.MonkeyPatch, model_name: str, steps: int, **options) -> None:
    whole = weights(train(settings(root, "makam", model_name, models_dir=root / "whole", **options)))
    with monkeypatch.context() as patched:
        stop_after(patched, steps)
        with pytest.raises(Stopped, match=r"SIGTERM.*the same command goes on"):
            train(settings(root, "makam", model_name, **options))
    state = training_state_path(root / "models" / "makam" / f"{model_name}.pth")
    assert state.is_file() and not state.with_suffix(".pth").exists()
    torch.manual_seed(999)  # the generators must come from the state
    assert same(whole, weights(train(settings(root, "makam", model_name, **options))))
    histories = [root / where / "makam" / f"{model_name}.history.csv" for where in ("whole", "models")]
    valid = [[row["valid_loss"] for row in csv.DictReader(path.open())] for path in histories]
    assert valid[0] == valid[1]


@pytest.mark.usefixtures("small_network")
@pytest.mark.parametrize("steps", [1, 4, 5, 6])  # 4 steps an epoch: in the first, at its end, in the second
def test_a_stopped_training_goes_on_bit_for_bit(root, monkeypatch, steps):
    stop_and_go_on(root, monkeypatch, "musicnn", steps)


@pytest.mark.usefixtures("small_network")
def test_a_training_stopped_while_validating_goes_on_bit_for_bit(root, monkeypatch):
    whole = weights(train(settings(root, "makam", "musicnn", models_dir=root / "whole")))
    real = loop.validation_batches

    def stopping(*arguments, **keywords):
        os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments, **keywords)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "validation_batches", stopping)
        with pytest.raises(Stopped, match="SIGTERM: stopped in epoch 1"):
            train(settings(root, "makam", "musicnn"))
    assert same(whole, weights(train(settings(root, "makam", "musicnn"))))


def test_a_stopped_training_of_ast_goes_on_bit_for_bit(tmp_path, monkeypatch):
    make_corpus(tmp_path / "corpus", counts=(4, 2, 2), n_frames=190)
    stop_and_go_on(tmp_path, monkeypatch, "ast", 1, ast_size="tiny224", run_options={"epochs": 1, "batch_size": 2})


@pytest.mark.usefixtures("small_network")
def test_a_training_goes_on_across_a_change_of_optimiser(root, monkeypatch):
    monkeypatch.setattr("training.schedules.CnnSchedule.SGD_PHASES", ((2, 1e-3), (3, 1e-4), (4, 1e-5)))
    options = {"run_options": {"epochs": 4}}
    whole = weights(train(settings(root, "makam", "musicnn", models_dir=root / "whole", **options)))
    for steps in (3, 3, 3, 3):
        with monkeypatch.context() as patched:
            stop_after(patched, steps)
            with pytest.raises(Stopped):
                train(settings(root, "makam", "musicnn", **options))
    assert same(whole, weights(train(settings(root, "makam", "musicnn", **options))))


@pytest.mark.usefixtures("small_network")
def test_at_a_change_of_optimiser_the_best_weights_are_loaded_back(root, monkeypatch):
    def options(epochs: int) -> dict:
        return {"run_options": {"epochs": epochs, "learning_rate": 0.02}}

    with monkeypatch.context() as patched:
        # With a rate of 0 after the switch only BatchNorm's statistics move: the weights stay those loaded back.
        patched.setattr("training.schedules.CnnSchedule.SGD_PHASES", ((4, 0.0), (5, 0.0), (6, 0.0)))
        path = train(settings(root, "makam", "musicnn", **options(4)))
    with path.with_suffix(".history.csv").open() as file:
        losses = [float(row["valid_loss"]) for row in csv.DictReader(file)]
    best = losses.index(min(losses[:3])) + 1
    assert best < 3  # else loading back would change nothing
    alone = train(settings(root, "makam", "musicnn", models_dir=root / "b", **options(best)))
    assert torch.equal(weights(alone)["conv.weight"], weights(path)["conv.weight"])


@pytest.mark.usefixtures("small_network")
def test_a_finished_training_is_not_repeated(root, capsys):
    path = train(settings(root, "makam", "musicnn"))
    before = path.stat().st_mtime_ns
    train(settings(root, "makam", "musicnn"))
    assert "already trained" in capsys.readouterr().out
    assert path.stat().st_mtime_ns == before


@pytest.mark.usefixtures("small_network")
@pytest.mark.parametrize(
    ("change", "named"),
    [({"seed": 1}, "seed 0 there, 1 now"), ({"run_options": {"batch_size": 5}}, "batch_size 6 there, 5 now")],
)
def test_another_configuration_does_not_continue_or_replace_a_training(root, monkeypatch, change, named):
    with monkeypatch.context() as patched:
        stop_after(patched, 2)
        with pytest.raises(Stopped):
            train(settings(root, "makam", "musicnn"))
    with pytest.raises(TrainingError, match=f"{named}.*--restart"):
        train(settings(root, "makam", "musicnn", **change))
    train(settings(root, "makam", "musicnn"))
    with pytest.raises(TrainingError, match=f"{named}.*--restart"):
        train(settings(root, "makam", "musicnn", **change))


@pytest.mark.usefixtures("small_network")
def test_changed_data_do_not_continue_a_training(root, monkeypatch):
    with monkeypatch.context() as patched:
        stop_after(patched, 2)
        with pytest.raises(Stopped):
            train(settings(root, "makam", "musicnn"))
    make_corpus(root / "other", counts=(20, 6, 6), n_frames=191, seed=5)
    with pytest.raises(TrainingError, match="data_fingerprint"):
        train(settings(root, "makam", "musicnn", data_dir=root / "other"))


@pytest.mark.usefixtures("small_network")
def test_two_trainings_of_one_name_do_not_run_at_once(root):
    wanted = settings(root, "makam", "musicnn")
    wanted.checkpoint.parent.mkdir(parents=True)
    with loop.training_lock(wanted.checkpoint), pytest.raises(TrainingError, match="already being trained"):
        train(wanted)
    train(wanted)


@pytest.mark.usefixtures("small_network")
def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_state(root):
    with pytest.raises(TrainingError, match=r"not finite in epoch 1.*--lr"):
        train(settings(root, "makam", "musicnn", run_options={"learning_rate": 1e38}))
    assert not (root / "models" / "makam" / "musicnn.pth").exists()


@pytest.mark.usefixtures("small_network")
def test_patience_ends_a_training_that_no_longer_improves(root):
    options = {"epochs": 30, "learning_rate": 1e-12, "schedule": "constant", "patience": 2}
    path = train(settings(root, "makam", "musicnn", run_options=options))
    info = load_checkpoint(path).info
    assert info.training["epochs_trained"] < 30
    assert info.training["epochs_trained"] == info.epoch + 2


@pytest.mark.usefixtures("small_network")
def test_running_out_of_memory_proposes_a_batch_size(root, monkeypatch):
    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(loop, "_train_epoch", fail)
    with pytest.raises(TrainingError, match="--batch_size 3"):
        train(settings(root, "makam", "musicnn"))


def test_one_training_recording_is_too_few(tmp_path):
    make_corpus(tmp_path / "corpus", counts=(1, 2, 2))
    with pytest.raises(UsageError, match="at least 2"):
        train(settings(tmp_path, "makam", "musicnn"))


def test_a_missing_source_gives_the_command_that_trains_it(root):
    with pytest.raises(CheckpointError, match=r"python train.py --dataset fma --model_name musicnn"):
        train(settings(root, "makam", "musicnn_from_fma"))


def test_a_transfer_starts_from_the_source_and_a_final_layer_transfer_trains_nothing_else(root, tmp_path):
    make_corpus(tmp_path / "fma", counts=(12, 6, 6), n_tags=5, n_frames=190, seed=9)
    source_path = train(settings(root, "fma", "musicnn", data_dir=tmp_path / "fma"))
    source = weights(source_path)
    frozen_path = train(settings(root, "makam", "musicnn_from_fma_f"))
    frozen, info = weights(frozen_path), load_checkpoint(frozen_path).info
    assert info.source == {"dataset": "fma", "model_name": "musicnn", "sha256": load_checkpoint(source_path).sha256}
    assert frozen["dense2.weight"].shape == (3, 200)
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    learnt = [name for name in source if not name.startswith("dense2.") and not name.endswith(statistics)]
    assert all(torch.equal(source[name], frozen[name]) for name in learnt)
    # As in the published runs, BatchNorm of the frozen layers goes on adapting, unless it is held.
    assert not torch.equal(source["spec_bn.running_mean"], frozen["spec_bn.running_mean"])
    held = weights(train(settings(root, "makam", "musicnn_from_fma_f", hold_batchnorm=True, restart=True)))
    assert all(torch.equal(source[name], held[name]) for name in source if not name.startswith("dense2."))
    whole = weights(train(settings(root, "makam", "musicnn_from_fma")))
    assert not torch.equal(source["layers.0.conv.weight"], whole["layers.0.conv.weight"])


def test_a_source_of_the_other_layout_is_refused(root, tmp_path):
    make_corpus(tmp_path / "fma", counts=(12, 6, 6), n_frames=190, seed=9)
    train(settings(root, "fma", "musicnn", data_dir=tmp_path / "fma", musicnn_layout="published"))
    with pytest.raises(UsageError, match="trained with --musicnn_layout published, not paper"):
        train(settings(root, "makam", "musicnn_from_fma", musicnn_layout="paper"))
    path = train(settings(root, "makam", "musicnn_from_fma"))
    assert load_checkpoint(path).info.settings == {"musicnn_layout": "published"}


def test_ast_keeps_the_exact_normalisation_of_the_training_set(root):
    import numpy as np

    path = train(settings(root, "makam", "ast", ast_size="tiny224", run_options={"epochs": 1}))
    files = sorted((root / "corpus" / "mel-spectrograms").glob("train-*.npy"))
    values = np.concatenate([np.load(file).ravel() for file in files]).astype(np.float64)
    assert load_checkpoint(path).info.normalisation == pytest.approx({"mean": values.mean(), "std": values.std()})


@pytest.mark.usefixtures("small_network")
def test_memory_and_files_give_the_same_training_but_for_float16(root):
    first = load_checkpoint(train(settings(root, "makam", "musicnn"))).info.metrics
    held = load_checkpoint(train(settings(root, "makam", "musicnn", spectrograms="memory", restart=True))).info.metrics
    assert held["valid_loss"] == pytest.approx(first["valid_loss"], abs=1e-3)


def scalar_steps(directory: Path) -> dict[str, list[int]]:
    """Steps of each of TensorBoard's scalars, as TensorBoard itself reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(directory)).Reload()
    return {tag: [event.step for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@pytest.mark.usefixtures("small_network")
@pytest.mark.parametrize("epochs", [2, 3])
def test_a_record_that_a_kill_left_behind_the_state_is_made_up(root, monkeypatch, epochs):
    real = loop.Record.add

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:  # after the state of epoch 2 was saved
        patched.setattr(loop.Record, "add", lambda record, rows: killed() if len(rows) == 2 else real(record, rows))
        with pytest.raises(KeyboardInterrupt):
            train(settings(root, "makam", "musicnn", run_options={"epochs": epochs}))
    path = train(settings(root, "makam", "musicnn", run_options={"epochs": epochs}))
    with path.with_suffix(".history.csv").open() as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == list(range(1, epochs + 1))
    steps = scalar_steps(path.with_suffix(".tensorboard"))
    assert steps["valid_loss"] == steps["learning_rate"] == list(range(1, epochs + 1))


def stopped(root: Path, monkeypatch: pytest.MonkeyPatch, steps: int, **run_options) -> None:
    with monkeypatch.context() as patched:
        stop_after(patched, steps)
        with pytest.raises(Stopped):
            train(settings(root, "makam", "musicnn", run_options=run_options))


@pytest.mark.usefixtures("small_network")
def test_a_state_is_not_passed_off_as_a_shorter_training(root, monkeypatch):
    stopped(root, monkeypatch, 10, epochs=4)  # in the third epoch
    state = training_state_path(root / "models" / "makam" / "musicnn.pth")
    before = state.read_bytes()
    with pytest.raises(TrainingError, match="has done 2 epochs already, where --epochs 1 ends after 1"):
        train(settings(root, "makam", "musicnn", run_options={"epochs": 1}))
    assert state.read_bytes() == before
    two = weights(train(settings(root, "makam", "musicnn", models_dir=root / "two")))
    assert same(two, weights(train(settings(root, "makam", "musicnn", run_options={"epochs": 2}))))


@pytest.mark.usefixtures("small_network")
def test_a_state_beyond_the_end_that_a_patience_sets_is_told(root, monkeypatch):
    options = {"learning_rate": 1e-12, "schedule": "constant", "epochs": 30}  # BatchNorm alone moves
    free = train(settings(root, "makam", "musicnn", models_dir=root / "free", run_options={**options, "patience": 1}))
    end = load_checkpoint(free).info.training["epochs_trained"]
    stopped(root, monkeypatch, 4 * (end + 1) + 2, **options)  # an epoch after that end
    with pytest.raises(TrainingError, match=f"where --epochs 30 --patience 1 ends after {end}"):
        train(settings(root, "makam", "musicnn", run_options={**options, "patience": 1}))


@pytest.mark.parametrize(
    ("done", "asked", "same_result"),
    [
        ((4, None, 4), (4, None), True),
        ((4, None, 4), (3, None), False),
        ((4, None, 4), (5, None), False),
        ((4, None, 4), (4, 2), False),  # it may have ended before
        ((4, 3, 4), (4, None), True),
        ((4, 3, 4), (4, 5), True),
        ((4, 3, 4), (4, 2), False),
        ((30, 2, 9), (30, 2), True),
        ((30, 2, 9), (50, 2), True),
        ((30, 2, 9), (8, 2), False),
        ((30, 2, 9), (30, None), False),  # asked to go on where it had given up
        ((30, 2, 9), (30, 5), False),
        ((30, 2, 9), (9, None), True),
    ],
)
def test_a_finished_training_answers_for_those_of_its_length_only(done, asked, same_result):
    training = dict(zip(("epochs", "patience", "epochs_trained"), done, strict=True))
    if same_result:
        check_length_of_result(training, *asked, Path("x.pth"))
    else:
        with pytest.raises(TrainingError, match=f"been trained for {done[2]} epochs.*--restart"):
            check_length_of_result(training, *asked, Path("x.pth"))


@pytest.mark.usefixtures("small_network")
def test_recorded_steps_train_the_same_weights_also_when_stopped_in_between(root, monkeypatch):
    launched = weights(train(settings(root, "makam", "musicnn", models_dir=root / "launched")))
    recorders = []

    def recorded(job: Job) -> TrainingStep:
        recorders.append(RecordedSteps(job.model))
        return TrainingStep(job.network, job.precision, job.run.batch_size, recorders[-1])

    monkeypatch.setattr(loop, "training_step", recorded)
    assert same(launched, weights(train(settings(root, "makam", "musicnn", models_dir=root / "recorded"))))
    with monkeypatch.context() as patched:
        stop_after(patched, 5)
        with pytest.raises(Stopped):
            train(settings(root, "makam", "musicnn"))
    assert same(launched, weights(train(settings(root, "makam", "musicnn"))))
    assert [recorder.replays for recorder in recorders] == [
        3,
        1,
        0,
    ]  # of 6 whole batches; 4 in front of the stop; 2 left


@pytest.mark.usefixtures("small_network")
def test_crops_from_memory_are_another_training_than_from_files_unless_nothing_is_asked(root, monkeypatch):
    with monkeypatch.context() as patched:
        stop_after(patched, 3)
        with pytest.raises(Stopped):
            train(settings(root, "makam", "musicnn", spectrograms="memory"))
    with pytest.raises(TrainingError, match="spectrograms memory there, none now"):
        train(settings(root, "makam", "musicnn", spectrograms="files"))
    goes_on = weights(train(settings(root, "makam", "musicnn")))  # as on a GPU with less room than before
    whole = settings(root, "makam", "musicnn", spectrograms="memory", models_dir=root / "whole")
    assert same(goes_on, weights(train(whole)))
    train(settings(root, "makam", "musicnn"))
    with pytest.raises(TrainingError, match="spectrograms memory there"):
        train(settings(root, "makam", "musicnn", spectrograms="files"))


@pytest.mark.usefixtures("small_network")
@pytest.mark.parametrize(
    "change", [{"best_epoch": 0}, {"best_epoch": 9}, {"history": [{"epoch": 1}]}, {"history": [7]}]
)
def test_a_state_whose_history_contradicts_itself_is_refused(root, monkeypatch, change):
    stopped(root, monkeypatch, 6, epochs=3)
    path = training_state_path(root / "models" / "makam" / "musicnn.pth")
    save_tensors(path, load_tensors(path) | change)
    with pytest.raises(CheckpointError, match=r"training state .* cannot be read .*--restart"):
        train(settings(root, "makam", "musicnn", run_options={"epochs": 3}))


@pytest.mark.usefixtures("small_network")
@pytest.mark.parametrize(
    "change", [{"model": {"conv.weight": torch.ones(3)}}, {"optimizer": {"state": {}}}, {"random": {}}], ids=str
)
def test_a_state_of_another_network_is_refused(root, monkeypatch, change):
    stopped(root, monkeypatch, 2, epochs=1)
    path = training_state_path(root / "models" / "makam" / "musicnn.pth")
    save_tensors(path, load_tensors(path) | change)
    with pytest.raises(CheckpointError, match=r"does not fit this network .*--restart") as error:
        train(settings(root, "makam", "musicnn", run_options={"epochs": 1}))
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("small_network")
def test_a_kill_between_the_checkpoint_and_the_end_of_its_state_leaves_a_finished_training(root, monkeypatch):
    real = Path.unlink

    def killed(path: Path, **options) -> None:
        if path.suffix == ".resume":
            raise KeyboardInterrupt
        real(path, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            train(settings(root, "makam", "musicnn"))
    path = root / "models" / "makam" / "musicnn.pth"
    first = weights(path)
    assert training_state_path(path).is_file()
    assert same(first, weights(train(settings(root, "makam", "musicnn"))))
    assert not training_state_path(path).exists()
