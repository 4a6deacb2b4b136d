"""The end of a convolutional block: BatchNorm, max-pooling, ReLU.

ReLU keeps order, so it may follow the pooling: the same result on fewer values. On CUDA devices
our own kernels do the three in fewer passes, where Triton is at hand and what it makes of them
agrees with PyTorch on the device.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_FLOATS = (torch.float32, torch.bfloat16, torch.float16)


def batchnorm_max_pool_relu(x: Tensor, batchnorm: nn.Module, window: tuple[int, int]) -> Tensor:
    """`relu(max_pool2d(batchnorm(x), window))`, gradients and running statistics included.

    Args:
        x: (batch, channels, height, width).
        batchnorm: BatchNorm2d in training, or what stands for it when several processes train together.
        window: height and width of the windows, which do not overlap.

    Returns:
        (batch, channels, height // window height, width // window width).
    """
    kernels = _kernels_for(x, window)
    if kernels is None or type(batchnorm) is not nn.BatchNorm2d:
        return max_pool_relu(batchnorm(x), window)
    mean, variance = torch.batch_norm_update_stats(
        x.detach(), batchnorm.running_mean, batchnorm.running_var, batchnorm.momentum
    )
    batchnorm.num_batches_tracked.add_(1)
    inverse = torch.rsqrt(variance.float() + batchnorm.eps)
    return kernels.BatchNormMaxPoolReLU.apply(x, batchnorm.weight, batchnorm.bias, mean.float(), inverse, *window)


def max_pool_relu(x: Tensor, window: tuple[int, int]) -> Tensor:
    """`relu(max_pool2d(x, window))`; see `batchnorm_max_pool_relu`."""
    kernels = _kernels_for(x, window)
    return F.relu(F.max_pool2d(x, window)) if kernels is None else kernels.MaxPoolReLU.apply(x, *window)


def _kernels_for(x: Tensor, window: tuple[int, int]) -> ModuleType | None:
    """The kernels, where they can do this tensor."""
    kernels = checked_kernels(x.device)
    fits = kernels is not None and x.dtype in _FLOATS and window[0] * window[1] <= kernels.MOST_PLACES
    return kernels if fits else None


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
    except Exception as error:  # of Triton, of the compiler it needs, or of the device: there is another way
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        print(f"NOTE: pooling by PyTorch's kernels, which are slower, since ours fail ({reason})", file=sys.stderr)
        return None
    return pooling_kernels


def compare_with_torch(kernels: ModuleType, device: torch.device) -> None:
    """Check results and gradients of the kernels on a few values.

    Raises:
        ArithmeticError: they are not PyTorch's.
    """
    generator = torch.Generator().manual_seed(0)
    for channels, size, window in ((128, (5, 6), (2, 2)), (204, (7, 3), (7, 1))):

        def pooled(x: Tensor, window: tuple[int, int] = window) -> Tensor:
            return F.relu(F.max_pool2d(x, window))

        whole = torch.randint(-3, 4, (2, channels, *size), generator=generator)  # many maxima are equal
        for dtype in (torch.bfloat16, torch.float32):
            inputs = (whole.to(device, dtype),)
            _compare(lambda x, window=window: kernels.MaxPoolReLU.apply(x, *window), pooled, inputs, tolerance=0.0)
        x = (whole + torch.rand(whole.shape, generator=generator)).to(device)
        variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
        inverse = torch.rsqrt(variance + 1e-5)
        scale, shift = torch.randn(2, channels, generator=generator).to(device)
        _compare(
            lambda *inputs, last=(mean, inverse, *window): kernels.BatchNormMaxPoolReLU.apply(*inputs, *last),
            lambda x, scale, shift, pooled=pooled: pooled(F.batch_norm(x, None, None, scale, shift, training=True)),
            (x, scale, shift),
            tolerance=1e-4,
        )


def _compare(
    ours: Callable[..., Tensor], theirs: Callable[..., Tensor], inputs: tuple[Tensor, ...], tolerance: float
) -> None:
    found = []
    for function in (ours, theirs):
        leaves = [value.clone(memory_format=torch.preserve_format).requires_grad_() for value in inputs]
        result = function(*leaves)
        result.backward(torch.linspace(-1, 1, result.numel(), device=result.device, dtype=result.dtype).view_as(result))
        found.append([result.detach(), *(leaf.grad for leaf in leaves)])
    for a, b in zip(*found, strict=True):
        if not torch.allclose(a, b, rtol=tolerance, atol=tolerance):
            raise ArithmeticError(f"they differ from PyTorch's by {float((a - b).abs().max()):.1e}")
