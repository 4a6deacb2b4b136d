"""Layers that look at a whole batch, for a batch whose rows are spread over several processes.

BatchNorm normalises by all rows, and dropout draws one mask for them. With these two in step, a
network trained by several processes computes what it would compute in one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm


class SharedBatchNorm(_BatchNorm):
    """BatchNorm over the rows of all processes, on CPUs; for GPUs PyTorch has SyncBatchNorm."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass  # any number of axes behind the channels

    def forward(self, x: Tensor) -> Tensor:
        """(rows, channels, …) → the same shape; a process may have no row."""
        if not self.training:
            return super().forward(x)
        axes = [axis for axis in range(x.ndim) if axis != 1]
        shape = [1, -1, *[1] * (x.ndim - 2)]
        wide = x if x.dtype == torch.float64 else x.float()
        count = all_reduce(torch.tensor(float(x.numel() // x.shape[1]), dtype=wide.dtype))
        mean = all_reduce(wide.sum(axes)) / count
        centred = wide - mean.view(shape)
        variance = all_reduce(centred.square().sum(axes)) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale.view(shape) + self.bias.view(shape)).to(x.dtype)


class SharedDropout(nn.Dropout):
    """Dropout that draws the mask of the whole batch in every process and uses the process' own rows.

    On CPUs the draws are those of `torch.nn.Dropout`; on GPUs they are others of the same kind.
    """

    def __init__(self, p: float, place: BatchPlace) -> None:
        super().__init__(p)
        self.place = place

    def forward(self, x: Tensor) -> Tensor:
        """(rows, …) → the same shape."""
        if not self.training or self.p == 0.0:
            return x
        kept = torch.empty((self.place.rows, *x.shape[1:]), dtype=torch.bool, device=x.device).bernoulli_(1 - self.p)
        return x * kept[self.place.share] / (1 - self.p)


class BatchPlace:
    """Where this process' rows stand in the batch under way; the training loop says so before each."""

    def __init__(self) -> None:
        self.rows, self.share = 0, slice(0)


def share_batches(network: nn.Module, place: BatchPlace) -> None:
    """Put layers for a spread batch in place of BatchNorm and dropout; names and weights stay the same.

    Args:
        network: changed in place; on the device it is trained on.
        place: told where the rows stand.
    """
    for name, module in list(network.named_children()):
        if isinstance(module, nn.Dropout):
            setattr(network, name, SharedDropout(module.p, place).train(module.training))
        elif isinstance(module, _BatchNorm):
            on_gpu = module.weight.device.type == "cuda"
            setattr(network, name, nn.SyncBatchNorm.convert_sync_batchnorm(module) if on_gpu else _shared(module))
        else:
            share_batches(module, place)


def _shared(module: _BatchNorm) -> SharedBatchNorm:
    shared = SharedBatchNorm(module.num_features, eps=module.eps, momentum=module.momentum)
    shared.load_state_dict(module.state_dict())
    for mine, its in zip(shared.parameters(), module.parameters(), strict=True):
        mine.requires_grad_(its.requires_grad)
    return shared.to(module.weight).train(module.training)
