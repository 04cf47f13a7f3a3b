"""What a step of pretraining has to compute, counted; and how fast the machine multiplies, measured."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from tests.benchmarks.sessions import Take

REPETITIONS = 5
BACKWARD_AND_FORWARD = 3
"""A product has two factors, and each one's gradient is a product of its size."""
DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class Shape:
    """A batch as it is computed: padding included, `hidden` the words that are asked for."""

    texts: int
    length: int
    hidden: int


@dataclass(frozen=True)
class Trunk:
    """Forward operations of an encoder without heads: for L tokens, `linear`·L and the attention's `square`·L²."""

    linear: int
    square: int

    def count(self, shape: Shape) -> int:
        """Operations of one pass over a batch."""
        return shape.texts * (self.linear * shape.length + self.square * shape.length**2)


@dataclass(frozen=True)
class Step:
    """What an optimizer step of an objective multiplies.

    Attributes:
        config: The model's.
        objective: `mlm`, `nsp`, `sop` or `rtd`.
        generator: ELECTRA's configuration of it.
    """

    config: Any
    objective: str
    generator: Any = None

    @cached_property
    def trunks(self) -> list[Trunk]:
        """Of the model, and of the generator where there is one."""
        return [count_trunk(config) for config in (self.config, self.generator) if config is not None]

    def count(self, shape: Shape) -> int:
        """Operations of forward and backward over one batch; the optimizer's own, which multiplies nothing, left out.

        Dropout, norms, activations and look-ups are left out, too, as in `compress.flops`.
        """
        width = self.config.hidden_size
        found = sum(trunk.count(shape) for trunk in self.trunks)
        if self.objective == "rtd":
            found += 2 * shape.texts * shape.length * (width * width + width)  # asked of every token
            found += _count_guesses(self.generator, shape)
        else:
            found += _count_guesses(self.config, shape)
        if self.objective in ("nsp", "sop"):
            found += shape.texts * _count_text_head(self.config)
        return BACKWARD_AND_FORWARD * found


def count_trunk(config: Any) -> Trunk:
    """The operations of an encoder, from those of a classifier on one token and on two, less its head."""
    from compress.flops import count_flops

    head = _count_text_head(config)
    one, two = ((count_flops(config, batch=1, length=length) or 0) - head for length in (1, 2))
    square = (two - 2 * one) // 2
    return Trunk(one - square, square)


def _count_text_head(config: Any) -> int:
    """Pooler and answer on one text: in all four families a square layer and one of two outputs."""
    return 2 * (config.hidden_size**2 + config.hidden_size * config.num_labels)


def _count_guesses(config: Any, shape: Shape) -> int:
    """The MLM head on the hidden words: to the table's width, then against the table."""
    table = getattr(config, "embedding_size", config.hidden_size)
    return 2 * shape.hidden * (config.hidden_size * table + table * config.vocab_size)


def multiply(dtype: str, side: int) -> float:
    """The most GFLOP a second that a product of two square matrices reaches on this machine's device."""
    import torch

    from compress.environment import device

    left, right = (torch.randn(side, side, device=device()).to(getattr(torch, dtype)) for _ in range(2))
    seconds = []
    for _ in range(REPETITIONS):
        synchronize()
        before = time.perf_counter()
        left @ right
        synchronize()
        seconds.append(time.perf_counter() - before)
    return 2 * side**3 / min(seconds) / 1e9


def multiply_integers(side: int, *, threads: int) -> float:
    """The most GFLOP a second that a product of two square matrices of 8 bits reaches on the CPU, by ONNX Runtime's kernel."""
    import numpy as np
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    draw = np.random.default_rng(0)
    left = draw.integers(0, 256, (side, side), dtype=np.uint8)
    right = numpy_helper.from_array(draw.integers(-128, 128, (side, side), dtype=np.int8), "right")
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["left", "right"], ["product"])],
        "product",
        [helper.make_tensor_value_info("left", TensorProto.UINT8, [side, side])],
        [helper.make_tensor_value_info("product", TensorProto.INT32, [side, side])],
        [right],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    seconds = []
    for _ in range(REPETITIONS):
        before = time.perf_counter()
        session.run(None, {"left": left})
        seconds.append(time.perf_counter() - before)
    return 2 * side**3 / min(seconds) / 1e9


def synchronize() -> None:
    """Wait until the device has done what it was told."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def start_machine(sides: Sequence[int]) -> Take:
    """The machine itself: its best GFLOP a second over some sizes of matrices, in either precision."""
    return lambda: {dtype: max(map(partial(multiply, dtype), sides)) for dtype in DTYPES}
