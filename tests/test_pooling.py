"""BatchNorm, max-pooling and ReLU in our kernels against PyTorch's functions.

Where there is no GPU, Triton's interpreter runs the kernels (see `conftest.py`).
"""

from __future__ import annotations

import importlib
import os
import platform
import subprocess
import sys
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from config import ROOT
from models import pooling
from models.musicnn import TimbreBlock
from models.vgg_ish import ConvBlock

DEVICE = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
WINDOWS = {  # channels, height and width of the input, window
    "even": (128, (6, 4), (2, 2)),
    "odd, with rows and columns in no window": (256, (7, 5), (2, 2)),
    "several blocks of channels": (512, (3, 2), (2, 2)),
    "tall": (204, (91, 3), (91, 1)),
    "a channel": (1, (9, 8), (2, 2)),
}


@pytest.fixture(scope="module")
def kernels() -> ModuleType:
    pytest.importorskip("triton", reason="Triton is not installed (it comes with PyTorch on Linux)")
    return importlib.import_module("models.pooling_kernels")


@pytest.fixture(autouse=True)
def exact_convolutions() -> None:
    """On a GPU, what is compared must not be rounded to TF32; `conftest.py` takes it back."""
    torch.backends.cudnn.allow_tf32 = False


@pytest.fixture
def ours(kernels, monkeypatch) -> None:
    """Our kernels are used, on a CPU too."""
    monkeypatch.setattr(pooling, "checked_kernels", lambda device: kernels)


def values(channels: int, size: tuple[int, int], dtype: torch.dtype, *, whole: bool = False) -> torch.Tensor:
    x = torch.randn(3, channels, *size, generator=torch.Generator().manual_seed(channels)) * 2
    return (x.round() if whole else x).to(DEVICE, dtype).contiguous(memory_format=torch.channels_last)


def per_channel(channels: int, count: int) -> torch.Tensor:
    return torch.randn(count, channels, generator=torch.Generator().manual_seed(2)).to(DEVICE)  # of both signs


def with_gradients(function, *inputs: torch.Tensor) -> list[torch.Tensor]:
    leaves = [value.clone(memory_format=torch.preserve_format).requires_grad_() for value in inputs]
    result = function(*leaves)
    generator = torch.Generator().manual_seed(1)
    gradient = torch.randn(result.shape, generator=generator).bfloat16()  # the same one in any precision
    result.backward(gradient.to(DEVICE, result.dtype))
    return [result.detach(), *(leaf.grad for leaf in leaves)]


@pytest.mark.parametrize(("channels", "size", "window"), WINDOWS.values(), ids=WINDOWS)
def test_results_and_gradients_are_those_of_float64(kernels, channels, size, window):
    x = values(channels, size, torch.float32) + 5  # a mean that is not 0
    mean, inverse = x.mean(dim=(0, 2, 3)), torch.rsqrt(x.var(dim=(0, 2, 3), correction=0) + 1e-5)

    def fast(x: torch.Tensor, offset: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return kernels.BatchNormMaxPoolReLU.apply(x, offset, weight, bias, mean, inverse, window)

    def exact(x: torch.Tensor, offset: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        x = F.batch_norm(x + offset[:, None, None], None, None, weight, bias, training=True)
        return F.relu(F.max_pool2d(x, window))

    inputs = (x, *per_channel(channels, 3))
    expected = with_gradients(exact, *(value.double() for value in inputs))
    for a, b in zip(with_gradients(fast, *inputs), expected, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("programs", [1, 3, 1000])
@pytest.mark.parametrize("channels", [3, 128, 512])
def test_sums_over_many_values_are_shared_by_programs(kernels, monkeypatch, channels, programs):
    monkeypatch.setattr(kernels, "PROGRAMS", programs)
    size = (40, 36) if channels == 3 else (12, 10)
    x = values(channels, size, torch.float32) + 5
    mean, variance = kernels.mean_and_variance(x)
    torch.testing.assert_close(mean, x.double().mean(dim=(0, 2, 3)).float(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(variance, x.double().var(dim=(0, 2, 3), correction=0).float(), rtol=1e-5, atol=1e-6)

    def fast(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return kernels.BatchNormMaxPoolReLU.apply(x, bias, weight, bias, mean, torch.rsqrt(variance + 1e-5), (2, 2))

    def exact(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return F.relu(F.max_pool2d(F.batch_norm(x, None, None, weight, bias, training=True), 2))

    inputs = (x, *per_channel(channels, 2))
    expected = with_gradients(exact, *(value.double() for value in inputs))
    for a, b in zip(with_gradients(fast, *inputs), expected, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("channels", "size", "window"), WINDOWS.values(), ids=WINDOWS)
def test_in_bfloat16_only_what_comes_out_is_rounded(kernels, channels, size, window):
    x = values(channels, size, torch.bfloat16)
    offset, weight, bias = per_channel(channels, 3)
    mean, inverse = x.float().mean(dim=(0, 2, 3)), torch.rsqrt(x.float().var(dim=(0, 2, 3), correction=0) + 1e-5)
    rest = (offset, weight, bias)
    last = (mean, inverse, window)
    rounded = with_gradients(lambda *inputs: kernels.BatchNormMaxPoolReLU.apply(*inputs, *last), x, *rest)
    exact = with_gradients(lambda *inputs: kernels.BatchNormMaxPoolReLU.apply(*inputs, *last), x.float(), *rest)
    for a, b in zip(rounded, exact, strict=True):  # a unit in the last place: Triton's interpreter cuts, GPUs round
        torch.testing.assert_close(a.float(), b, rtol=2**-7, atol=2**-7 if a.dtype == torch.bfloat16 else 1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("channels", "size", "window"), WINDOWS.values(), ids=WINDOWS)
def test_the_first_of_equal_maxima_gets_the_gradient_as_in_pytorch(kernels, channels, size, window, dtype):
    x = values(channels, size, dtype, whole=True)
    nothing, one = torch.zeros(channels, device=DEVICE), torch.ones(channels, device=DEVICE)
    y, _, places = kernels._pooled(x, one, nothing, window, keep=True)
    pooled, indices = F.max_pool2d(x, window, return_indices=True)
    assert torch.equal(y, pooled.relu())
    rows, columns = indices // x.shape[3] % window[0], indices % x.shape[3] % window[1]
    assert torch.equal(places.long(), torch.where(pooled > 0, rows * window[1] + columns, 255))


def test_not_a_number_stays_one(kernels):
    x = values(4, (4, 4), torch.float32)
    x[0, 1, 2, 3] = float("nan")
    one = torch.ones(4, device=DEVICE)
    assert torch.equal(kernels.max_pool_relu(x, one, one, (2, 2)).isnan(), F.max_pool2d(x, 2).isnan())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("block", ["vgg_ish", "musicnn"])
def test_blocks_compute_and_learn_the_same_with_our_kernels(kernels, monkeypatch, block, training):
    torch.manual_seed(0)
    if block == "vgg_ish":
        module, x = ConvBlock(3, 16, plain=False), values(3, (9, 6), torch.float32)
        arguments: tuple[object, ...] = ()
    else:
        module, x = TimbreBlock(12, (5, 3)), values(1, (9, 7), torch.float32)
        arguments = (nn.BatchNorm2d(1).to(DEVICE).eval(),)
    module.to(DEVICE).train(training)
    for parameter in (module.bn.weight, module.bn.running_mean, module.conv.bias):
        nn.init.normal_(parameter)
    start = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    found = {}
    for chosen in (kernels, None):
        monkeypatch.setattr(pooling, "checked_kernels", lambda device, chosen=chosen: chosen)
        module.load_state_dict(start)
        module.zero_grad()
        with torch.set_grad_enabled(training):
            y = module(x) if block == "vgg_ish" else module.forward_fast(x, *arguments)
        found[chosen] = {"output": y.detach(), **dict(module.named_buffers())}
        if training:
            y.square().mean().backward()
            found[chosen] |= {f"gradient of {name}": parameter.grad for name, parameter in module.named_parameters()}
        found[chosen] = {name: tensor.clone() for name, tensor in found[chosen].items()}
    for name, tensor in found[None].items():
        torch.testing.assert_close(found[kernels][name], tensor, rtol=1e-4, atol=1e-4, msg=name)


def test_gradients_in_evaluation_mode_are_pytorchs(ours):
    block = ConvBlock(3, 16, plain=False).to(DEVICE).eval()
    x = values(3, (8, 6), torch.float32).requires_grad_()
    plain = F.relu(F.max_pool2d(block.bn(block.conv(x)), 2))
    (expected,) = torch.autograd.grad(plain.square().sum(), x)
    (found,) = torch.autograd.grad(block(x).square().sum(), x)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_windows_too_large_for_the_kernels_are_pooled_all_the_same(ours):
    block = TimbreBlock(4, (5, 3)).to(DEVICE).eval()
    spec_bn = nn.BatchNorm2d(1).to(DEVICE).eval()
    x = values(1, (300, 4), torch.float32)  # 296 positions of the filter
    with torch.no_grad():
        torch.testing.assert_close(block.forward_fast(x, spec_bn), block(spec_bn(x)), rtol=1e-4, atol=1e-4)


def wrong_in_training(kernels: ModuleType) -> dict[str, object]:
    class Wrong(kernels.BatchNormMaxPoolReLU):
        @staticmethod
        def backward(ctx, dy):
            return kernels.BatchNormMaxPoolReLU.backward(ctx, 1.1 * dy)

    return {"BatchNormMaxPoolReLU": Wrong}


def wrong_in_bfloat16(kernels: ModuleType) -> dict[str, object]:
    def wrong(x: torch.Tensor, *rest: object) -> torch.Tensor:
        y = kernels.max_pool_relu(x, *rest)
        return y if x.dtype == torch.float32 else torch.zeros_like(y)

    return {"max_pool_relu": wrong}


def wrong_in_later_channels(kernels: ModuleType) -> dict[str, object]:
    def wrong(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, variance = kernels.mean_and_variance(x)
        mean[256:] = mean[:256].repeat(2)[256 : len(mean)]
        return mean, variance

    return {"mean_and_variance": wrong}


def rounded_in_float32(kernels: ModuleType) -> dict[str, object]:
    return {"max_pool_relu": lambda x, *rest: kernels.max_pool_relu(x.bfloat16().to(x.dtype), *rest)}


@pytest.mark.parametrize("make", [wrong_in_training, wrong_in_bfloat16, wrong_in_later_channels, rounded_in_float32])
def test_kernels_that_are_wrong_are_found_out(kernels, make):
    names = ("BatchNormMaxPoolReLU", "max_pool_relu", "mean_and_variance")
    broken = SimpleNamespace(**{name: getattr(kernels, name) for name in names} | make(kernels))
    with pytest.raises(ArithmeticError, match="differ from PyTorch's"):
        pooling.compare_with_torch(broken, DEVICE, pooling.CASES[:3])


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, nullcontext])
def test_kernels_that_are_right_are_used_wherever_they_are_compared(kernels, monkeypatch, mode):
    monkeypatch.setattr(kernels, "PROGRAMS", 1)
    with mode(), torch.autocast(DEVICE.type, torch.bfloat16):
        pooling.compare_with_torch(kernels, DEVICE, pooling.CASES[:3])


def test_kernels_that_fail_are_told_of_and_not_used(monkeypatch, capsys):
    def fail(kernels: ModuleType, device: torch.device) -> None:
        raise ArithmeticError("they differ")

    monkeypatch.setattr(pooling, "compare_with_torch", fail)
    pooling.checked_kernels.cache_clear()
    try:
        assert pooling.checked_kernels(torch.device("cuda:0")) is None
        assert capsys.readouterr().err.count("NOTE: pooling by PyTorch's kernels, which are slower") == 1
        assert pooling.checked_kernels(torch.device("cuda:0")) is None
        assert capsys.readouterr().err == ""
    finally:
        pooling.checked_kernels.cache_clear()


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="Triton brings its compiler for Linux on x86-64"
)
def test_kernels_compile_for_an_h100_and_move_sixteen_bytes_at_once(kernels, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    command = [sys.executable, "-m", "tests.kernels_compiled"]
    lines = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    kinds = [line.split(maxsplit=2) for line in lines.splitlines()]
    assert [(channels, kernel) for channels, kernel, _ in kinds] == [
        (channels, kernel)
        for channels in ("128", "512", "208")
        for kernel in ("forward", "forward", "moments", "sums", "backward")
    ]
    for channels, kernel, instructions in kinds:
        assert "ld.global.v4.b32" in instructions, (channels, kernel)


@pytest.mark.skipif(DEVICE.type == "cpu", reason="needs a CUDA device")
@pytest.mark.parametrize("mode", [torch.inference_mode, nullcontext])
def test_kernels_work_on_a_gpu(mode):
    pooling.checked_kernels.cache_clear()
    with mode():
        assert pooling.checked_kernels(DEVICE) is not None
