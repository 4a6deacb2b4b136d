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

from models.folding import update_running_statistics

CHANNELS_AT_ONCE = 8  # 16 bytes of bfloat16: what a GPU's matrix units are fed with


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
    if x.device.type == "cuda" and type(spec_bn) is nn.BatchNorm2d:
        return normalise_one_channel(spec_bn, x)
    neutral = {"weight": torch.ones_like(spec_bn.weight), "bias": torch.zeros_like(spec_bn.bias)}
    return functional_call(spec_bn, neutral, (x,))


def normalise_one_channel(spec_bn: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """`normalise` in training, for GPUs: PyTorch's BatchNorm has one block of threads do a channel."""
    variance, mean = torch.var_mean(x, correction=0)
    update_running_statistics(spec_bn, mean, variance, x.numel())
    return (x - mean) * torch.rsqrt(variance + spec_bn.eps)


def as_convolved(x: Tensor) -> Tensor:
    """x in the precision that convolutions convert it to under autocast: they would do so when there is more of it."""
    device = x.device.type
    return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x


def with_ones(x: Tensor) -> Tensor:
    """The channels of x, and one of ones behind them; more of those where that makes convolutions faster.

    Args:
        x: (batch, height, width, channels), normalised.

    Returns:
        (batch, channels + 1 or more, height, width).
    """
    more = -(x.shape[3] + 1) % CHANNELS_AT_ONCE if x.device.type == "cuda" else 0
    # Padded behind, then moved to the front: all that follows keeps the channels-last layout.
    return F.pad(x, (0, 1 + more), value=1.0).permute(0, 3, 1, 2)


def folded(weight: Tensor, spec_bn: nn.Module, channels: int) -> Tensor:
    """Weights of the convolution over what `with_ones` gives.

    Args:
        weight: (filters, in channels, height, width), in channels 1 unless taps stand for channels.
        spec_bn: the BatchNorm whose scale and shift are folded in.
        channels: as many as `with_ones` gives.

    Returns:
        (filters, channels, height, width): the first channel of ones carries what spec_bn adds, further ones nothing.
    """
    parts = [weight * spec_bn.weight, weight.sum(dim=1, keepdim=True) * spec_bn.bias]
    more = channels - weight.shape[1] - 1
    if more:
        parts.append(weight.new_zeros((len(weight), more, *weight.shape[2:])))
    return torch.cat(parts, dim=1)
