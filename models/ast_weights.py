"""Where AST starts from: ImageNet weights of a distilled DeiT, made to fit spectrograms.

The adaptation is that of Gong et al. 2021 (arXiv 2104.01778), section 2.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from models.ast import AST, GRID, PATCH, SPECIAL_TOKENS
from models.sizes import AST_ENCODERS
from models.tensor_files import load_tensors
from models.weights import load_weights, network_weights
from runtime.errors import CheckpointError

_PATCH_WEIGHT = "patch_embed.proj.weight"
_HEADS = ("head.", "head_dist.")


def initialise_ast(model: AST, init: str) -> None:
    """Give `model` its initial weights; its final layers stay random.

    Args:
        model: a new AST, changed in place.
        init: "imagenet" (weights of the model's size, downloaded by timm), "random" (leave the
            model as it was built), or the path of a file with weights of such a DeiT: `.pth` or
            `.pt`, the state dict itself or under "model", or `.safetensors`.

    Raises:
        CheckpointError: the download fails, or the file is missing, unreadable or of another network.
    """
    if init == "random":
        return
    if init == "imagenet":
        origin = AST_ENCODERS[model.size].timm_name
        deit = _download(origin)
    else:
        origin = init
        deit = _read(Path(init))
    encoder = {f"v.{name}": tensor for name, tensor in adapt_deit(network_weights(deit, origin), origin).items()}
    # The network's own heads are new: they complete the state dict for the strict check.
    heads = {f"mlp_head.{name}": tensor for name, tensor in model.mlp_head.state_dict().items()}
    load_weights(model, encoder | heads, origin=origin)


def adapt_deit(deit: Mapping[str, Tensor], origin: str) -> dict[str, Tensor]:
    """Weights of a distilled DeiT for images, changed to those of AST's encoder.

    The patch weights of the three colours are summed. The position embeddings, a square grid, are
    cut to its middle rows in frequency and interpolated linearly in time; those of the two special
    tokens are kept.

    Args:
        deit: tensors by timm's layer names; its classification heads are left out.
        origin: where they come from, for the error message.

    Returns:
        Tensors by the layer names of `models.ast.Encoder`.

    Raises:
        CheckpointError: these are not weights of a distilled DeiT with 16×16 patches.
    """
    encoder = {name: tensor for name, tensor in deit.items() if not name.startswith(_HEADS)}
    patches, positions = encoder.get(_PATCH_WEIGHT), encoder.get("pos_embed")
    side = 0 if positions is None or positions.ndim != 3 else math.isqrt(max(0, positions.shape[1] - SPECIAL_TOKENS))
    if (
        patches is None
        or patches.ndim != 4
        or tuple(patches.shape[1:]) != (3, PATCH, PATCH)
        or "dist_token" not in encoder
        or positions.shape[1] != SPECIAL_TOKENS + side**2
        or not GRID[0] <= side <= GRID[1]
    ):
        raise CheckpointError(
            f"{origin} does not hold weights of a distilled DeiT with {PATCH}×{PATCH} patches of RGB images;"
            " give one of those, or choose --ast_init random"
        )
    encoder[_PATCH_WEIGHT] = patches.sum(dim=1, keepdim=True)
    encoder["pos_embed"] = torch.cat(
        [positions[:, :SPECIAL_TOKENS], _fit_grid(positions[:, SPECIAL_TOKENS:], side)], dim=1
    )
    return encoder


def _fit_grid(positions: Tensor, side: int) -> Tensor:
    """(1, side², width) → (1, patches, width) for the grid of AST."""
    rows, columns = GRID
    grid = positions.reshape(1, side, side, -1).permute(0, 3, 1, 2)  # (1, width, rows, columns)
    first = side // 2 - rows // 2
    grid = grid[:, :, first : first + rows]
    grid = F.interpolate(grid, size=(rows, columns), mode="bilinear", align_corners=False)
    return grid.flatten(2).transpose(1, 2)


def _download(timm_name: str) -> dict[str, Tensor]:
    import timm

    try:
        return timm.create_model(timm_name, pretrained=True).state_dict()
    except Exception as error:  # each of the hub's transports has errors of its own
        reason = str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
        raise CheckpointError(
            f"cannot download the ImageNet weights {timm_name} ({reason}); try again where there is a network,"
            " give a local file of these weights to --ast_init, or start from --ast_init random"
        ) from error


def _read(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(
            f"no initial weights for AST at '{path}'; --ast_init takes imagenet, random or a .pth or .safetensors file"
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = load_tensors(path)
    except OSError:
        raise
    except CheckpointError as error:
        raise CheckpointError(f"cannot read the initial weights: {error}") from error
    except Exception as error:  # a damaged file surfaces as almost anything
        reason = type(error).__name__
        raise CheckpointError(f"cannot read the initial weights {path} ({reason}); download them again") from error
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        return content["model"]  # DeiT's own files
    return content
