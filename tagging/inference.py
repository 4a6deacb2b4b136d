"""A network rearranged to run fast on a CPU, which changes its results by no more than rounding."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models import TaggingModel
from models.vgg_ish import ConvBlock


def speed_up_on_cpu(model: TaggingModel) -> TaggingModel:
    """Fold VGG-ish's BatchNorms into its convolutions and lay its weights out channels last.

    That saves a pass over the large outputs of the first layers, and the convolutions need not
    rearrange them. The other models stay as they are.

    Args:
        model: in evaluation mode, on the CPU; changed in place and of no use for training afterwards.
    """
    blocks = [module for module in model.modules() if isinstance(module, ConvBlock)]
    for block in blocks:
        block.conv, block.bn = fuse_conv_bn_eval(block.conv, block.bn), nn.Identity()
    if blocks:
        model.to(memory_format=torch.channels_last)
    return model
