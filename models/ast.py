"""AST: the audio spectrogram transformer of Gong et al. 2021 (arXiv 2104.01778), from timm's blocks."""

from __future__ import annotations

import math
from functools import partial

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from config import MODELS, SPECTROGRAM
from models.base import TaggingModel
from models.sizes import AST_ENCODERS
from runtime.errors import CheckpointError

DEPTH = 12
PATCH = 16  # mel bands and frames
STRIDE = 10
GRID = (  # patches: frequency × time
    (SPECTROGRAM.n_mels - PATCH) // STRIDE + 1,
    (MODELS["ast"].input_frames - PATCH) // STRIDE + 1,
)
PREFIX_TOKENS = 2  # class and distillation


class PatchEmbedding(nn.Module):
    """Overlapping 16×16 patches of a spectrogram, projected."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, width, PATCH, stride=STRIDE)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 1, mels, frames) → (batch, patches, width), frequency-major."""
        return self.proj(x).flatten(2).transpose(1, 2)


class Encoder(nn.Module):
    """The distilled vision transformer of Touvron et al. 2021 (arXiv 2012.12877), without heads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.dist_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, PREFIX_TOKENS + math.prod(GRID), width))
        self.patch_embed = PatchEmbedding(width)
        layer_norm = partial(nn.LayerNorm, eps=1e-6)
        self.blocks = nn.Sequential(*(Block(width, heads, qkv_bias=True, norm_layer=layer_norm) for _ in range(DEPTH)))
        self.norm = layer_norm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 1, mels, frames) → tokens (batch, 2 + patches, width)."""
        x = self.patch_embed(x)
        batch = x.shape[0]
        x = torch.cat([self.cls_token.expand(batch, -1, -1), self.dist_token.expand(batch, -1, -1), x], dim=1)
        return self.norm(self.blocks(x + self.pos_embed))


class AST(TaggingModel):
    """A transformer over 12 × 49 patches; the mean of its two special tokens is classified.

    The input is normalised inside, as (x − mean) / (2·std) with the mean and the standard
    deviation of the training set, which `set_normalisation` must have given: they are not part
    of the state dict. Layer names are those of the authors' state dicts. Weights are random until
    `models.ast_weights.initialise_ast` or `models.weights.load_weights` sets them.

    Args:
        n_tags: number of tags.
        size: one of `models.AST_SIZES`.
    """

    name = "ast"
    pooling = "logits"
    needs_normalisation = True

    def __init__(self, n_tags: int, size: str = "base384") -> None:
        super().__init__(n_tags)
        self.size = size
        self.embedding_size = AST_ENCODERS[size].width
        self.v = Encoder(AST_ENCODERS[size].width, AST_ENCODERS[size].heads)
        self.mlp_head = nn.Sequential(nn.LayerNorm(self.embedding_size), nn.Linear(self.embedding_size, n_tags))
        self.register_buffer("input_mean", torch.zeros(()), persistent=False)
        self.register_buffer("input_std", torch.ones(()), persistent=False)
        self.is_normalised = False
        self._initialise()

    def _initialise(self) -> None:
        # As vision transformers are: Dosovitskiy et al. 2021 (arXiv 2010.11929), Touvron et al. 2021.
        for token in (self.v.cls_token, self.v.dist_token, self.v.pos_embed):
            nn.init.trunc_normal_(token, std=0.02)
        for module in self.v.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    @property
    def max_frames(self) -> int:
        return self.input_frames  # there is one position embedding for each patch

    @property
    def settings(self) -> dict[str, str]:
        return {"ast_size": self.size}

    def set_normalisation(self, mean: float, std: float) -> None:
        """Set the mean and the standard deviation of the training set's spectrograms, in dB.

        Raises:
            CheckpointError: they are not finite, or the deviation is not positive.
        """
        if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
            raise CheckpointError(f"AST cannot be normalised with mean {mean} and standard deviation {std}")
        self.input_mean.fill_(mean)
        self.input_std.fill_(std)
        self.is_normalised = True

    def embed(self, x: Tensor) -> Tensor:
        self._check_input(x)
        if not self.is_normalised:
            raise CheckpointError(
                "AST has no input normalisation; give it the training set's mean and standard deviation"
                " (they are kept in this project's checkpoints)"
            )
        x = (x - self.input_mean) / (2 * self.input_std)
        tokens = self.v(x.transpose(1, 2).unsqueeze(1))
        return self.mlp_head[0]((tokens[:, 0] + tokens[:, 1]) / 2)

    def classify(self, embedding: Tensor) -> Tensor:
        return self.mlp_head[1](embedding)
