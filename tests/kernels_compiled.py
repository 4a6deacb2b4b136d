"""Compile the pooling kernels for an H100 (no GPU is needed) and print for each how it reads and writes memory."""

from __future__ import annotations

import re

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from models import pooling_kernels

H100 = GPUTarget("cuda", 90, 32)
HALVES, BYTES = ("x", "y", "dy", "dx", "peaks"), ("places",)
FLOATS = ("scale", "shift", "mean", "inverse", "factors", "shares")


def compiled(kernel: triton.JITFunction, **constants: int | bool) -> set[str]:
    """The machine's instructions that read and write device memory."""
    names = kernel.arg_names
    types = dict.fromkeys(HALVES, "*bf16") | dict.fromkeys(BYTES, "*u8") | dict.fromkeys(FLOATS, "*fp32")
    signature = {name: "constexpr" if name in constants else types.get(name, "i32") for name in names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(names) if name in types}
    values = {(names.index(name),): value for name, value in constants.items()}
    result = triton.compile(ASTSource(kernel, signature, values, aligned), target=H100)
    return set(re.findall(r"(?:ld|st)\.global\S*", result.asm["ptx"]))


def main() -> None:
    for channels, height, width in ((128, 2, 2), (512, 2, 2), (208, 62, 1)):  # of VGG-ish and of Musicnn
        cols, rows = pooling_kernels._block(channels)
        window = {"channels": channels, "height": height, "width": width, "ROWS": rows, "COLS": cols}
        for keep in (True, False):
            print(channels, "forward", *compiled(pooling_kernels._forward, **window, KEEP=keep))
        sizes = {"channels": channels, "ROWS": rows, "COLS": cols, "BLOCKS": 16}
        print(channels, "moments", *compiled(pooling_kernels._moments, **sizes))
        print(channels, "sums", *compiled(pooling_kernels._sums, **sizes))
        print(channels, "backward", *compiled(pooling_kernels._backward, **window | {"ROWS": 2 * rows}))


if __name__ == "__main__":
    main()
