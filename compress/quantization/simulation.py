"""A model computes as if it were quantized already: to learn to answer so, and to say what an artefact has to answer.

The first is quantization-aware training. Weights stay in fp32 and are rounded each time they are used, as the method will round them afterwards; gradients pass
the rounding as if it were none (the straight-through estimator: Jacob et al. 2018, section 3; of BERT: Zafrir et al.
2019, Q8BERT). What a method leaves as it is, attention's products among it, is left here, too.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, singledispatch

import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor, nn

from compress.environment import UNSATURATED_INT8
from compress.quantization.blocks import fit_block, table_bits
from compress.quantization.rounding import round_activations, round_blocks, round_channels, round_range
from compress.quantization.weights import match_modules
from compress.recipes.quantization import DynamicInt8, Method, PackedInt4, PackedInt8


@dataclass(frozen=True)
class Rounding:
    """What a method does to numbers; each function gives a tensor of the shape that it takes first.

    Attributes:
        weight: To a layer's weight `[N, K]`.
        rows: To rows `[..., E]` that were looked up, the second, in a table `[V, E]`.
        activation: To what a weight is multiplied by, `[..., K]`.
    """

    weight: Callable[[Tensor], Tensor]
    rows: Callable[[Tensor, Tensor], Tensor]
    activation: Callable[[Tensor], Tensor]


@contextmanager
def simulating(model: nn.Module, method: Method | None) -> Iterator[None]:
    """Let a model's layers and tables compute as a method would have them; None changes nothing.

    A module that several layers share is one. Parameters keep their names, so that checkpoints are the model's own.

    Raises:
        InvalidInputError: The method keeps a module that is not there.
    """
    rounded = _give_rounding(model, method) if method else []
    try:
        yield
    finally:
        for module in rounded:
            del module.forward  # its class's is seen again


@singledispatch
def rounding_of(method: Method) -> Rounding:
    """What a method does to numbers; each method that can be trained for registers its own."""
    raise NotImplementedError(f"{method.kind} is not simulated")


@rounding_of.register
def _dynamic(method: DynamicInt8) -> Rounding:
    return Rounding(
        weight=partial(
            round_channels,
            per_channel=method.per_channel,
            top=UNSATURATED_INT8 if method.reduce_range else 127,
        ),
        rows=round_range,
        activation=lambda activation: round_range(activation, activation),
    )


@rounding_of.register
def _packed(method: PackedInt8 | PackedInt4) -> Rounding:
    def size_of(tensor: Tensor) -> int:
        return fit_block(tensor.shape[-1], bits=method.bits, block_size=method.block_size)

    def round_weight(weight: Tensor) -> Tensor:
        return round_blocks(weight, bits=method.bits, block_size=size_of(weight), symmetric=method.symmetric)

    def round_rows(rows: Tensor, _: Tensor) -> Tensor:
        held = table_bits(rows.shape[-1], method.bits)
        return round_blocks(rows, bits=held, block_size=method.block_size, symmetric=method.symmetric)

    def round_activation(activation: Tensor) -> Tensor:
        exact = method.activations == "float32"
        return activation if exact else round_activations(activation, block_size=size_of(activation))

    return Rounding(round_weight, round_rows, round_activation)


def _give_rounding(model: nn.Module, method: Method) -> list[nn.Module]:
    """Have the modules that a method rounds compute so; those are returned."""
    found = {
        name: module for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Embedding)
    }
    kept, rounding = match_modules(getattr(method, "keep", ()), list(found)), rounding_of(method)
    rounded = [module for name, module in found.items() if name not in kept]
    for module in rounded:
        if isinstance(module, nn.Embedding):
            module.forward = partial(_look_up, module, rounding)  # type: ignore[method-assign]
        else:
            module.forward = partial(_multiply, module, rounding)  # type: ignore[method-assign]
    return list(rounded)


def _multiply(module: nn.Linear, rounding: Rounding, activation: Tensor) -> Tensor:
    return F.linear(rounding.activation(activation), rounding.weight(module.weight), module.bias)


def _look_up(module: nn.Embedding, rounding: Rounding, ids: Tensor) -> Tensor:
    return rounding.rows(F.embedding(ids, module.weight, module.padding_idx), module.weight)
