"""The networks, their weights and what is trained of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.sizes import AST_SIZES, MUSICNN_LAYOUTS
from runtime.errors import UsageError

if TYPE_CHECKING:
    from models.base import TaggingModel

__all__ = ["AST_SIZES", "MUSICNN_LAYOUTS", "TaggingModel", "build_model"]


def __getattr__(name: str) -> Any:  # PyTorch takes seconds to import, and the scripts want `models.sizes` first
    if name != "TaggingModel":
        raise AttributeError(f"module 'models' has no attribute '{name}'")
    from models.base import TaggingModel

    return TaggingModel


def build_model(
    model: str, n_tags: int, *, musicnn_layout: str = "paper", ast_size: str = "base384", plain: bool = False
) -> TaggingModel:
    """A model with random weights.

    Args:
        model: "vgg_ish", "musicnn" or "ast"; the keywords of other models are ignored.
        n_tags: number of tags.
        musicnn_layout: one of `MUSICNN_LAYOUTS`, see `models.musicnn.Musicnn`.
        ast_size: one of `AST_SIZES`, see `models.ast.AST`.
        plain: without the rearrangements that make training faster (the same function).

    Raises:
        UsageError: one of the names is unknown.
    """
    if musicnn_layout not in MUSICNN_LAYOUTS:
        raise UsageError(f"unknown musicnn layout '{musicnn_layout}'; choose one of {', '.join(MUSICNN_LAYOUTS)}")
    if ast_size not in AST_SIZES:
        raise UsageError(f"unknown AST size '{ast_size}'; choose one of {', '.join(AST_SIZES)}")
    # Imported where needed: timm, which AST is made of, takes seconds to import.
    if model == "vgg_ish":
        from models.vgg_ish import VGGish

        return VGGish(n_tags, plain)
    if model == "musicnn":
        from models.musicnn import Musicnn

        return Musicnn(n_tags, musicnn_layout, plain)
    if model == "ast":
        from models.ast import AST

        return AST(n_tags, ast_size, plain)
    raise UsageError(f"unknown model '{model}'; choose vgg_ish, musicnn or ast")
