"""The published recipe written down plainly, as what the fast paths are compared with.

One process reads random crops through memory maps into batches of the study's size; the model runs
in float32, Musicnn's front end as the 2-D convolutions it is described by; evaluation sends one
chunk through the model at a time.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from config import MODELS
from datasets import Recordings
from models import TaggingModel


class PlainCrops(Dataset):
    """A random crop of a recording each time it is drawn, with its labels."""

    def __init__(self, recordings: Recordings, frames: int) -> None:
        self.recordings, self.frames = recordings, frames

    def __len__(self) -> int:
        return len(self.recordings)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        mels = np.load(self.recordings.files[index].path, mmap_mode="r")
        start = int(torch.randint(mels.shape[1] - self.frames + 1, ()))
        crop = np.array(mels[:, start : start + self.frames], dtype=np.float32).T
        return np.ascontiguousarray(crop), self.recordings.labels[index].astype(np.float32)


def plain_steps(model: TaggingModel, recordings: Recordings, device: torch.device) -> Iterator[tuple[int, Tensor]]:
    """Train for ever; yields after each step the batch's size and the loss."""
    settings = MODELS[model.name]
    loader = DataLoader(
        PlainCrops(recordings, model.input_frames), settings.batch_size, shuffle=True, num_workers=0, drop_last=True
    )
    optimizer = torch.optim.Adam(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        settings.learning_rate,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        foreach=False,
    )
    model.train()
    while True:
        for crops, labels in loader:
            logits = model(crops.to(device))
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield len(crops), loss.item()


@torch.no_grad()
def plain_scores(model: TaggingModel, recordings: Recordings, device: torch.device) -> np.ndarray:
    """Scores of each recording, one chunk at a time: (recordings, tags)."""
    model.eval()
    rows = []
    for file in recordings.files:
        mels = np.load(file.path)
        outputs = []
        for start in range(0, mels.shape[1] - model.input_frames + 1, model.input_frames):
            chunk = np.ascontiguousarray(mels[:, start : start + model.input_frames].T)[None]
            logits = model(torch.from_numpy(chunk).to(device))
            outputs.append((logits.sigmoid() if model.pooling == "scores" else logits).cpu().numpy()[0])
        mean = np.mean(outputs, axis=0)
        rows.append(mean if model.pooling == "scores" else 1 / (1 + np.exp(-mean)))
    return np.array(rows)
