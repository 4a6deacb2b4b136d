"""The record of a training, epoch by epoch: a CSV file, TensorBoard events and a line on the screen."""

from __future__ import annotations

import csv
import io
import os
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from runtime.atomic_files import atomic_write, errors_name, make_directory

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


class Record:
    """`{model_name}.history.csv` and TensorBoard's events beside a checkpoint, kept equal to the state's history."""

    def __init__(self, checkpoint: Path, rows: Sequence[Mapping[str, Any]]) -> None:
        """
        Args:
            checkpoint: where the result goes.
            rows: the history so far; a training that was killed may not have come to record all of it.
        """
        self.csv = checkpoint.with_suffix(".history.csv")
        self.events = TensorBoardEvents(checkpoint.with_suffix(".tensorboard"))
        if rows:
            write_csv(self.csv, rows)
        self.events.add(rows)

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Record the history with an epoch more.

        Raises:
            OSError: it cannot be written.
        """
        write_csv(self.csv, rows)
        self.events.add(rows[-1:])


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `history.csv` anew, in one step, so that it never disagrees with the state."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic_write(path, "w", encoding="utf-8", newline="") as file:
        file.write(text.getvalue())


class TensorBoardEvents:
    """A file of events for TensorBoard; all earlier events in its directory are withdrawn.

    Written in the caller's thread, unlike by `SummaryWriter`: a full disk is an error here, not a
    traceback of a thread.
    """

    def __init__(self, directory: Path) -> None:
        make_directory(directory)
        name = f"events.out.tfevents.{int(time.time()):010d}.{platform.node()}.{os.getpid()}.0"
        self.path = directory / name
        self._begun = False

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add the values of some epochs.

        Raises:
            OSError: they cannot be written.
        """
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # imports slowly
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        events = []
        if not self._begun:
            events = [
                Event(file_version="brain.Event:2"),
                Event(step=0, session_log=SessionLog(status=SessionLog.START)),  # from this step on, all begins anew
            ]
        for row in rows:
            values = [Summary.Value(tag=name, simple_value=row[name]) for name in COLUMNS[1:7] if row[name] is not None]
            events.append(Event(step=row["epoch"], summary=Summary(value=values)))
        text = io.BytesIO()
        writer = RecordWriter(text)
        for event in events:
            event.wall_time = time.time()
            writer.write(event.SerializeToString())
        with errors_name(self.path), self.path.open("ab") as file:
            file.write(text.getvalue())
        self._begun = True


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
