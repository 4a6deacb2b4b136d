"""BatchNorm taken apart: folded into the convolution in front of it, and its running statistics.

In evaluation BatchNorm scales and shifts each channel by constants, which a convolution can do
by other weights and another bias: s·(W ∗ x + b − μ) + β = (s·W) ∗ x + (s·(b − μ) + β), with
s = γ / √(σ² + ε). One pass over the layer's output less.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm


def fold_batchnorm(weight: Tensor, bias: Tensor, batchnorm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Weights and bias of the convolution that does the work of both, in evaluation.

    Args:
        weight: (filters, …), of the convolution.
        bias: (filters,), of the convolution.
        batchnorm: of `filters` channels, behind it.
    """
    scale, shift = scale_and_shift(bias, batchnorm)
    return weight * scale.view(-1, *[1] * (weight.ndim - 1)), shift


def scale_and_shift(bias: Tensor, batchnorm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """What BatchNorm, in evaluation, makes of y + bias: scale · y + shift, each (channels,)."""
    scale = batchnorm.weight * torch.rsqrt(batchnorm.running_var + batchnorm.eps)
    return scale, torch.addcmul(batchnorm.bias, bias - batchnorm.running_mean, scale)


@torch.no_grad()
def update_running_statistics(batchnorm: _BatchNorm, mean: Tensor, variance: Tensor, count: int) -> None:
    """Do with a batch's statistics what BatchNorm does in training.

    Args:
        batchnorm: whose running statistics are updated.
        mean, variance: (channels,) of the batch; the variance of its values, not the unbiased one.
        count: values of each channel.
    """
    batchnorm.num_batches_tracked.add_(1)
    batchnorm.running_mean.lerp_(mean, batchnorm.momentum)
    batchnorm.running_var.lerp_(variance * (count / (count - 1)), batchnorm.momentum)
