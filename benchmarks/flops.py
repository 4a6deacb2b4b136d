"""Floating-point operations of the networks, and how many of them a device can do."""

from __future__ import annotations

import statistics
import time

import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.timing import synchronise
from config import SPECTROGRAM
from models import build_model
from models.transfer import train_final_layer_only

MATRIX = {"cuda": 8192, "cpu": 2048, "mps": 4096}  # rows and columns: large enough for the full rate
BATCH = 2  # BatchNorm wants more than one chunk


def flops_per_chunk(model: str, what: str, n_tags: int = 50, ast_size: str = "base384") -> float:
    """Operations (a multiplication and an addition are two) one chunk takes.

    Counted in matrix products and convolutions of the network as it is written down, whichever
    way it is computed, so that a rearrangement that does more of them gains nothing by it.

    Args:
        model: "vgg_ish", "musicnn" or "ast".
        what: "training" (forward and backward), "final_layer" (forward, and backward through the
            final layer) or "evaluation" (forward).
        n_tags: number of tags.
        ast_size: size of AST.
    """
    with torch.device("meta"):  # shapes alone: nothing is computed
        network = build_model(model, n_tags, ast_size=ast_size, plain=True).train(what != "evaluation")
        crops = torch.empty(BATCH, network.input_frames, SPECTROGRAM.n_mels)
        targets = torch.empty(BATCH, n_tags)
    if network.needs_normalisation:
        network.set_normalisation(0.0, 1.0)
    if what == "final_layer":
        train_final_layer_only(network)
    with FlopCounterMode(display=False) as counter:
        if what == "evaluation":
            with torch.no_grad():
                network(crops)
        else:
            F.binary_cross_entropy_with_logits(network(crops), targets).backward()
    return counter.get_total_flops() / BATCH


def matrix_rate(device: torch.device, dtype: torch.dtype, rounds: int = 20) -> float:
    """Operations a second of a large matrix product, the median of several."""
    size = MATRIX[device.type]
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(rounds + 3):  # the first ones warm up
        synchronise(device)
        started = time.perf_counter()
        a @ b
        synchronise(device)
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / statistics.median(seconds[3:])
