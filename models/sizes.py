"""The variants a model can be built in. Kept apart from the models, whose imports take seconds."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

MUSICNN_LAYOUTS = ("paper", "published")


class ASTSize(NamedTuple):
    """Width and attention heads of a distilled DeiT, and its name in timm."""

    width: int
    heads: int
    timm_name: str


AST_ENCODERS: Mapping[str, ASTSize] = MappingProxyType(
    {
        "tiny224": ASTSize(192, 3, "deit_tiny_distilled_patch16_224"),
        "small224": ASTSize(384, 6, "deit_small_distilled_patch16_224"),
        "base224": ASTSize(768, 12, "deit_base_distilled_patch16_224"),
        "base384": ASTSize(768, 12, "deit_base_distilled_patch16_384"),
    }
)

AST_SIZES = tuple(AST_ENCODERS)
