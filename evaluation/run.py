"""Evaluate a trained run on its corpus' test set and write the results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config import EVALUATION_DIR, MODELS_DIR, RunConfig
from datasets import Corpus, Recordings, data_fingerprint, open_corpus, open_recordings
from datasets.demo.marker import MARKER
from datasets.normalisation import Normalisation, measure_normalisation
from evaluation.metrics import Metrics, evaluate_scores
from evaluation.recording_scores import RecordingScores
from evaluation.reports import ReportFiles, prepare_report, write_report
from evaluation.scoring import score_recordings
from models import TaggingModel
from models.checkpoints import Checkpoint, load_trained, restore_model
from runtime.devices import describe, resolve_device, resolve_precision
from runtime.errors import CheckpointError, listed
from runtime.memory import keep_freed_memory
from runtime.provenance import versions


@dataclass(frozen=True)
class EvaluationSettings:
    """The run and the options of `evaluate.py`.

    Attributes:
        run: model, corpus and source.
        data_dir: the corpus' directory (None: `data/{dataset}`).
        models_dir: where checkpoints are.
        evaluation_dir: where results go.
        batch_size: chunks a batch.
        device: auto, cpu, cuda:N or mps.
        precision: auto, float32 or bfloat16.
        plain: see `models.build_model`.
        num_workers: threads that read spectrograms ahead.
        musicnn_layout: see `models.musicnn.Musicnn` (None: the checkpoint's, or "paper").
        normalisation: for a bare AST state dict (None: measured over the training set).
        skip_missing: leave out recordings without spectrogram or tags.
    """

    run: RunConfig
    data_dir: Path | None = None
    models_dir: Path = MODELS_DIR
    evaluation_dir: Path = EVALUATION_DIR
    batch_size: int = 64
    device: str = "auto"
    precision: str = "auto"
    plain: bool = False
    num_workers: int = 4
    musicnn_layout: str | None = None
    normalisation: Normalisation | None = None
    skip_missing: bool = False


def evaluate(settings: EvaluationSettings) -> tuple[Metrics, RecordingScores, ReportFiles]:
    """Score the test set, compute the metrics and write the three result files.

    Raises:
        UserError: bad settings, data or checkpoint, or an output that cannot be written.
    """
    run = settings.run
    device = resolve_device(settings.device)
    precision = resolve_precision(settings.precision, device, cpu_bfloat16=True)
    if device.type == "cpu":
        keep_freed_memory()
    checkpoint = load_trained(settings.models_dir, run.dataset.name, str(run.name))
    corpus = open_corpus(run.dataset.name, settings.data_dir, skip_missing=settings.skip_missing)
    test = open_recordings(corpus.test, skip_missing=settings.skip_missing)
    print(f"{run.name} on {run.dataset.title}: {describe(device, precision)}")
    print(f"checkpoint: {checkpoint.path} (SHA-256 {checkpoint.sha256[:12]}…)")
    print(f"split and label files: {corpus.split_dir}")
    print(f"{len(test)} test recordings, {len(corpus.tags)} tags")
    synthetic = (corpus.data_dir / MARKER).is_file()
    notes = _notes(test, checkpoint, synthetic)
    for note in notes:
        print(f"NOTE: {note}")
    prepare_report(settings.evaluation_dir, run.dataset.name, str(run.name))

    model = _restore(settings, checkpoint, corpus).to(device).eval()
    scores = score_recordings(model, test, device, precision, settings.batch_size, settings.num_workers)
    metrics = evaluate_scores(test.labels, scores, corpus.tags)
    recordings = RecordingScores(test.ids, corpus.tags, test.labels, scores)
    provenance = {
        "checkpoint": checkpoint.path,
        "checkpoint_sha256": checkpoint.sha256,
        "training": _training_provenance(checkpoint),
        "model_settings": dict(model.settings),
        "evaluation": {
            "device": describe(device, precision),
            "precision": precision.name,
            "plain": settings.plain,
            "batch_size": settings.batch_size,
            "chunk_frames": model.input_frames,
            "recordings": len(test),
            "skipped": list(test.skipped),
        },
        "test_fingerprint": data_fingerprint(corpus, [test]),
        "synthetic": synthetic,
        "versions": versions(),
    }
    files = write_report(
        settings.evaluation_dir, run.dataset.name, str(run.name), metrics, recordings, provenance, notes
    )
    return metrics, recordings, files


def _restore(settings: EvaluationSettings, checkpoint: Checkpoint, corpus: Corpus) -> TaggingModel:
    info = checkpoint.info
    if info is not None:
        expected = (settings.run.dataset.name, str(settings.run.name))
        if (info.dataset, info.model_name) != expected:
            raise CheckpointError(f"{checkpoint.path} is the checkpoint of {info.model_name} on {info.dataset}")
        if info.tags != corpus.tags:
            different = sorted(set(info.tags) ^ set(corpus.tags)) or ["their order"]
            raise CheckpointError(
                f"{checkpoint.path} was trained on other tags than {corpus.split_dir} gives (differing in "
                f"{listed(different)}); evaluate it on the corpus it was trained on, or train it again"
            )
    model = restore_model(
        checkpoint,
        settings.run.model.name,
        len(corpus.tags),
        musicnn_layout=settings.musicnn_layout,
        plain=settings.plain or None,
    )
    if model.needs_normalisation and (info is None or info.normalisation is None):
        normalisation = settings.normalisation
        if normalisation is None:
            train = open_recordings(corpus.train, skip_missing=settings.skip_missing)
            normalisation = measure_normalisation(train, settings.num_workers)
        print(f"input normalisation: mean {normalisation.mean:.4f} dB, standard deviation {normalisation.std:.4f} dB")
        model.set_normalisation(normalisation.mean, normalisation.std)
    return model


def _notes(test: Recordings, checkpoint: Checkpoint, synthetic: bool) -> list[str]:
    """What a reader of the results must know."""
    notes = []
    if synthetic:
        notes.append("The corpus is a SYNTHETIC demo corpus: computed sounds. These figures say nothing about music.")
    if test.skipped:
        notes.append(f"{len(test.skipped)} test recordings were left out, having no spectrogram or no tags.")
    if checkpoint.info is None:
        notes.append(
            "The checkpoint is a bare state dict: tags (and for AST the normalisation, for Musicnn the layout) are "
            "not in it and were taken from the corpus and the options."
        )
    return notes


def _training_provenance(checkpoint: Checkpoint) -> dict[str, Any] | None:
    info = checkpoint.info
    if info is None:
        return None
    return {
        "seed": info.seed,
        "epoch": info.epoch,
        "metrics": info.metrics,
        "normalisation": info.normalisation,
        "configuration": info.training,
        "data_fingerprint": info.data_fingerprint,
        "source": info.source,
        "versions": info.versions,
    }
