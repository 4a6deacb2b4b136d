"""Files that `torch.save` wrote, read without trusting them.

`torch.load(weights_only=True)` runs no code of a file, but believes its sizes: it allocates what a
record claims, and takes as much memory behind a record as a tensor claims to have. So the
archive is checked first (plain records, no larger than the file, checksums), and the tensors are
taken from a mapping of the file, which has an end.
"""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from runtime.atomic_files import atomic_write
from runtime.errors import CheckpointError
from runtime.pickles import check_pickle

_LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # files of PyTorch before 1.6
_MAX_PICKLE = 64 * 2**20  # bytes; names and shapes of a model are some hundred kilobytes
_MAX_VALUES = 100_000  # names, numbers and tensors; a model has hundreds


def load_tensors(path: Path) -> dict[str, Any]:
    """Read a dict of tensors and plain values that `torch.save` wrote, without running its pickle.

    The tensors are on the CPU, in memory of their own.

    Raises:
        CheckpointError: missing, damaged, or holding anything else.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}")
    try:
        _check_archive(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's wonder at damaged or foreign pickles
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        _check_sizes(content, path.stat().st_size)
        content = _in_memory(content)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror or error})") from error
    except Exception as error:  # a damaged file raises nearly anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if reason.startswith("Weights only load failed"):  # PyTorch goes on with how to run the file all the same
            reason = "it holds something else than plain weights"
        raise CheckpointError(f"{path} is damaged or not a PyTorch file of weights ({reason:.120})") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise CheckpointError(f"{path} holds neither a checkpoint of this project nor a state dict of weights")
    return content


def save_tensors(path: Path, content: dict[str, Any]) -> None:
    """Write a dict of tensors and plain values; an existing file is replaced in one step.

    Raises:
        OSError: it cannot be written, for example because the disk is full.
    """
    with atomic_write(path) as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            # Closing its archive, torch.save fails once more and hides what had interrupted it.
            if isinstance(error.__context__, (OSError, KeyboardInterrupt)):
                raise error.__context__ from None
            raise


def _check_archive(path: Path) -> None:
    """Check that `path` is a zip archive as torch.save writes it, with every record as it was written."""
    with path.open("rb") as file:
        beginning = file.read(len(_LEGACY_MAGIC))
    if beginning == _LEGACY_MAGIC:
        raise CheckpointError("it is of PyTorch before 1.6; load it and torch.save it again with a current one")
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        if any(record.compress_type != zipfile.ZIP_STORED for record in records):
            raise CheckpointError("its records are compressed")
        if sum(record.file_size for record in records) > path.stat().st_size:
            raise CheckpointError("its records claim to be larger than the file")
        damaged = archive.testzip()
        if damaged is not None:
            raise CheckpointError(f"the checksum of {damaged} is wrong")
        for record in records:
            if record.filename.endswith(".pkl"):
                if record.file_size > _MAX_PICKLE:
                    raise CheckpointError(f"{record.filename} has {record.file_size} bytes")
                check_pickle(archive.read(record))


def _check_sizes(content: object, file_size: int) -> None:
    """Check that the tensors are no larger than the file: a stride of 0 makes petabytes of four bytes."""
    claimed = seen = 0
    waiting = [content]
    while waiting:
        value = waiting.pop()
        seen += 1
        if seen > _MAX_VALUES:
            raise CheckpointError(f"it holds more than {_MAX_VALUES} values, or itself")
        if isinstance(value, Tensor):
            claimed += value.numel() * value.element_size()
            if claimed > file_size:
                raise CheckpointError("its tensors claim to be larger than the file")
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, (list, tuple)):
            waiting.extend(value)


def _in_memory(value: Any) -> Any:
    """A copy that does not refer to the mapped file."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: _in_memory(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_in_memory(item) for item in value)
    return value
