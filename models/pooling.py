"""Convolution, BatchNorm, max-pooling, ReLU: most of the work of both CNNs.

ReLU keeps order, so it may follow the pooling: the same result on fewer values. In evaluation
BatchNorm is folded into the convolution. On CUDA devices our own kernels do all that follows the
convolution in fewer passes, where Triton is at hand and what it makes of them agrees with PyTorch
on the device.
"""

from __future__ import annotations

import sys
from functools import cache
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models import first_layer
from models.folding import fold_batchnorm, scale_and_shift, update_running_statistics

_FLOATS = (torch.float32, torch.bfloat16)


def pooled_convolution(
    x: Tensor, weight: Tensor, bias: Tensor, batchnorm: nn.Module, padding: tuple[int, int], window: tuple[int, int]
) -> Tensor:
    """`relu(max_pool2d(batchnorm(conv2d(x, weight, bias, padding=padding)), window))`.

    Args:
        x: (batch, in channels, height, width).
        weight: (channels, in channels, …), of the convolution.
        bias: (channels,), of the convolution.
        batchnorm: BatchNorm2d, or what stands for it when several processes train together; in
            training its running statistics are updated.
        padding: zeros around x, vertically and horizontally.
        window: height and width of the windows, which do not overlap.

    Returns:
        (batch, channels, …).
    """
    kernels = _kernels_for(x, weight, bias, batchnorm, window)
    if kernels is None and batchnorm.training:
        return F.relu(F.max_pool2d(batchnorm(F.conv2d(x, weight, bias, padding=padding)), window))
    if kernels is None:
        weight, bias = fold_batchnorm(weight, bias, batchnorm)
        return F.relu(F.max_pool2d(F.conv2d(x, weight, bias, padding=padding), window))
    filters = len(bias)
    x = F.conv2d(x, _padded(weight), padding=padding)
    if batchnorm.training:
        scale, shift = _padded(batchnorm.weight), _padded(batchnorm.bias)
        mean, inverse = _statistics(kernels, x.detach(), bias, batchnorm)
        y = kernels.BatchNormMaxPoolReLU.apply(x, _padded(bias), scale, shift, mean, inverse, window)
    else:
        scale, shift = scale_and_shift(bias, batchnorm)
        y = kernels.max_pool_relu(x, _padded(scale), _padded(shift), window)
    return y[:, :filters]


def _padded(parameter: Tensor) -> Tensor:
    """With filters of zeros behind the (filters, …) there are: GPUs are fast with certain numbers of channels."""
    more = -len(parameter) % first_layer.CHANNELS_AT_ONCE
    return F.pad(parameter, (*[0, 0] * (parameter.ndim - 1), 0, more)) if more else parameter


@torch.no_grad()
def _statistics(kernels: ModuleType, x: Tensor, offset: Tensor, batchnorm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Mean and inverse standard deviation of x; the running statistics become those of x + offset."""
    mean, variance = kernels.mean_and_variance(x)
    count, filters = x.numel() // x.shape[1], len(offset)
    update_running_statistics(batchnorm, mean[:filters] + offset, variance[:filters], count)
    return mean, torch.rsqrt(variance + batchnorm.eps)


def _kernels_for(
    x: Tensor, weight: Tensor, bias: Tensor, batchnorm: nn.Module, window: tuple[int, int]
) -> ModuleType | None:
    """The kernels, where they can do this."""
    kernels = checked_kernels(x.device)
    if kernels is None or x.dtype not in _FLOATS or window[0] * window[1] > kernels.MOST_PLACES:
        return None
    if batchnorm.training:
        return kernels if type(batchnorm) is nn.BatchNorm2d else None
    inputs = (x, weight, bias, *batchnorm.parameters())
    learning = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)
    return None if learning else kernels


@cache
def checked_kernels(device: torch.device) -> ModuleType | None:
    """Our kernels for a CUDA device, compared once with PyTorch there; None where they cannot be used.

    Says so if they should be usable and are not: the results are the same, but come slower.
    """
    if device.type != "cuda":
        return None
    try:
        from models import pooling_kernels

        compare_with_torch(pooling_kernels, device)
    except (torch.OutOfMemoryError, torch.AcceleratorError):  # nothing that comes after would work either
        raise
    except Exception as error:  # of Triton, or of the compiler it needs: there is another way
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        print(f"NOTE: pooling by PyTorch's kernels, which are slower, since ours fail ({reason})", file=sys.stderr)
        return None
    return pooling_kernels


CASES = (  # channels, height and width of the input, window
    (128, (5, 6), (2, 2)),
    (208, (7, 3), (7, 1)),  # as in Musicnn
    (512, (5, 2), (2, 2)),  # several blocks of channels
    (128, (110, 110), (2, 2)),  # several blocks a program
)
# Of a tensor's norm. Results in float32 may not have been rounded to less; which of nearly equal values is the
# greatest, rounding may decide, and with it where a gradient goes.
RESULTS = {torch.float32: 1e-5, torch.bfloat16: 1e-2}
GRADIENTS = 1e-2


def compare_with_torch(
    kernels: ModuleType, device: torch.device, cases: tuple[tuple[int, tuple[int, int], tuple[int, int]], ...] = CASES
) -> None:
    """Check results and gradients of the kernels on a few values.

    Raises:
        ArithmeticError: they are not PyTorch's.
    """
    generator = torch.Generator().manual_seed(0)
    # The caller may be in evaluation, where there are no gradients, or under autocast.
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
        for channels, size, window in cases:
            for dtype in _FLOATS:
                x = torch.randn((3, channels, *size), generator=generator).to(device, dtype)
                scale, shift = torch.randn((2, channels), generator=generator).to(device)
                ours = _outcome(x, scale, shift, window, kernels)
                theirs = _outcome(x.float(), scale, shift, window, None)
                for number, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
                    error = float((mine.float() - other).norm() / other.norm())
                    if not error <= (RESULTS[dtype] if number < 2 else GRADIENTS):
                        raise ArithmeticError(f"they differ from PyTorch's by {error:.1e} of its norm")


def _outcome(
    x: Tensor, scale: Tensor, shift: Tensor, window: tuple[int, int], kernels: ModuleType | None
) -> list[Tensor]:
    """Results in training and in evaluation, then gradients, by the kernels or (None) by PyTorch."""
    leaves = [tensor.clone().requires_grad_() for tensor in (x, scale, shift)]
    if kernels is None:
        y = F.relu(F.max_pool2d(F.batch_norm(leaves[0], None, None, *leaves[1:], training=True), window))
        used = F.relu(F.max_pool2d(x * scale[:, None, None] + shift[:, None, None], window))
    else:
        mean, variance = kernels.mean_and_variance(x)
        inverse = torch.rsqrt(variance + 1e-5)
        y = kernels.BatchNormMaxPoolReLU.apply(leaves[0], shift, *leaves[1:], mean, inverse, window)
        used = kernels.max_pool_relu(x, scale, shift, window)
    y.backward(torch.linspace(-1, 1, y.numel(), device=x.device).bfloat16().to(y.dtype).view_as(y))
    return [y.detach(), used, *(leaf.grad for leaf in leaves)]
