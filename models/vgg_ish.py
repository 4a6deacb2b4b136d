"""VGG-ish: the short-chunk CNN of Won et al. 2020 (arXiv 2006.00751)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from models import first_layer
from models.base import TaggingModel
from models.pooling import pooled_convolution

WIDTHS = (128, 128, 256, 256, 256, 256, 512)  # output channels of layer1 … layer7


class ConvBlock(nn.Module):
    """3×3 convolution, BatchNorm, ReLU, 2×2 max-pooling."""

    def __init__(self, in_channels: int, out_channels: int, plain: bool) -> None:
        super().__init__()
        self.plain = plain
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """(batch, in, height, width) → (batch, out, height // 2, width // 2).

        `weight`, if given, is used in place of the convolution's own.
        """
        weight, bias = self.conv.weight if weight is None else weight, self.conv.bias
        if self.plain:
            return F.max_pool2d(F.relu(self.bn(F.conv2d(x, weight, bias, padding=1))), 2)
        return pooled_convolution(x, weight, bias, self.bn, padding=(1, 1), window=(2, 2))


class VGGish(TaggingModel):
    """Seven blocks of 3×3 convolutions, global max, two dense layers.

    Layer names are those of the authors' state dicts. Outputs logits: see `TaggingModel`.

    Args:
        n_tags: number of tags.
        plain: apply every BatchNorm as it stands, none folded into a convolution (see
            `models.first_layer` and `models.pooling`).
    """

    name = "vgg_ish"
    pooling = "scores"
    embedding_size = 512

    def __init__(self, n_tags: int, plain: bool = False) -> None:
        super().__init__(n_tags)
        self.plain = plain
        self.spec_bn = nn.BatchNorm2d(1)
        in_channels = 1
        for number, out_channels in enumerate(WIDTHS, start=1):
            self.add_module(f"layer{number}", ConvBlock(in_channels, out_channels, plain))
            in_channels = out_channels
        self.dense1 = nn.Linear(WIDTHS[-1], self.embedding_size)
        self.bn = nn.BatchNorm1d(self.embedding_size)
        self.dropout = nn.Dropout(0.5)
        self.dense2 = nn.Linear(self.embedding_size, n_tags)

    @property
    def min_frames(self) -> int:
        return 2 ** len(WIDTHS)  # each layer halves the length

    def embed(self, x: Tensor) -> Tensor:
        self._check_input(x)
        x = x.unsqueeze(1)  # (batch, 1, frames, mels)
        if self.plain:
            x = self.layer1(self.spec_bn(x))
        else:
            x = first_layer.as_convolved(first_layer.normalise(self.spec_bn, x))
            x = first_layer.with_ones(x.permute(0, 2, 3, 1))
            x = self.layer1(x, first_layer.folded(self.layer1.conv.weight, self.spec_bn, x.shape[1]))
        for number in range(2, len(WIDTHS) + 1):
            x = self.get_submodule(f"layer{number}")(x)
        x = x.amax(dim=(2, 3))
        return F.relu(self.bn(self.dense1(x)))

    def classify(self, embedding: Tensor) -> Tensor:
        return self.dense2(self.dropout(embedding))
