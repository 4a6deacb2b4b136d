"""Which device computes, and in which precision."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch

from runtime.errors import UsageError

PRECISIONS = ("auto", "float32", "bfloat16")
CUBLAS_DETERMINISTIC = (":4096:8", ":16:8")  # its settings with which each stream has a workspace of its own


def resolve_device(name: str) -> torch.device:
    """The device called `name`: auto, cpu, cuda:N or mps. `auto` prefers cuda, then mps, then cpu.

    Raises:
        UsageError: no such device on this machine. Never falls back to another one.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda:0")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind, colon, digits = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (colon and not (digits.isascii() and digits.isdigit())):
        raise UsageError(f"unknown device '{name}'; choose auto, cpu, cuda:N or mps")
    if kind == "cpu":
        return torch.device("cpu")
    if kind == "mps":
        if not torch.backends.mps.is_available():
            raise UsageError("this machine has no mps device; use --device cpu")
        return torch.device("mps")
    index = int(digits or 0)  # not torch.device(name).index, which keeps eight bits: there, 999 is -25
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if index >= found:
        have = f"has cuda:0 to cuda:{found - 1}" if found else "has no CUDA device that PyTorch can use"
        raise UsageError(f"there is no {name}: this machine {have}; use --device auto or cpu")
    return torch.device("cuda", index)


@dataclass(frozen=True)
class Precision:
    """How the forward pass computes: in float32, or in bfloat16 where that is safe (autocast)."""

    name: str  # "float32" or "bfloat16"
    device_type: str

    def autocast(self) -> AbstractContextManager:
        """The context in which the model's forward pass runs."""
        return torch.autocast(self.device_type, dtype=torch.bfloat16, enabled=self.name == "bfloat16")


def resolve_precision(name: str, device: torch.device, *, cpu_bfloat16: bool = False) -> Precision:
    """`auto` is bfloat16 on GPUs that compute it natively, else float32.

    With `cpu_bfloat16`, `auto` takes it on CPUs that compute it natively as well. Training and
    evaluation do so; the tagging of a few recordings on a CPU stays exact.

    Where float32 is chosen for a CUDA device, the process computes in it from then on: by default
    PyTorch rounds what convolutions multiply to TF32, which keeps ten bits of a fraction.

    Raises:
        UsageError: bfloat16 is asked for where the device cannot do it.
    """
    if name not in PRECISIONS:
        raise UsageError(f"unknown precision '{name}'; choose one of {', '.join(PRECISIONS)}")
    if name == "auto":
        wanted = device.type != "cpu" or cpu_bfloat16
        name = "bfloat16" if wanted and has_native_bfloat16(device) else "float32"
    if name == "bfloat16" and device.type == "mps":
        raise UsageError("bfloat16 is not supported on mps; use --precision float32")
    if name == "float32" and device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    return Precision(name, device.type)


def has_native_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        try:
            flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
        except OSError:  # not Linux
            return False
        return "amx_bf16" in flags or "avx512_bf16" in flags
    return False


def compute_deterministically() -> None:
    """From now on PyTorch takes algorithms only that give the same bits each time, or fails.

    To be called before anything is computed on a GPU: cuBLAS looks at its part of it once.
    """
    if os.environ.get("CUBLAS_WORKSPACE_CONFIG") not in CUBLAS_DETERMINISTIC:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = CUBLAS_DETERMINISTIC[0]
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False  # it chooses by speed, which is chance


def describe(device: torch.device, precision: Precision) -> str:
    """The device and precision in words, for output and result files."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    return f"{device} ({name}), {precision.name}"
