"""Numbers rounded as an artefact will hold them, and back in fp32; gradients pass as if nothing had been rounded."""

import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor

from compress.quantization.blocks import Bits

SMALLEST_SCALE = torch.finfo(torch.float32).tiny
"""Of what is all zeros."""


def round_channels(weight: Tensor, *, per_channel: bool, top: int = 127) -> Tensor:
    """A weight `[N, K]` in -top … top, a scale for each output or one for all."""
    flat = weight if per_channel else weight.reshape(1, -1)
    largest = flat.detach().abs().amax(1)
    zeros = torch.zeros_like(largest, dtype=torch.int32)
    rounded = torch.fake_quantize_per_channel_affine(flat, _scale(largest / top), zeros, 0, -top, top)
    return rounded.reshape(weight.shape)


def round_range(numbers: Tensor, whole: Tensor) -> Tensor:
    """Numbers of any shape in 0 … 255 between the least and the largest of a whole that they are of."""
    low, high = whole.detach().aminmax()
    low, high = low.float().clamp(max=0), high.float().clamp(min=0)
    scale = _scale((high - low) / 255)
    zero = (-low / scale).round().clamp(0, 255).to(torch.int32)
    return torch.fake_quantize_per_tensor_affine(numbers.float(), scale, zero, 0, 255)


def round_blocks(rows: Tensor, *, bits: Bits, block_size: int, symmetric: bool) -> Tensor:
    """Rows `[..., K]` in blocks along K, as `pack_table` and ONNX Runtime's kernel make them of weights."""
    blocks = _blocks(rows, block_size)
    seen = blocks.detach()
    middle, top = 2 ** (bits - 1), 2**bits - 1
    if symmetric:
        largest = seen.gather(1, seen.abs().argmax(1, keepdim=True))[:, 0]
        scale = _scale(largest / -middle)
        zero = torch.full_like(scale, middle, dtype=torch.int32)
    else:
        low, high = seen.amin(1).clamp(max=0), seen.amax(1).clamp(min=0)
        scale = _scale((high - low) / top)
        zero = (-low / scale).round().clamp(0, top).to(torch.int32)
    return _unblock(torch.fake_quantize_per_channel_affine(blocks, scale, zero, 0, 0, top), rows)


def round_activations(rows: Tensor, *, block_size: int) -> Tensor:
    """Rows `[..., K]` in blocks of -127 … 127 along K, as ONNX Runtime makes them of what packed weights multiply."""
    blocks = _blocks(rows, block_size)
    return _unblock(round_channels(blocks, per_channel=True), rows)


def _blocks(rows: Tensor, size: int) -> Tensor:
    """Rows `[..., K]` as `[B, size]`, padded with zeros."""
    missing = -rows.shape[-1] % size
    return F.pad(rows.float(), (0, missing)).reshape(-1, size)


def _unblock(blocks: Tensor, like: Tensor) -> Tensor:
    width = like.shape[-1]
    return blocks.reshape(*like.shape[:-1], -1)[..., :width]


def _scale(scale: Tensor) -> Tensor:
    return torch.where(scale == 0, SMALLEST_SCALE, scale)
