"""The input's BatchNorm folded into the convolution behind it, with as many channels of ones as a device likes."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from models import first_layer


def input_and_layers(taps: int) -> tuple[torch.Tensor, nn.BatchNorm2d, nn.Conv2d]:
    torch.manual_seed(taps)
    spec_bn, conv = nn.BatchNorm2d(1), nn.Conv2d(taps, 4, 3, padding=1)
    nn.init.normal_(spec_bn.weight)
    nn.init.normal_(spec_bn.bias)
    return torch.randn(2, taps, 6, 5), spec_bn, conv


@pytest.mark.parametrize("more", [0, 1, 6])
@pytest.mark.parametrize("taps", [1, 3])
def test_convolving_with_folded_weights_is_convolving_what_is_scaled_and_shifted(taps, more):
    x, spec_bn, conv = input_and_layers(taps)
    expected = conv(x * spec_bn.weight + spec_bn.bias)  # the edges are padded with zeros, not with the shift
    ones = torch.ones(2, 1 + more, 6, 5)
    weight = first_layer.folded(conv.weight, spec_bn, taps + 1 + more)
    found = F.conv2d(torch.cat([x, ones], dim=1), weight, conv.bias, padding=1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("taps", [1, 38, 67])
def test_a_channel_of_ones_is_put_behind(taps):
    x = torch.randn(2, 4, 3, taps)
    found = first_layer.with_ones(x)
    assert found.shape == (2, taps + 1, 4, 3) and found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(found[:, :taps], x.permute(0, 3, 1, 2)) and (found[:, taps] == 1).all()


def test_normalising_one_channel_on_a_gpu_is_what_batchnorm_does():
    torch.manual_seed(0)
    x = torch.randn(4, 1, 30, 20) * 15 - 40
    ours, pytorchs = nn.BatchNorm2d(1), nn.BatchNorm2d(1)
    for _ in range(2):
        found, expected = first_layer.normalise_one_channel(ours, x), pytorchs(x)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    for (name, buffer), other in zip(ours.named_buffers(), pytorchs.buffers(), strict=True):
        torch.testing.assert_close(buffer, other, rtol=1e-6, atol=1e-6, msg=name)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("taps", "channels"), [(1, 8), (38, 40), (67, 72)])
def test_a_gpu_gets_a_multiple_of_eight_channels(taps, channels):
    found = first_layer.with_ones(torch.zeros(2, 4, 3, taps, device="cuda"))
    assert found.shape[1] == channels and (found[:, taps:] == 1).all()
