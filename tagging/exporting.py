"""Checkpoints in formats that other software reads: safetensors and ONNX."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from config import SPECTROGRAM
from models import TaggingModel
from models.checkpoints import Checkpoint, CheckpointInfo
from runtime.atomic_files import atomic_write, part_path
from runtime.errors import CheckpointError, UsageError
from runtime.provenance import file_sha256

OPSET = 18
LONGEST_EXAMPLE = 2  # chunks of the example that ONNX export traces


def write_safetensors(checkpoint: Checkpoint, path: Path) -> None:
    """Write the weights under their own names, with all that the checkpoint knows as metadata.

    The metadata's `info` is JSON: tags, normalisation, spectrogram, training, as in `CheckpointInfo`.

    Raises:
        CheckpointError: a bare state dict, which knows nothing to write.
    """
    from safetensors.torch import save

    info = info_of(checkpoint)
    metadata = {
        "format": "pt",
        "model": info.model,
        "tags": json.dumps(info.tags, ensure_ascii=False),
        "info": json.dumps(dataclasses.asdict(info), ensure_ascii=False),
    }
    tensors = {name: tensor.contiguous().clone() for name, tensor in checkpoint.state_dict.items()}
    with atomic_write(path) as file:
        file.write(save(tensors, metadata))


def read_safetensors(path: Path) -> Checkpoint:
    """Read what `write_safetensors` wrote.

    Raises:
        CheckpointError: missing, damaged, or without this project's metadata.
    """
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state_dict = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except Exception as error:  # a Rust error without a class of its own
        reason = (str(error).splitlines() or ["unknown"])[0]
        raise CheckpointError(f"{path} is missing, damaged or not a safetensors file ({reason:.120})") from error
    try:
        fields: dict[str, Any] = json.loads(metadata["info"])
        info = CheckpointInfo(**{**fields, "tags": tuple(fields["tags"])})
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} does not carry this project's metadata; export it again") from error
    if info.spectrogram != dataclasses.asdict(SPECTROGRAM):
        raise CheckpointError(f"{path} is of other mel-spectrograms than config.SPECTROGRAM's")
    return Checkpoint(path=path, sha256=file_sha256(path), state_dict=state_dict, info=info)


class ScoresAndEmbedding(nn.Module):
    """What the exported network computes."""

    def __init__(self, model: TaggingModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Chunks (batch, frames, 128) in dB → scores and logits (batch, tags), embeddings (batch, embedding_size)."""
        embedding = self.model.embed(mel)
        logits = self.model.classify(embedding)
        return logits.sigmoid(), logits, embedding


def write_onnx(model: TaggingModel, info: CheckpointInfo, path: Path) -> None:
    """Write a network as ONNX: input `mel`, outputs `scores`, `logits` and `embedding`.

    The batch size is free; so is the number of frames of VGG-ish and of Musicnn, but for Musicnn in
    the published layout and for AST, which take their own length only. Tags and all else that the
    checkpoint knows are in the file's metadata.

    Args:
        model: in its plain form, on the CPU.
        info: of its checkpoint.
        path: the file to write.

    Raises:
        UsageError: the packages that write ONNX are not installed.
    """
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"ONNX needs the packages {' and '.join(missing)}: pip install -r requirements-export.txt")
    shapes: dict[int, Any] = {0: torch.export.Dim("batch")}
    if has_free_length(model):
        shapes[1] = torch.export.Dim("frames", min=model.min_frames)
    example = torch.full((LONGEST_EXAMPLE, model.input_frames, SPECTROGRAM.n_mels), -50.0)
    network = ScoresAndEmbedding(model).eval()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of PyTorch about itself
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            dynamic_shapes={"mel": shapes},
            input_names=["mel"],
            output_names=["scores", "logits", "embedding"],
            opset_version=OPSET,
            verbose=False,
        )
    program.model.metadata_props.update(
        {
            "model": info.model,
            "tags": json.dumps(info.tags, ensure_ascii=False),
            "pooling": model.pooling,
            "input_frames": str(model.input_frames),
            "info": json.dumps(dataclasses.asdict(info), ensure_ascii=False),
        }
    )
    part = part_path(path)  # one file: weights beside it would lose their name with the rename
    try:
        program.save(part, external_data=False)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def has_free_length(model: TaggingModel) -> bool:
    """Whether the exported network takes chunks of any length."""
    return model.name != "ast" and model.settings.get("musicnn_layout") != "published"


def info_of(checkpoint: Checkpoint) -> CheckpointInfo:
    """What a checkpoint says about its weights.

    Raises:
        CheckpointError: it is a bare state dict.
    """
    if checkpoint.info is None:
        raise CheckpointError(
            f"{checkpoint.path} is a bare state dict: it carries no tags and nothing about its training, so there is "
            "nothing to tell others; export a checkpoint of train.py"
        )
    return checkpoint.info
