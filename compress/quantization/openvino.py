"""int8 for OpenVINO by NNCF: weights, tables and activations in 8 bits, the ranges set by texts of the task.

NNCF passes over in silence what it does not recognize, shared weights behind an Identity or a Transpose first of all; so
what it leaves is checked against the graph it was given.
"""

import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import nncf
import numpy as np
import openvino

from compress.artefacts import OPENVINO_FILE
from compress.converting import convert_classifier, list_constants, require_weights_once, written
from compress.encoder import Encoder, count_parameters, model_inputs
from compress.engines import Inputs
from compress.engines.openvino import OpenVinoEngine
from compress.errors import CompressError
from compress.parity import compare_answers
from compress.quantization.summary import KeptInFloat, QuantizationSummary

PARITY_BOUND = 0.5
"""Largest relative error of the logits on texts of the task.

Activations have one scale for all texts, set on those it was calibrated on; a broken graph shows 1 and more.
"""
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
    trial: Sequence[Inputs],
    parity_bound: float = PARITY_BOUND,
) -> QuantizationSummary:
    """Write a classifier as `directory/openvino_model.xml` and `.bin` in int8, shared weights once.

    Args:
        encoder: In fp32; it comes back as it was.
        directory: Where the files go.
        calibration: Batches `[B, L]` that set the ranges of activations.
        trial: Other batches, on which the result is compared with the model.
        parity_bound: Largest relative error of the logits on them.

    Raises:
        CompressError: A product or a table stayed in fp32, a shared weight was stored twice, or the logits are further
            from the model's than the bound.
    """
    graph = convert_classifier(encoder.model, model_inputs(encoder.tokenizer))
    products = count_products(graph, {"f32"})
    with _quiet():
        quantized = nncf.quantize(
            graph,
            nncf.Dataset([dict(inputs) for inputs in calibration]),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(calibration),
        )
    found = _require_quantized(quantized, products)
    require_weights_once(quantized, count_parameters(encoder.model) + _scale_bytes(quantized))
    with written(quantized, directory) as file:
        comparison = compare_answers(OpenVinoEngine(file).run, encoder.model, trial)
        if not comparison.relative_error <= parity_bound:  # NaN fails, too
            raise CompressError(
                f"int8 logits differ from the model's by {comparison.relative_error:.2f} of their size (root mean "
                f"square over texts in batches {comparison.shapes}); the bound is {parity_bound:g}.",
                "Calibrate on more texts (--samples 1024), or take --method dynamic-int8.",
            )
    target = directory / OPENVINO_FILE
    size = target.stat().st_size + target.with_suffix(".bin").stat().st_size
    activations = sum(node.get_type_name() == "FakeQuantize" for node in quantized.get_ops())
    more = {"quantized_activations": activations, "calibration_texts": sum(map(_rows, calibration))}
    return QuantizationSummary(size, found, _kept_in_float(quantized), comparison, more)


def count_products(graph: openvino.Model, types: frozenset[str] | set[str]) -> int:
    """How many products of a graph have a constant of one of these types as their second factor."""
    return len(_weights(graph, types))


def _weights(graph: openvino.Model, types: frozenset[str] | set[str]) -> list[openvino.Node]:
    found = []
    for node in graph.get_ops():
        if node.get_type_name() != "MatMul":
            continue
        weight = node.input_value(1).get_node()
        while weight.get_type_name() in PASSED:
            weight = weight.input_value(0).get_node()
        if weight.get_type_name() == "Constant" and weight.get_element_type().get_type_name() in types:
            found.append(weight)
    return found


def _require_quantized(quantized: openvino.Model, products: int) -> int:
    found = count_products(quantized, INTEGERS)
    left = {
        node.get_friendly_name(): node.data.nbytes
        for node in list_constants(quantized)
        if node.get_element_type().get_type_name() == "f32"
        and _is_matrix(node)
        and node.data.nbytes > SMALL_BYTES
    }
    if found != products or left:
        raise CompressError(
            f"Not all was quantized: {found} int8 products, expected {products}; matrices left in fp32: {left or 'none'}.",
            "Install the tested versions (constraints.txt); if it stays, report the architecture.",
        )
    return found


def _is_matrix(constant: openvino.Node) -> bool:
    return bool(sum(size > 1 for size in constant.get_output_shape(0)) > 1)


def _scale_bytes(graph: openvino.Model) -> int:
    """Bytes of the vectors in fp32: what is not counted among a byte a parameter."""
    return sum(
        node.data.nbytes
        for node in list_constants(graph)
        if node.get_element_type().get_type_name() == "f32" and not _is_matrix(node)
    )


def _kept_in_float(graph: openvino.Model) -> dict[str, KeptInFloat]:
    kept = {}
    for node in list_constants(graph):
        if node.get_element_type().get_type_name() != "f32" or np.prod(node.get_output_shape(0)) < 2:
            continue
        if _is_matrix(node):
            reason = f"matrices of at most {SMALL_BYTES} bytes"
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
