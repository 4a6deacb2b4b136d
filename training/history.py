"""The record of a training, epoch by epoch: a CSV file, TensorBoard events and a line on the screen."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runtime.atomic_files import atomic_write

COLUMNS = (
    "epoch",
    "learning_rate",
    "train_loss",
    "valid_loss",
    "valid_roc_auc",
    "valid_pr_auc",
    "recordings_per_second",
    "seconds",
    "best",
)


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `history.csv` anew, in one step, so that it never disagrees with the state."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic_write(path, "w", encoding="utf-8", newline="") as file:
        file.write(text.getvalue())


class TensorBoard:
    """Events for TensorBoard; on continuing, those after the saved state are withdrawn."""

    def __init__(self, directory: Path, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # imports slowly, and only training needs it

        self.writer = SummaryWriter(str(directory), purge_step=first_step)

    def add(self, row: Mapping[str, Any]) -> None:
        """Add the values of one epoch."""
        for name in COLUMNS[1:7]:
            if row[name] is not None:
                self.writer.add_scalar(name, row[name], row["epoch"])
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


def epoch_line(row: Mapping[str, Any], epochs: int) -> str:
    """The line shown after an epoch."""
    return (
        f"epoch {row['epoch']:>3}/{epochs}  loss {row['train_loss']:.4f}  valid loss {row['valid_loss']:.4f}  "
        f"ROC-AUC {_figure(row['valid_roc_auc'])}  PR-AUC {_figure(row['valid_pr_auc'])}  "
        f"lr {row['learning_rate']:.2e}  {row['recordings_per_second']:.1f} recordings/s"
        f"{'  best' if row['best'] else ''}"
    )


def _figure(value: float | None) -> str:
    return "  —   " if value is None else f"{value:.4f}"
