"""AST: the audio spectrogram transformer of Gong et al. 2021 (arXiv 2104.01778), from timm's blocks."""

from __future__ import annotations

import math
from functools import partial

import torch
from timm.layers import Attention
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

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
SPECIAL_TOKENS = 2  # class and distillation


class PatchEmbedding(nn.Module):
    """Overlapping 16×16 patches of a spectrogram, projected."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, width, PATCH, stride=STRIDE)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 1, mels, frames) → (batch, patches, width), frequency-major."""
        return self.proj(x).flatten(2).transpose(1, 2)


class SelfAttention(Attention):
    """timm's multi-head attention, computed with PyTorch's fused kernel where that is the faster way.

    On CPUs the fused kernel has no fast bfloat16 products; there the three steps are done one by one.
    """

    def forward(self, x: Tensor, queries: int | None = None, **_no_mask: object) -> Tensor:
        """Attend from the first `queries` tokens (None: all) to all tokens.

        Args:
            x: (batch, tokens, width).

        Returns:
            (batch, queries, width).
        """
        if queries is None:
            q, k, v = self._heads(self.qkv(x), 3)
        else:
            width = x.shape[2]
            q_weight, kv_weight = self.qkv.weight.split([width, 2 * width])
            q_bias, kv_bias = self.qkv.bias.split([width, 2 * width])
            (q,) = self._heads(F.linear(x[:, :queries], q_weight, q_bias), 1)
            k, v = self._heads(F.linear(x, kv_weight, kv_bias), 2)
        if q.device.type == "cpu" and q.dtype == torch.bfloat16:
            x = ((q * self.scale) @ k.transpose(2, 3)).softmax(dim=3) @ v
        else:
            x = F.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """(batch, tokens, parts · width) → `parts` tensors (batch, heads, tokens, width / heads)."""
        return x.unflatten(2, (parts, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)


class TokenNorm(nn.LayerNorm):
    """LayerNorm in the precision of its input, also where autocast would take float32.

    Mean and variance are computed in float32 all the same.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, width) → the same."""
        with torch.autocast(x.device.type, enabled=False):
            weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
            return F.layer_norm(x, self.normalized_shape, weight, bias, self.eps)


class Encoder(nn.Module):
    """The distilled vision transformer of Touvron et al. 2021 (arXiv 2012.12877), without heads."""

    def __init__(self, width: int, heads: int, plain: bool) -> None:
        super().__init__()
        self.plain = plain
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.dist_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, SPECIAL_TOKENS + math.prod(GRID), width))
        self.patch_embed = PatchEmbedding(width)
        layer_norm = partial(nn.LayerNorm if plain else TokenNorm, eps=1e-6)
        attention = Attention if plain else SelfAttention
        self.blocks = nn.Sequential(
            *(Block(width, heads, qkv_bias=True, norm_layer=layer_norm, attn_layer=attention) for _ in range(DEPTH))
        )
        self.norm = layer_norm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 1, mels, frames) → class and distillation tokens (batch, 2, width)."""
        x = self.patch_embed(x)
        batch = x.shape[0]
        x = torch.cat([self.cls_token.expand(batch, -1, -1), self.dist_token.expand(batch, -1, -1), x], dim=1)
        x = x + self.pos_embed
        device = x.device.type
        if self.training and not self.plain and torch.is_autocast_enabled(device):
            # What the blocks add up stays in the lower precision too: half the memory traffic between
            # the products. In use it is added up in float32, which is nearer to the exact scores.
            x = x.to(torch.get_autocast_dtype(device))
        if self.plain:
            return self.norm(self.blocks(x)[:, :SPECIAL_TOKENS])
        # Of the last block's output only the special tokens are used: it need not compute the others.
        last = self.blocks[-1]
        x = self.blocks[:-1](x)
        x = x[:, :SPECIAL_TOKENS] + last.attn(last.norm1(x), queries=SPECIAL_TOKENS)
        return self.norm(x + last.mlp(last.norm2(x)))


class AST(TaggingModel):
    """A transformer over 12 × 49 patches; the mean of its two special tokens is classified.

    The input is normalised inside, as (x − mean) / (2·std) with the mean and the standard
    deviation of the training set, which `set_normalisation` must have given: they are not part
    of the state dict. Layer names are those of the authors' state dicts. Weights are random until
    `models.ast_weights.initialise_ast` or `models.weights.load_weights` sets them.

    Args:
        n_tags: number of tags.
        size: one of `models.AST_SIZES`.
        plain: compute all tokens of all blocks with timm's own attention.
    """

    name = "ast"
    pooling = "logits"
    needs_normalisation = True

    def __init__(self, n_tags: int, size: str = "base384", plain: bool = False) -> None:
        super().__init__(n_tags)
        self.size = size
        self.embedding_size = AST_ENCODERS[size].width
        self.v = Encoder(AST_ENCODERS[size].width, AST_ENCODERS[size].heads, plain)
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
        return self.mlp_head[0](tokens.mean(dim=1))

    def classify(self, embedding: Tensor) -> Tensor:
        return self.mlp_head[1](embedding)
