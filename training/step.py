"""One step of training: forward pass, backward pass, optimiser."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from runtime.cuda_graphs import Recorder
from runtime.devices import Precision
from runtime.errors import GraphError, out_of_memory

WARM_UP = 3  # whole batches launched before one is recorded: libraries prepare themselves in the first


class TrainingStep:
    """Takes steps with one network; to be called with a batch.

    With a recorder, forward and backward pass of whole batches are recorded once and replayed. The
    optimiser is always launched: it changes from phase to phase, and takes few launches.

    Args:
        network: in training mode, on its device.
        precision: of the forward pass.
        batch_size: recordings of a whole batch; steps with others are launched.
        recorder: None to launch every step.
    """

    def __init__(
        self, network: nn.Module, precision: Precision, batch_size: int = 0, recorder: Recorder | None = None
    ) -> None:
        self.network, self.precision, self.batch_size, self.recorder = network, precision, batch_size, recorder
        self.parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.warmed_up = 0
        self.replay: Callable[[], None] | None = None
        self.crops = self.targets = self.loss = torch.empty(0)  # where the recording reads and writes
        self.gradients: list[Tensor | None] = []

    def __call__(
        self, optimizer: Optimizer, crops: Tensor, targets: Tensor, average_share: float | None = None
    ) -> Tensor:
        """One step of the optimiser on a batch.

        Args:
            optimizer: of the network's trainable parameters.
            crops: (batch, frames, 128) dB.
            targets: (batch, tags), 0 or 1, float32.
            average_share: what the sum of the recordings' losses is divided by: as many as there are
                (None), or, where several processes average their gradients, the average share of one.

        Returns:
            The sum over recordings of the binary cross-entropy before the step, a scalar on the
            device; valid until the next step.

        Raises:
            GraphError: the step cannot be recorded; the process should not be used any further.
        """
        if self.recorder is None:
            return self._launch(optimizer, crops, targets, average_share or len(crops))
        whole = len(crops) == self.batch_size
        if not whole or self.warmed_up < WARM_UP:
            self.warmed_up += whole
            with self.recorder.beside():
                return self._launch(optimizer, crops, targets, len(crops))
        if self.replay is None:
            self._record(crops, targets)
        self.crops.copy_(crops)
        self.targets.copy_(targets)
        self.replay()
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient  # those of a launched step are elsewhere
        optimizer.step()
        return self.loss

    def _launch(self, optimizer: Optimizer, crops: Tensor, targets: Tensor, divisor: float) -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = self._gradients(crops, targets, divisor)
        optimizer.step()
        return loss

    def _gradients(self, crops: Tensor, targets: Tensor, divisor: float) -> Tensor:
        """Forward and backward pass: the loss as `__call__` returns it, the gradients in the parameters."""
        with self.precision.autocast():
            logits = self.network(crops)
        losses = F.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none").mean(dim=1)
        loss = losses.sum()
        (loss / divisor).backward()
        return loss.detach()

    def _record(self, crops: Tensor, targets: Tensor) -> None:
        self.crops, self.targets = crops.clone(), targets.clone()
        for parameter in self.parameters:
            parameter.grad = None  # the recording makes its own
        try:
            self.loss, self.replay = self.recorder.record(
                lambda: self._gradients(self.crops, self.targets, self.batch_size)
            )
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            reason = str(error).partition("\n")[0]
            message = f"the training step cannot be recorded as a CUDA graph ({reason}); go on with --no_graph"
            raise GraphError(message) from error
        self.gradients = [parameter.grad for parameter in self.parameters]
