"""BatchNorm of the input, folded into the convolution behind it.

Both CNNs begin with a BatchNorm of one channel (`spec_bn`). Its scale and shift are trained, so
that back-propagation needs the gradient of the first convolution's input, which costs more than
the gradient of its weights, for the sake of two numbers. But scaling and shifting before a
convolution equals convolving with changed weights: y = W ∗ (γ·x + β) = (γ·W) ∗ x + (β·W) ∗ 1,
where 1 is a channel of ones, so that the edges, padded with zeros, come out the same. With x
normalised but neither scaled nor shifted, nothing in front of the convolution is trained.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F


def normalise(spec_bn: nn.Module, x: Tensor) -> Tensor:
    """`spec_bn` without its scale and shift; running statistics are updated as usual.

    Args:
        spec_bn: BatchNorm2d(1), or what stands for it when several processes train together.
        x: (batch, 1, height, width).

    Returns:
        (batch, 1, height, width).
    """
    if not spec_bn.training:  # several threads may share a model in use: nothing of it may be exchanged
        return F.batch_norm(x, spec_bn.running_mean, spec_bn.running_var, eps=spec_bn.eps)
    neutral = {"weight": torch.ones_like(spec_bn.weight), "bias": torch.zeros_like(spec_bn.bias)}
    return functional_call(spec_bn, neutral, (x,))


def folded(weight: Tensor, spec_bn: nn.Module) -> Tensor:
    """Weights of the convolution over the normalised channel and a channel of ones.

    Args:
        weight: (filters, channels, height, width), channels 1 unless taps stand for channels.
        spec_bn: the BatchNorm whose scale and shift are folded in.

    Returns:
        (filters, channels + 1, height, width): the last channel is that of ones.
    """
    return torch.cat([weight * spec_bn.weight, weight.sum(dim=1, keepdim=True) * spec_bn.bias], dim=1)
