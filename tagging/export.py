"""Write a checkpoint's exported files and its model card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evaluation.reports import Report, read_report, report_files
from models.checkpoints import Checkpoint
from runtime.atomic_files import atomic_write, make_directory
from tagging.exporting import info_of, write_onnx, write_safetensors
from tagging.model_card import model_card
from tagging.tagger import restore


def export(checkpoint: Checkpoint, out: Path, formats: Sequence[str], evaluation_dir: Path) -> list[Path]:
    """Write `{out}/{dataset}-{model_name}` with the endings of the formats, and `.md`, the model card.

    Args:
        checkpoint: of this project.
        out: where to write.
        formats: of "safetensors" and "onnx".
        evaluation_dir: where the results of `evaluate.py` are.

    Returns:
        The files written.

    Raises:
        CheckpointError: a bare state dict.
        UserError: the results are damaged, packages are missing, or a file cannot be written.
    """
    info = info_of(checkpoint)
    report = find_report(checkpoint, evaluation_dir)
    make_directory(out)
    paths = [out / f"{info.dataset}-{info.model_name}.{ending}" for ending in dict.fromkeys(formats)]
    model = restore(checkpoint, plain=True)[0].eval()
    for path in paths:
        if path.suffix == ".onnx":
            write_onnx(model, info, path)
        else:
            write_safetensors(checkpoint, path)
    card = out / f"{info.dataset}-{info.model_name}.md"
    with atomic_write(card, "w", encoding="utf-8") as file:
        file.write(model_card(checkpoint, model, report, [path.name for path in paths]))
    return [*paths, card]


def find_report(checkpoint: Checkpoint, evaluation_dir: Path) -> Report | None:
    """The evaluation of this very checkpoint, or None.

    Raises:
        DataError: there is one, but damaged.
    """
    info = info_of(checkpoint)
    path = report_files(evaluation_dir, info.dataset, info.model_name).json
    if not path.is_file():
        return None
    report = read_report(path)
    return report if report.provenance.get("checkpoint_sha256") == checkpoint.sha256 else None
