"""What the three models have in common: mel-spectrogram chunks in, one logit a tag out."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from config import MODELS, SPECTROGRAM
from runtime.errors import DataError


class TaggingModel(nn.Module):
    """A network that tags chunks of mel-spectrograms.

    `forward` returns LOGITS for all models. The published CNNs end in a sigmoid; here it is not
    part of the network but applied outside (`scores`), so that the loss is computed from logits.
    That is the same function, and it stays accurate in bfloat16, where a sigmoid followed by the
    logarithm of the cross-entropy does not.

    Attributes:
        name: the model's name in `config.MODELS`.
        pooling: what is averaged over the chunks of a recording, "scores" or "logits" (the
            sigmoid is then applied to the average).
        embedding_size: length of the embedding, the input of the final layer.
        needs_normalisation: whether `set_normalisation` must be called before use.
        n_tags: number of tags.
        hold_batchnorm: keep BatchNorm in evaluation mode even while training.
    """

    name: ClassVar[str]
    pooling: ClassVar[str]
    needs_normalisation: ClassVar[bool] = False
    embedding_size: int

    def __init__(self, n_tags: int) -> None:
        super().__init__()
        self.n_tags = n_tags
        self.hold_batchnorm = False

    @property
    def input_frames(self) -> int:
        """Length of the chunks the model is trained on, in frames."""
        return MODELS[self.name].input_frames

    @property
    def final_layer(self) -> str:
        """Name of the layer that a transfer replaces, as in the state dict."""
        return MODELS[self.name].final_layer

    @property
    def min_frames(self) -> int:
        """The shortest input that the network can take, in frames."""
        return self.input_frames

    @property
    def max_frames(self) -> int | None:
        """The longest input that the network can take, in frames (None: any)."""
        return None

    @property
    def settings(self) -> dict[str, str]:
        """The keyword arguments of `build_model`, beside name and tags, that rebuild this model."""
        return {}

    def embed(self, x: Tensor) -> Tensor:
        """Activations of the penultimate layer, before dropout.

        Args:
            x: mel-spectrogram chunks in dB, float (batch, frames, mels).

        Returns:
            (batch, embedding_size).

        Raises:
            DataError: the input is too short or has another number of mel bands.
        """
        raise NotImplementedError

    def classify(self, embedding: Tensor) -> Tensor:
        """The final layer (and, while training, the dropout before it).

        Args:
            embedding: (batch, embedding_size).

        Returns:
            Logits (batch, n_tags).
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Logits of each tag: the published output BEFORE its sigmoid.

        Args:
            x: mel-spectrogram chunks in dB, float (batch, frames, mels).

        Returns:
            Logits (batch, n_tags).

        Raises:
            DataError: see `embed`.
        """
        return self.classify(self.embed(x))

    def scores(self, x: Tensor) -> Tensor:
        """Scores of each tag in [0, 1]: the sigmoid of `forward`, (batch, n_tags)."""
        return self(x).sigmoid()

    def train(self, mode: bool = True) -> TaggingModel:
        super().train(mode)
        if self.hold_batchnorm:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def _check_input(self, x: Tensor) -> None:
        if torch.compiler.is_compiling():  # shapes are checked before tracing; symbols cannot be compared
            return
        if x.ndim != 3 or x.shape[2] != SPECTROGRAM.n_mels:
            raise DataError(
                f"{self.name} takes spectrograms of shape (batch, frames, {SPECTROGRAM.n_mels}), not {tuple(x.shape)}"
            )
        frames = x.shape[1]
        if frames < self.min_frames:
            raise DataError(f"{self.name} needs at least {self.min_frames} frames, got {frames}; pad the chunk")
        if self.max_frames is not None and frames > self.max_frames:
            raise DataError(f"{self.name} takes at most {self.max_frames} frames, got {frames}; cut it into chunks")
