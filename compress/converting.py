"""A classifier as OpenVINO's two files, by way of our ONNX graph: what was folded and narrowed there stays so.

The graph is read by OpenVINO itself and not by its `convert_model`, which adds nothing to it that we need.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import openvino
from transformers import PreTrainedModel

from compress.artefacts import ONNX_FILE, OPENVINO_FILE
from compress.encoder import count_parameters
from compress.engines.openvino import PRECISION, OpenVinoEngine
from compress.errors import CompressError
from compress.exporting import FLOAT_TOLERANCE, export_onnx
from compress.parity import compare_answers, random_batches

SMALL_CONSTANTS = 65_536
"""Bytes that a file may hold beyond the model's parameters: shapes, masks' values, scales of weights in fewer bits."""


def export_openvino(model: PreTrainedModel, directory: Path, *, input_names: Sequence[str]) -> None:
    """Write a sequence classifier as `openvino_model.xml` and `.bin`, in fp32, shared weights once.

    The graph takes `input_names` (int64, `[B, L]`, any batch and length) and gives `logits` (float32, `[B, C]`). The
    files are compared with the model before they have their names. The model comes back as it was.

    Args:
        model: Weights in fp32.
        directory: Where the files go; made if need be.
        input_names: What the model's tokenizer makes.

    Raises:
        CompressError: The model cannot be exported, shared weights were written twice, or files and model disagree.
    """
    graph = convert_classifier(model, input_names)
    require_weights_once(graph, 4 * count_parameters(model))
    with written(graph, directory) as file:
        comparison = compare_answers(
            OpenVinoEngine(file).run, model, random_batches(model.config, input_names)
        )
        limit = FLOAT_TOLERANCE * max(1.0, comparison.scale)
        if not comparison.max_difference <= limit:  # NaN fails, too
            raise CompressError(
                f"OpenVINO's logits differ from the model's by {comparison.max_difference:.2g} (expected at most {limit:.2g}).",
                "Install the tested versions (constraints.txt); if it stays, report the architecture.",
            )


def convert_classifier(model: PreTrainedModel, input_names: Sequence[str]) -> openvino.Model:
    """A classifier as OpenVINO's graph in memory, to be computed in fp32 wherever it is loaded."""
    with tempfile.TemporaryDirectory(prefix="export-") as scratch:
        source = Path(scratch) / ONNX_FILE
        export_onnx(model, source, input_names=input_names)
        graph = openvino.Core().read_model(source).clone()  # which owns its weights: the file goes
    graph.set_rt_info("f32", PRECISION)
    return graph


def require_weights_once(graph: openvino.Model, expected: int) -> None:
    """Refuse a graph whose distinct constants take more bytes than a model's parameters would.

    Args:
        graph: What was made of the model.
        expected: Bytes of the parameters, each once.

    Raises:
        CompressError: It is such a graph.
    """
    constants = {constant.data.tobytes() for constant in list_constants(graph)}  # equal ones are written once
    held = sum(map(len, constants))
    if held > expected + SMALL_CONSTANTS:
        raise CompressError(
            f"The graph holds {held} bytes of constants, the model's parameters take {expected}: shared weights were "
            "written more than once.",
            "Install the tested versions (constraints.txt); if it stays, report the architecture.",
        )


def list_constants(graph: openvino.Model) -> list[openvino.Node]:
    """The constants of a graph."""
    return [node for node in graph.get_ops() if node.get_type_name() == "Constant"]


@contextmanager
def written(graph: openvino.Model, directory: Path) -> Iterator[Path]:
    """Write a graph's two files under names of their own, which become theirs where nothing was raised within.

    Yields:
        The `.xml` file, to be tried.
    """
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / OPENVINO_FILE
    file = target.with_name(f".{os.getpid()}.{target.name}")
    weights = file.with_suffix(".bin")
    try:
        openvino.save_model(graph, file, compress_to_fp16=False)
        yield file
        weights.replace(target.with_suffix(".bin"))
        file.replace(target)
    finally:
        file.unlink(missing_ok=True)
        weights.unlink(missing_ok=True)
