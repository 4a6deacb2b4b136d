"""BatchNorm, max-pooling and ReLU in our kernels against PyTorch's functions.

Where there is no GPU, Triton's interpreter runs the kernels (see `conftest.py`).
"""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest
import torch
from torch import nn
from torch.nn import functional as F

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


@pytest.fixture
def ours(kernels, monkeypatch) -> None:
    """Our kernels are used, on a CPU too."""
    monkeypatch.setattr(pooling, "checked_kernels", lambda device: kernels)


def values(channels: int, size: tuple[int, int], dtype: torch.dtype, *, whole: bool = False) -> torch.Tensor:
    x = torch.randn(3, channels, *size, generator=torch.Generator().manual_seed(channels)) * 2
    return (x.round() if whole else x).to(DEVICE, dtype).contiguous(memory_format=torch.channels_last)


def with_gradients(function, *inputs: torch.Tensor) -> list[torch.Tensor]:
    leaves = [value.clone(memory_format=torch.preserve_format).requires_grad_() for value in inputs]
    result = function(*leaves)
    generator = torch.Generator().manual_seed(1)
    result.backward(torch.randn(result.shape, generator=generator).to(DEVICE, result.dtype))
    return [result.detach(), *(leaf.grad for leaf in leaves)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("channels", "size", "window"), WINDOWS.values(), ids=WINDOWS)
def test_pooling_and_its_gradient_equal_pytorchs_also_where_maxima_are_equal(kernels, channels, size, window, dtype):
    x = values(channels, size, dtype, whole=True)
    found = with_gradients(lambda x: kernels.MaxPoolReLU.apply(x, *window), x)
    expected = with_gradients(lambda x: F.relu(F.max_pool2d(x, window)), x)
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(("channels", "size", "window"), WINDOWS.values(), ids=WINDOWS)
def test_batchnorm_and_pooling_have_the_results_and_gradients_of_float64(ours, channels, size, window):
    x = values(channels, size, torch.float32) + 5  # a mean that is not 0
    generator = torch.Generator().manual_seed(2)
    scale, shift = torch.randn(2, channels, generator=generator).to(DEVICE)  # scales of both signs
    batchnorm = nn.BatchNorm2d(channels).to(DEVICE)

    def fast(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        del batchnorm.weight, batchnorm.bias  # parameters, in whose place a plain tensor cannot be put
        batchnorm.weight, batchnorm.bias = scale, shift
        return pooling.batchnorm_max_pool_relu(x, batchnorm, window)

    def exact(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        return F.relu(F.max_pool2d(F.batch_norm(x, None, None, scale, shift, training=True), window))

    found = with_gradients(fast, x, scale, shift)
    expected = with_gradients(exact, x.double(), scale.double(), shift.double())
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-4)


def test_not_a_number_stays_one(kernels):
    x = values(4, (4, 4), torch.float32)
    x[0, 1, 2, 3] = float("nan")
    assert torch.equal(kernels.MaxPoolReLU.apply(x, 2, 2).isnan(), F.relu(F.max_pool2d(x, 2)).isnan())


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
    nn.init.normal_(module.bn.weight)
    start = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    found = {}
    for device_kernels in (kernels, None):
        monkeypatch.setattr(pooling, "checked_kernels", lambda device, chosen=device_kernels: chosen)
        module.load_state_dict(start)
        module.zero_grad()
        y = module(x) if block == "vgg_ish" else module.forward_fast(x, *arguments)
        y.square().sum().backward()
        tensors = {name: parameter.grad for name, parameter in module.named_parameters()} | dict(module.named_buffers())
        found[device_kernels] = {"output": y.detach(), **{name: tensor.clone() for name, tensor in tensors.items()}}
    for name, tensor in found[None].items():
        torch.testing.assert_close(found[kernels][name], tensor, rtol=1e-4, atol=1e-4, msg=name)


def test_windows_too_large_for_the_kernels_are_pooled_all_the_same(ours):
    x = values(3, (300, 2), torch.float32)
    assert torch.equal(pooling.max_pool_relu(x, (300, 1)), F.relu(F.max_pool2d(x, (300, 1))))


def test_kernels_are_compared_with_pytorch_before_they_are_used(kernels):
    pooling.compare_with_torch(kernels, DEVICE)

    class Wrong(kernels.MaxPoolReLU):
        @staticmethod
        def backward(ctx, dy):
            return kernels.MaxPoolReLU.backward(ctx, 2 * dy)

    class Broken(ModuleType):
        MaxPoolReLU, BatchNormMaxPoolReLU = Wrong, kernels.BatchNormMaxPoolReLU

    with pytest.raises(ArithmeticError, match="differ from PyTorch's"):
        pooling.compare_with_torch(Broken("broken"), DEVICE)


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


@pytest.mark.skipif(DEVICE.type == "cpu", reason="needs a CUDA device")
def test_kernels_work_on_a_gpu():
    assert pooling.checked_kernels(DEVICE) is not None
