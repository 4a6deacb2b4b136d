"""Scores of recordings: a model's outputs on consecutive chunks, averaged."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from datasets import Recordings
from datasets.crops import CropBatch, consecutive_batches
from datasets.loading import FileSource
from models import TaggingModel
from runtime.devices import Precision


def score_recordings(
    model: TaggingModel,
    recordings: Recordings,
    device: torch.device,
    precision: Precision,
    batch_size: int,
    threads: int = 4,
) -> np.ndarray:
    """Tag scores of every recording, (recordings, tags) float32 in [0, 1].

    Each recording is cut into consecutive chunks of the model's input length, the rest dropped;
    a shorter recording is one padded chunk. Chunks of many recordings share a batch, and long
    recordings are read piece by piece, so memory does not grow with their length.

    Args:
        model: in evaluation mode, on `device`.
        recordings: what to score.
        device: where to compute.
        precision: in which precision.
        batch_size: chunks a batch.
        threads: how many batches are read ahead.

    Raises:
        DataError: a spectrogram cannot be read.
    """
    source = FileSource(recordings, model.input_frames, device, threads)
    batches = consecutive_batches(recordings.n_frames, model.input_frames, batch_size)
    owners, outputs = chunk_outputs(model, source.load(batches), precision, len(recordings))
    return pool_chunks(model.pooling, owners, outputs)


def chunk_outputs(
    model: TaggingModel, chunks: Iterable[tuple[CropBatch, Tensor, Tensor]], precision: Precision, n_recordings: int
) -> tuple[np.ndarray, np.ndarray]:
    """Run the model over batches of chunks, showing progress in recordings.

    Returns:
        The recording each chunk is of, (chunks,) int64, and the logits, (chunks, tags) float32.
    """
    owners: list[np.ndarray] = []
    outputs: list[Tensor] = []
    with torch.inference_mode(), tqdm(total=n_recordings, desc="scoring", unit="rec") as progress:
        for batch, crops, _ in chunks:
            with precision.autocast():
                logits = model(crops)
            owners.append(batch.recordings)
            outputs.append(logits.float())
            progress.update(int(batch.recordings[-1]) - progress.n)  # recordings come in order
        progress.update(n_recordings - progress.n)
        return np.concatenate(owners), torch.cat(outputs).cpu().numpy()


def pool_chunks(pooling: str, owners: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Average the chunks of each recording (paper's evaluation; see `TaggingModel.pooling`).

    Args:
        pooling: "scores": average the sigmoids; "logits": average, then the sigmoid.
        owners: (chunks,) the recording of each chunk, in ascending order, none left out.
        logits: (chunks, tags).

    Returns:
        (recordings, tags) float32 scores in [0, 1].
    """
    values = logits.astype(np.float64)
    if pooling == "scores":
        values = sigmoid(values)
    first = np.flatnonzero(np.diff(owners, prepend=-1))
    counts = np.diff(np.append(first, len(owners)))
    means = np.add.reduceat(values, first, axis=0) / counts[:, None]
    return (means if pooling == "scores" else sigmoid(means)).astype(np.float32)


def sigmoid(values: np.ndarray) -> np.ndarray:
    """1 / (1 + e^−x), without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * values))
