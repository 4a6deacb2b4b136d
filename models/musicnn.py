"""Musicnn: Pons et al. 2017 (arXiv 1711.02520), in the form used by Won et al. 2020 (arXiv 2006.00751)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models import first_layer
from models.base import TaggingModel
from models.pooling import pooled_convolution

TIMBRE_FILTERS = ((67, 7), (38, 7))  # frequency × time
TEMPORAL_FILTERS = (129, 65, 33)  # frames


class TimbreBlock(nn.Module):
    """Vertical filters over one channel, BatchNorm, ReLU, max over frequency."""

    def __init__(self, filters: int, shape: tuple[int, int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, filters, shape, padding=(0, shape[1] // 2))
        self.bn = nn.BatchNorm2d(filters)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 1, frequency, time) → (batch, filters, time)."""
        x = F.relu(self.bn(self.conv(x)))
        return F.max_pool2d(x, (x.shape[2], 1)).squeeze(2)

    def forward_fast(self, x: Tensor, spec_bn: nn.Module) -> Tensor:
        """The same function of `spec_bn(x)`, from the x that `first_layer.normalise` gives.

        Convolutions of one input channel are slow. Here the frequency taps are the input channels
        of filters that run along time only, done for each frequency position, and a channel of
        ones carries what `spec_bn` adds: the same sums of the same products.
        """
        taps, length = self.conv.kernel_size
        patches = first_layer.as_convolved(x).squeeze(1).unfold(1, taps, 1)  # (batch, positions, time, taps)
        patches = first_layer.with_ones(patches)  # (batch, taps + 1 or more, positions, time)
        weight = first_layer.folded(self.conv.weight.transpose(1, 2), spec_bn, patches.shape[1])
        window = (patches.shape[2], 1)
        return pooled_convolution(patches, weight, self.conv.bias, self.bn, (0, length // 2), window).squeeze(2)


class TemporalBlock(nn.Module):
    """Mean over frequency, horizontal filters, BatchNorm, ReLU."""

    def __init__(self, filters: int, length: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, filters, length, padding=length // 2)
        self.bn = nn.BatchNorm1d(filters)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 1, frequency, time) → (batch, filters, time)."""
        return self._convolve(x.mean(dim=2))

    def forward_fast(self, x: Tensor, spec_bn: nn.Module) -> Tensor:
        """The same function of `spec_bn(x)`, from the x that `first_layer.normalise` gives."""
        return self._convolve(x.mean(dim=2) * spec_bn.weight + spec_bn.bias)

    def _convolve(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class ConvBlock(nn.Module):
    """One-dimensional convolution of length 7, BatchNorm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(in_channels, out_channels, 7, padding=3)
        self.bn = nn.BatchNorm1d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, time) → (batch, out, time)."""
        return F.relu(self.bn(self.conv(x)))


class Musicnn(TaggingModel):
    """A front end of musically shaped filters, a residual back end, two dense layers.

    Layer names are those of the authors' state dicts. Outputs logits: see `TaggingModel`.

    Args:
        n_tags: number of tags.
        layout: "paper" runs the filters as the paper says, frequency × time; "published" runs
            them on the transposed input, as the study's code does and its checkpoints need.
        plain: compute the front end in its literal form, not as in `TimbreBlock.forward_fast`.
    """

    name = "musicnn"
    pooling = "scores"
    embedding_size = 200

    def __init__(self, n_tags: int, layout: str = "paper", plain: bool = False) -> None:
        super().__init__(n_tags)
        self.layout = layout
        self.plain = plain
        self.spec_bn = nn.BatchNorm2d(1)
        self.layers = nn.ModuleList(
            [TimbreBlock(204, shape) for shape in TIMBRE_FILTERS]
            + [TemporalBlock(51, length) for length in TEMPORAL_FILTERS]
        )
        self.layer1 = ConvBlock(561, 64)
        self.layer2 = ConvBlock(64, 64)
        self.layer3 = ConvBlock(64, 64)
        self.dense1 = nn.Linear(2 * (561 + 3 * 64), self.embedding_size)
        self.bn = nn.BatchNorm1d(self.embedding_size)
        self.dropout = nn.Dropout(0.5)
        self.dense2 = nn.Linear(self.embedding_size, n_tags)

    @property
    def min_frames(self) -> int:
        return TIMBRE_FILTERS[0][0] if self.layout == "published" else 1

    @property
    def settings(self) -> dict[str, str]:
        return {"musicnn_layout": self.layout}

    def embed(self, x: Tensor) -> Tensor:
        self._check_input(x)
        x = x.unsqueeze(1)
        x = self.spec_bn(x) if self.plain else first_layer.normalise(self.spec_bn, x)
        if self.layout == "paper":
            x = x.transpose(2, 3)  # the filters' first axis is frequency
        front = [layer(x) if self.plain else layer.forward_fast(x, self.spec_bn) for layer in self.layers]
        front = torch.cat(front, dim=1)  # (batch, 561, time)
        back1 = self.layer1(front)
        back2 = self.layer2(back1) + back1
        back3 = self.layer3(back2) + back2
        x = torch.cat([front, back1, back2, back3], dim=1)  # (batch, 753, time)
        x = torch.cat([x.amax(dim=2), x.mean(dim=2)], dim=1)
        return F.relu(self.bn(self.dense1(x)))

    def classify(self, embedding: Tensor) -> Tensor:
        return self.dense2(self.dropout(embedding))
