"""Weights in blocks of a few bits: each block of neighbours in a row has a scale, and perhaps a zero point, of its own."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Bits = Literal[4, 8]
SCALE_BITS = 40
"""Of a block's scale and its zero point."""


@dataclass(frozen=True)
class Blocks:
    """A matrix in blocks.

    Attributes:
        codes: uint8, as the operator wants them: two to a byte in 4 bits, the first in the lower half.
        scales: fp32, one a block.
        zero_points: uint8, packed as the codes are; None where it is the middle of the range.
    """

    codes: NDArray[np.uint8]
    scales: NDArray[np.float32]
    zero_points: NDArray[np.uint8] | None


def fit_block(width: int, *, bits: Bits, block_size: int) -> int:
    """The size of a row's blocks that takes the fewest bytes, `block_size` at the most.

    Rows are padded to whole blocks: one of 312 takes 384 places in blocks of 128, and 320 in blocks of 64.
    """
    sizes = [size for size in (256, 128, 64, 32, 16) if size <= block_size]
    return min(sizes, key=lambda size: -(-width // size) * (size * bits + SCALE_BITS))


def table_bits(width: int, bits: Bits) -> Bits:
    """The bits of a table's numbers: an odd row of 4-bit codes has no bytes of its own."""
    return 8 if width % 2 else bits


def pack_product(matrix: NDArray[np.float32], *, bits: Bits, block_size: int, symmetric: bool) -> Blocks:
    """The second factor of a product, `[K, N]`, in blocks along K, for `MatMulNBits`: by ONNX Runtime's own kernel."""
    with _logging_as_it_was():
        from onnxruntime.quantization.matmul_nbits_quantizer import (
            DefaultWeightOnlyQuantConfig,
            DefaultWeightOnlyQuantizer,
        )
    config = DefaultWeightOnlyQuantConfig(block_size=block_size, is_symmetric=symmetric, bits=bits)
    codes, scales, zero_points = DefaultWeightOnlyQuantizer(config).qbits_block_quant(matrix)
    return Blocks(codes, scales, None if symmetric else zero_points)


def pack_table(table: NDArray[np.float32], *, bits: Bits, block_size: int, symmetric: bool) -> Blocks:
    """A table `[V, E]` in blocks along E, for `GatherBlockQuantized`: ONNX Runtime's own quantizer knows 4 bits only.

    A symmetric block's largest value has the end of the range, as in `MatMulNBits`.
    """
    rows, width = table.shape
    count = -(-width // block_size)
    padding = ((0, 0), (0, count * block_size - width))
    blocks = np.pad(table, padding).reshape(rows, count, block_size)
    middle, top = 2 ** (bits - 1), 2**bits - 1
    if symmetric:
        largest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=2, keepdims=True), axis=2)[..., 0]
        scales, zeros = largest / -middle, np.full((rows, count), middle)
    else:
        low, high = np.minimum(blocks.min(axis=2), 0), np.maximum(blocks.max(axis=2), 0)
        scales = (high - low) / top
        zeros = np.rint(-low / _nonzero(scales)).clip(0, top)
    codes = (np.rint(blocks / _nonzero(scales)[..., None]) + zeros[..., None]).clip(0, top)
    codes = codes.reshape(rows, count * block_size)[:, :width].astype(np.uint8)
    packed_zeros = None if symmetric else _pack(zeros.astype(np.uint8), bits)
    return Blocks(_pack(codes, bits), scales.astype(np.float32), packed_zeros)


@contextmanager
def _logging_as_it_was() -> Iterator[None]:
    """Undo what an import does to the root logger: ONNX Runtime's quantizer makes it print all libraries' chatter."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    try:
        yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers


def _nonzero(scales: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.where(scales == 0, 1, scales)  # a block of zeros


def _pack(codes: NDArray[np.uint8], bits: Bits) -> NDArray[np.uint8]:
    """Codes `[V, E]` as bytes `[V, ceil(E · bits / 8)]`."""
    if bits == 8:
        return codes
    even = np.pad(codes, ((0, 0), (0, codes.shape[1] % 2)))
    return even[:, ::2] | (even[:, 1::2] << np.uint8(4))
