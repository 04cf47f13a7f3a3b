"""int8 for OpenVINO by NNCF: weights, tables and activations in 8 bits, the ranges set by texts of the task.

NNCF passes over in silence what it does not recognize, shared weights behind an Identity or a Transpose first of all; so
what it leaves is checked against the graph it was given.
"""

import io
import logging
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import nncf
import numpy as np
import openvino
from torch import nn

from compress.artefacts import OPENVINO_FILE
from compress.converting import convert_classifier, list_constants, require_weights_once, written
from compress.encoder import Encoder, count_parameters, model_inputs
from compress.engines import Inputs
from compress.engines.openvino import OpenVinoEngine
from compress.errors import CompressError
from compress.parity import compare_answers, require_parity
from compress.quantization.modules import require_some
from compress.quantization.sensitivity import Answer, Trial, choose_kept
from compress.quantization.summary import KEPT, KeptInFloat, QuantizationSummary
from compress.quantization.weights import SLOTS, ModulesByContent, Weight, users_of

PARITY_BOUND = 0.5
"""Largest relative error of the logits on texts of the task.

Activations have one scale for all texts, set on those it was calibrated on. MiniLM-L6 and two students of it,
trained on a task, show 0.07 to 0.11, a broken graph 1 and more.
"""
REMEDY = (
    "Calibrate on more texts (--samples 1024), let what hurts stay in full precision (--max-drop 0.01, or --keep MODULE), "
    "or take --method dynamic-int8."
)
SMALL_BYTES = 4096
"""A matrix up to this size may stay in fp32."""
INTEGERS = frozenset({"i8", "u8", "i4", "u4"})
PASSED = frozenset({"Convert", "Subtract", "Multiply", "Reshape", "Transpose", "FakeQuantize"})
"""What lies between a weight and the product that it is in."""


def quantize_openvino_int8(
    encoder: Encoder,
    directory: Path,
    *,
    calibration: Sequence[Inputs],
    batches: Sequence[Inputs],
    parity_bound: float = PARITY_BOUND,
    keep: Sequence[str] = (),
    trial: Trial | None = None,
) -> QuantizationSummary:
    """Write a classifier as `directory/openvino_model.xml` and `.bin` in int8, shared weights once.

    Args:
        encoder: In fp32; it comes back as it was.
        directory: Where the files go.
        calibration: Batches `[B, L]` that set the ranges of activations.
        batches: Others, on which the result is compared with the model.
        parity_bound: Largest relative error of the logits on them.
        keep: Modules that stay in fp32; `*` stands for any part of a name.
        trial: Where a score has to hold: what hurts it stays in fp32, too. Each attempt sets the ranges anew.

    Raises:
        InvalidInputError: `keep` names a module that is not there.
        CompressError: A product or a table stayed in fp32 that should not, a shared weight was stored twice, or the
            logits are further from the model's than the bound.
    """
    graph = convert_classifier(encoder.model, model_inputs(encoder.tokenizer))
    weights = find_weights(graph, encoder.model)

    def rewrite(kept: Collection[str]) -> openvino.Model:
        return _quantize(graph, calibration, ignored=users_of(weights, kept))

    modules = [weight.module for weight in weights]
    kept = choose_kept(modules, lambda names: _answer(rewrite(names)), keep=keep, trial=trial)
    require_some(modules, kept.modules)
    quantized = rewrite(kept.modules)
    spared = {weight.name for weight in weights if weight.module in kept.modules}
    products = _require_quantized(graph, quantized, spared)
    kept_bytes = sum(node.data.nbytes for node in list_constants(graph) if node.get_friendly_name() in spared)
    require_weights_once(quantized, count_parameters(encoder.model) + kept_bytes + _vector_bytes(quantized))
    with written(quantized, directory) as file:
        comparison = compare_answers(OpenVinoEngine(file).run, encoder.model, batches)
        require_parity(comparison, parity_bound, remedy=REMEDY)
    target = directory / OPENVINO_FILE
    size = target.stat().st_size + target.with_suffix(".bin").stat().st_size
    activations = sum(node.get_type_name() == "FakeQuantize" for node in quantized.get_ops())
    more = {"quantized_activations": activations, "calibration_texts": sum(map(_rows, calibration))}
    return QuantizationSummary(size, products, _kept_in_float(quantized), comparison, more | dict(kept.facts))


def _quantize(
    graph: openvino.Model, calibration: Sequence[Inputs], *, ignored: Sequence[str]
) -> openvino.Model:
    with _quiet():
        return nncf.quantize(
            graph.clone(),
            nncf.Dataset([dict(inputs) for inputs in calibration]),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(calibration),
            ignored_scope=nncf.IgnoredScope(names=list(ignored)) if ignored else None,
        )


def _answer(graph: openvino.Model) -> Answer:
    """What a graph in memory answers, by way of the file that it would be."""
    with tempfile.TemporaryDirectory(prefix="quantize-") as scratch, written(graph, Path(scratch)) as file:
        return OpenVinoEngine(file).run


def find_weights(graph: openvino.Model, model: nn.Module) -> tuple[Weight, ...]:
    """The weights of a graph in fp32 and the nodes that use them; a weight is known again by its numbers."""
    users: dict[str, list[openvino.Node]] = {}
    matrices: dict[str, openvino.Node] = {}
    for node in graph.get_ordered_ops():
        if node.get_type_name() in SLOTS:
            constant = _constant_behind(node, SLOTS[node.get_type_name()])
            if constant is not None:
                users.setdefault(constant.get_friendly_name(), []).append(node)
                matrices[constant.get_friendly_name()] = constant
    modules = ModulesByContent(model)
    claimed = {name: modules.claim(matrix.data) for name, matrix in matrices.items()}
    return tuple(
        Weight(
            name,
            module,
            is_table=users[name][0].get_type_name() == "Gather",
            nodes=tuple(node.get_friendly_name() for node in users[name]),
        )
        for name, module in claimed.items()
        if module is not None
    )


def count_products(graph: openvino.Model, types: Collection[str]) -> int:
    """How many products of a graph have a constant of one of these types as their second factor."""
    return len(_factors(graph, types))


def _factors(graph: openvino.Model, types: Collection[str]) -> list[openvino.Node]:
    products = [node for node in graph.get_ops() if node.get_type_name() == "MatMul"]
    constants = [_constant_behind(node, SLOTS["MatMul"]) for node in products]
    return [
        constant
        for constant in constants
        if constant is not None and constant.get_element_type().get_type_name() in types
    ]


def _constant_behind(node: openvino.Node, slot: int) -> openvino.Node | None:
    """The constant that an input is made of, if it is."""
    source = node.input_value(slot).get_node()
    while source.get_type_name() in PASSED:
        source = source.input_value(0).get_node()
    return source if source.get_type_name() == "Constant" else None


def _require_quantized(graph: openvino.Model, quantized: openvino.Model, spared: Collection[str]) -> int:
    """Refuse products and tables in fp32 whose constants were not to be spared; returns how many products are in int8.

    Names of constants last, their numbers do not: NNCF smooths what it leaves.
    """
    wanted = sum(factor.get_friendly_name() not in spared for factor in _factors(graph, {"f32"}))
    found = count_products(quantized, INTEGERS)
    left = {
        node.get_friendly_name(): node.data.nbytes
        for node in list_constants(quantized)
        if _is_float(node) and _is_matrix(node) and node.data.nbytes > SMALL_BYTES
    }
    left = {name: size for name, size in left.items() if name not in spared}
    if found != wanted or left:
        raise CompressError(
            f"Not all was quantized: {found} int8 products, expected {wanted}; matrices left in fp32: {left or 'none'}.",
            "Install the tested versions (constraints.txt); if it stays, report the architecture.",
        )
    return found


def _is_float(constant: openvino.Node) -> bool:
    return bool(constant.get_element_type().get_type_name() == "f32")


def _is_matrix(constant: openvino.Node) -> bool:
    return bool(sum(size > 1 for size in constant.get_output_shape(0)) > 1)


def _vector_bytes(graph: openvino.Model) -> int:
    """Bytes of the vectors in fp32: what is not counted among a byte a parameter."""
    constants = list_constants(graph)
    return sum(node.data.nbytes for node in constants if _is_float(node) and not _is_matrix(node))


def _kept_in_float(graph: openvino.Model) -> dict[str, KeptInFloat]:
    kept = {}
    for node in list_constants(graph):
        if not _is_float(node) or np.prod(node.get_output_shape(0)) < 2:
            continue
        if _is_matrix(node):
            small = node.data.nbytes <= SMALL_BYTES
            reason = f"matrices of at most {SMALL_BYTES} bytes" if small else KEPT
        else:
            reason = "biases, layer norms and scales: vectors, added and scaled in fp32"
        kept[node.get_friendly_name()] = KeptInFloat(node.data.nbytes, reason)
    return kept


def _rows(inputs: Inputs) -> int:
    return len(inputs["input_ids"])


@contextmanager
def _quiet() -> Iterator[None]:
    # It says at INFO what it does, and draws progress bars on stdout, which carries the command's result.
    logger = logging.getLogger("nncf")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(before)
