"""Static int8 for ONNX Runtime: activations are quantized by scales that texts of the task have set beforehand.

Only products with weights are quantized. With sums and look-ups in 8 bits as well the logits break.
"""

import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.calibrate import CalibrationDataReader
from transformers import PreTrainedModel

from compress.engines import Inputs
from compress.quantization.onnx import Exported, write_quantized
from compress.quantization.packed import pack_tables
from compress.quantization.sensitivity import Trial
from compress.quantization.summary import QuantizationSummary

PARITY_BOUND = 0.5
"""Largest relative error of the logits by default, on texts of the task: on others the scales are not meant.

MiniLM-L6 and two students of it, trained on a task, show 0.03 to 0.04.
"""

TABLE_BLOCK = 128
"""Numbers of a table's row that share a scale."""

FORMATS = {"qdq": QuantFormat.QDQ, "operator": QuantFormat.QOperator}
RANGES = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}


def quantize_static_int8(
    model: PreTrainedModel,
    directory: Path,
    *,
    input_names: Sequence[str],
    calibration: Sequence[Inputs],
    batches: Sequence[Inputs],
    per_channel: bool = True,
    reduce_range: bool | None = None,
    graph: Literal["qdq", "operator"] = "qdq",
    ranges: Literal["minmax", "entropy", "percentile"] = "minmax",
    parity_bound: float = PARITY_BOUND,
    keep: Sequence[str] = (),
    trial: Trial | None = None,
) -> QuantizationSummary:
    """Write a sequence classifier as `directory/model.onnx`: weights and tables in 8 bits, activations by fixed scales.

    Args:
        model: A classifier in fp32.
        directory: Where `model.onnx` goes; made if need be.
        input_names: What the model's tokenizer makes.
        calibration: Batches of the task's texts that the scales are taken from.
        batches: Others, that the logits are compared on.
        per_channel: A scale for each column of a weight, not one for all.
        reduce_range: Whether weights take 7 of their 8 bits.
        graph: `qdq` marks what is quantized; the runtime chooses the kernels. `operator` names them, and quantizes what
            products give as well as what they take.
        ranges: How an activation's range follows from what was seen.
        parity_bound: Largest relative error of the logits.
        keep: Modules that stay in fp32.
        trial: Where a score has to hold.

    Raises:
        CompressError: As `write_quantized` does.
    """
    with tempfile.TemporaryDirectory(prefix="quantize-") as scratch:
        ranges_seen = Path(scratch) / "ranges.json"  # every attempt takes them from here

        def rewrite(exported: Exported, kept: frozenset[str]) -> onnx.ModelProto:
            source, target = Path(scratch) / "fp32.onnx", Path(scratch) / "int8.onnx"
            chosen = [
                node
                for weight in exported.weights
                if not weight.is_table and weight.module not in kept
                for node in weight.nodes
            ]
            onnx.save(exported.model, source)
            if not chosen:  # which would mean every product
                return _pack_tables(exported, exported.model, kept)
            with redirect_stdout(StringIO()):  # it prints its progress, and stdout is for programs
                quantize_static(
                    source,
                    target,
                    _Reader(calibration, input_names),
                    quant_format=FORMATS[graph],
                    op_types_to_quantize=["MatMul"],
                    per_channel=per_channel,
                    reduce_range=bool(reduce_range),
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    nodes_to_quantize=chosen,  # not those of two activations
                    calibrate_method=RANGES[ranges],
                    calibration_cache_path=ranges_seen,
                    extra_options={
                        "OpTypesToExcludeOutputQuantization": ["MatMul"],
                        "CalibStridedMinMax": 1,  # a batch at a time: their lengths differ
                    },
                )
            return _pack_tables(exported, onnx.load(target), kept)  # not before: shape inference ends at them

        return write_quantized(
            model,
            directory,
            input_names=input_names,
            rewrite=rewrite,
            parity_bound=parity_bound,
            batches=batches,
            keep=keep,
            trial=trial,
        )


def _pack_tables(exported: Exported, model: onnx.ModelProto, kept: frozenset[str]) -> onnx.ModelProto:
    tables = [weight for weight in exported.weights if weight.is_table and weight.module not in kept]
    return pack_tables(model, tables, bits=8, block_size=TABLE_BLOCK)


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Batches as ONNX Runtime asks for them: one after the other within a range that it sets."""

    def __init__(self, batches: Sequence[Inputs], names: Sequence[str]) -> None:
        self._batches = [{name: batch[name] for name in names} for batch in batches]
        self._left = iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)

    def set_range(self, start_index: int, end_index: int) -> None:
        """What comes next are the batches from one number up to another."""
        self._left = iter(self._batches[start_index:end_index])

    def get_next(self) -> dict[str, NDArray[np.int64]] | None:
        """The next batch, or None."""
        return next(self._left, None)
