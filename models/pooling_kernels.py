"""BatchNorm, max-pooling and ReLU in few passes, as Triton kernels for channels-last tensors.

Done one after another, the three read and write a layer's output a dozen times a training step,
and PyTorch's pooling of this layout keeps eight bytes of index for every two of a value. Here the
forward pass reads the layer's output once for its statistics and once for the rest, the backward
pass reads it once and writes its gradient once; where a maximum was is one byte.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

NOWHERE = tl.constexpr(255)  # the place of a maximum that ReLU cuts off
MOST_PLACES = 255  # in a window: their numbers, 0 to 254, are bytes
BLOCK = 1024  # values that a program holds at once
PROGRAMS = 1056  # that share a sum, at most: eight for each processor of an H100
SIZES = ("rows", "in_height", "in_width", "out_height", "out_width")  # not worth a compilation each


@triton.jit(do_not_specialize=SIZES)
def _moments(
    x, shares, rows, channels: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    """Over some blocks of x, the sums of x and of its square, both less the first x of the channel."""
    channel = tl.program_id(1) * COLS + tl.arange(0, COLS)
    there = channel < channels
    first = tl.load(x + channel, mask=there, other=0.0).to(tl.float32)[None, :]
    plain = tl.full((ROWS, COLS), 0.0, tl.float32)
    squared = tl.full((ROWS, COLS), 0.0, tl.float32)
    for block in range(BLOCKS):
        row = ((tl.program_id(0) * BLOCKS + block) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
        exists = (row < rows)[:, None] & there[None, :]
        value = tl.load(x + (row * channels)[:, None] + channel[None, :], mask=exists, other=0.0).to(tl.float32)
        value = tl.where(exists, value - first, 0.0)
        plain += value
        squared += value * value
    share = shares + tl.program_id(0) * 2 * channels + channel
    tl.store(share, tl.sum(plain, axis=0), mask=there)
    tl.store(share + channels, tl.sum(squared, axis=0), mask=there)


@triton.jit(do_not_specialize=SIZES)
def _forward(
    x, y, peaks, places, scale, shift, rows, in_height, in_width, out_height, out_width,
    channels: tl.constexpr, height: tl.constexpr, width: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
    KEEP: tl.constexpr,
):  # fmt: skip
    """For each window: ReLU of the greatest scale · x + shift; if to be kept, the x there and its place."""
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    channel = tl.program_id(1) * COLS + tl.arange(0, COLS)
    exists = (row < rows)[:, None] & (channel < channels)[None, :]
    image, position = row // (out_height * out_width), row % (out_height * out_width)
    top, left = position // out_width * height, position % out_width * width
    first = (((image * in_height + top) * in_width + left) * channels)[:, None] + channel[None, :]
    out = (row * channels)[:, None] + channel[None, :]
    by = tl.load(scale + channel, mask=channel < channels, other=0.0)[None, :]
    to = tl.load(shift + channel, mask=channel < channels, other=0.0)[None, :]
    most = tl.full((ROWS, COLS), float("-inf"), tl.float32)
    peak = tl.full((ROWS, COLS), 0.0, tl.float32)
    place = tl.full((ROWS, COLS), 0, tl.int32)
    for i in tl.range(height, loop_unroll_factor=4):  # reads more at once, which tall windows wait for
        for j in tl.static_range(width):
            raw = tl.load(x + first + (i * in_width + j) * channels, mask=exists, other=0.0).to(tl.float32)
            value = raw * by + to
            better = (value > most) | (value != value)  # NaN stays NaN
            most = tl.where(better, value, most)
            peak = tl.where(better, raw, peak)
            place = tl.where(better, i * width + j, place)
    cut = most <= 0
    tl.store(y + out, tl.where(cut, 0.0, most).to(y.dtype.element_ty), mask=exists)
    if KEEP:
        tl.store(places + out, tl.where(cut, NOWHERE, place).to(tl.uint8), mask=exists)
        tl.store(peaks + out, peak.to(peaks.dtype.element_ty), mask=exists)


@triton.jit(do_not_specialize=SIZES)
def _sums(
    dy, places, peaks, mean, inverse, shares, rows,
    channels: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    """Over some blocks of outputs, the sums of dy and of dy times the normalised x, where ReLU let it pass."""
    channel = tl.program_id(1) * COLS + tl.arange(0, COLS)
    there = channel < channels
    middle = tl.load(mean + channel, mask=there, other=0.0)[None, :]
    by = tl.load(inverse + channel, mask=there, other=0.0)[None, :]
    plain = tl.full((ROWS, COLS), 0.0, tl.float32)
    weighted = tl.full((ROWS, COLS), 0.0, tl.float32)
    for block in range(BLOCKS):
        row = ((tl.program_id(0) * BLOCKS + block) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
        out = (row * channels)[:, None] + channel[None, :]
        exists = (row < rows)[:, None] & there[None, :]
        place = tl.load(places + out, mask=exists, other=NOWHERE).to(tl.int32)
        gradient = tl.load(dy + out, mask=exists, other=0.0).to(tl.float32)
        gradient = tl.where(place == NOWHERE, 0.0, gradient)
        plain += gradient
        weighted += gradient * (tl.load(peaks + out, mask=exists, other=0.0).to(tl.float32) - middle) * by
    share = shares + tl.program_id(0) * 2 * channels + channel
    tl.store(share, tl.sum(plain, axis=0), mask=there)
    tl.store(share + channels, tl.sum(weighted, axis=0), mask=there)


@triton.jit(do_not_specialize=SIZES)
def _backward(
    dy, places, x, dx, factors, rows, in_height, in_width, out_height, out_width,
    channels: tl.constexpr, height: tl.constexpr, width: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """For each x: dy of its window if it was the maximum, taken through the normalisation.

    `factors` are what dy and x are multiplied by, and what is then added.
    """
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    channel = tl.program_id(1) * COLS + tl.arange(0, COLS)
    there = channel < channels
    exists = (row < rows)[:, None] & there[None, :]
    image, position = row // (in_height * in_width), row % (in_height * in_width)
    top, left = position // in_width, position % in_width
    covered = (top < out_height * height) & (left < out_width * width)  # the rest is in no window
    out = ((image * out_height + top // height) * out_width + left // width) * channels
    out = out[:, None] + channel[None, :]
    number = (top % height * width + left % width)[:, None]
    seen = exists & covered[:, None]
    place = tl.load(places + out, mask=seen, other=NOWHERE).to(tl.int32)
    gradient = tl.load(dy + out, mask=seen, other=0.0).to(tl.float32)
    gradient = tl.where(place == number, gradient, 0.0)
    own = (row * channels)[:, None] + channel[None, :]
    of_gradient = tl.load(factors + channel, mask=there, other=0.0)[None, :]
    of_x = tl.load(factors + channels + channel, mask=there, other=0.0)[None, :]
    added = tl.load(factors + 2 * channels + channel, mask=there, other=0.0)[None, :]
    value = tl.load(x + own, mask=exists, other=0.0).to(tl.float32)
    gradient = of_gradient * gradient + (of_x * value + added)
    tl.store(dx + own, gradient.to(dx.dtype.element_ty), mask=exists)


class BatchNormMaxPoolReLU(torch.autograd.Function):
    """`relu(max_pool2d(batch_norm(x + offset), window))` with the statistics of the batch, which are given.

    BatchNorm takes away what the offset, a number for each channel, adds: it need not be added, and its
    gradient is zero. The first of equal maxima gets the gradient.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x: Tensor,
        offset: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        inverse: Tensor,
        window: tuple[int, int],
    ) -> Tensor:
        """The pooled values.

        Args:
            x: (batch, channels, height, width).
            offset, weight, bias: (channels,) float32; the last two are BatchNorm's.
            mean, inverse: (channels,) float32, mean of x and inverse of its standard deviation.
            window: height and width of the windows, which do not overlap.
        """
        x = x.contiguous(memory_format=torch.channels_last)
        scale = weight * inverse
        shift = torch.addcmul(bias, mean, scale, value=-1)
        y, peaks, places = _pooled(x, scale, shift, window, keep=any(ctx.needs_input_grad))
        ctx.save_for_backward(x, peaks, places, scale, mean, inverse)
        ctx.window = window
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, dy: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of x, offset, weight and bias."""
        x, peaks, places, scale, mean, inverse = ctx.saved_tensors
        dy = dy.contiguous(memory_format=torch.channels_last)
        height, width = ctx.window
        batch, channels, in_height, in_width = x.shape
        rows = dy.numel() // channels
        shares, grid, sizes = _shares(dy, rows, channels)
        with torch.cuda.device_of(dy):
            _sums[grid](dy, places, peaks, mean, inverse, shares, rows, **sizes)
        sums = shares.sum(dim=0)

        rows = batch * in_height * in_width
        of_x = -scale * inverse * sums[1] / rows
        factors = torch.stack([scale, of_x, -scale * sums[0] / rows - of_x * mean])
        dx = torch.empty_like(x, memory_format=torch.channels_last)
        cols, block = _block(channels, 2 * BLOCK)
        with torch.cuda.device_of(dy):
            _backward[triton.cdiv(rows, block), triton.cdiv(channels, cols)](
                dy, places, x, dx, factors, rows, in_height, in_width, in_height // height, in_width // width,
                channels=channels, height=height, width=width, ROWS=block, COLS=cols,
            )  # fmt: skip
        return dx, torch.zeros_like(mean), sums[1], sums[0], None, None, None


def mean_and_variance(x: Tensor) -> tuple[Tensor, Tensor]:
    """Of each channel of x, (batch, channels, height, width): (channels,) float32. The variance is the biased one."""
    x = x.contiguous(memory_format=torch.channels_last)
    channels = x.shape[1]
    rows = x.numel() // channels
    shares, grid, sizes = _shares(x, rows, channels)
    with torch.cuda.device_of(x):
        _moments[grid](x, shares, rows, **sizes)
    plain, squared = shares.sum(dim=0) / rows
    return x[0, :, 0, 0].float() + plain, (squared - plain.square()).clamp(min=0)


def max_pool_relu(x: Tensor, scale: Tensor, shift: Tensor, window: tuple[int, int]) -> Tensor:
    """`relu(max_pool2d(scale * x + shift, window))`, without gradients; arguments as in `BatchNormMaxPoolReLU`."""
    y, _, _ = _pooled(x.contiguous(memory_format=torch.channels_last), scale, shift, window, keep=False)
    return y


def _block(channels: int, values: int = BLOCK) -> tuple[int, int]:
    """Channels and rows of a block of so many values."""
    cols = min(triton.next_power_of_2(channels), 256)
    return cols, values // cols


def _shares(like: Tensor, rows: int, channels: int) -> tuple[Tensor, tuple[int, int], dict[str, int]]:
    """Where programs put their shares of two sums over rows, (programs, 2, channels); their grid and sizes."""
    cols, block = _block(channels)
    blocks = triton.next_power_of_2(triton.cdiv(rows, block * PROGRAMS))
    programs = triton.cdiv(rows, block * blocks)
    shares = like.new_empty((programs, 2, channels), dtype=torch.float32)
    sizes = {"channels": channels, "ROWS": block, "COLS": cols, "BLOCKS": blocks}
    return shares, (programs, triton.cdiv(channels, cols)), sizes


def _pooled(
    x: Tensor, scale: Tensor, shift: Tensor, window: tuple[int, int], keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The result; and, if they are to be kept, the x and the places of the maxima."""
    batch, channels, in_height, in_width = x.shape
    height, width = window
    out_height, out_width = in_height // height, in_width // width
    shape = (batch, channels, out_height, out_width)
    y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    peaks = torch.empty_like(y) if keep else y
    places = torch.empty_like(y, dtype=torch.uint8) if keep else y
    rows = batch * out_height * out_width
    cols, block = _block(channels)
    with torch.cuda.device_of(x):
        _forward[triton.cdiv(rows, block), triton.cdiv(channels, cols)](
            x, y, peaks, places, scale, shift, rows, in_height, in_width, out_height, out_width,
            channels=channels, height=height, width=width, ROWS=block, COLS=cols, KEEP=keep,
        )  # fmt: skip
    return y, peaks, places
