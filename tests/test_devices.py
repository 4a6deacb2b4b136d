"""Which precision is computed in."""

from __future__ import annotations

import pytest
import torch

from runtime.devices import resolve_precision

GPU = torch.device("cuda", 0)


def test_float32_on_a_gpu_is_not_tf32():
    assert torch.backends.cudnn.allow_tf32, "PyTorch's default has changed"
    resolve_precision("bfloat16", GPU)
    resolve_precision("float32", torch.device("cpu"))
    assert torch.backends.cudnn.allow_tf32
    assert resolve_precision("float32", GPU).name == "float32"
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize(("native", "chosen"), [(True, "bfloat16"), (False, "float32")])
def test_auto_takes_bfloat16_where_a_gpu_computes_it(monkeypatch, native, chosen):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    assert resolve_precision("auto", GPU).name == chosen
    assert torch.backends.cudnn.allow_tf32 == native


@pytest.mark.parametrize(
    ("flags", "training", "tagging"), [("avx512_bf16", "bfloat16", "float32"), ("", "float32", "float32")]
)
def test_auto_on_a_cpu_takes_bfloat16_for_much_work_alone(monkeypatch, flags, training, tagging):
    monkeypatch.setattr("runtime.devices.has_native_bfloat16", lambda device: "avx512_bf16" in flags)
    cpu = torch.device("cpu")
    assert resolve_precision("auto", cpu, cpu_bfloat16=True).name == training
    assert resolve_precision("auto", cpu).name == tagging
