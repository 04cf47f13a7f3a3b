"""ONNX Runtime on the CPU, its threads asleep between calls."""

import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, numpy_helper

from compress.engines import Inputs, Logits, Milliseconds, split_time
from compress.engines.attribution import Node, assign_parts
from compress.engines.interface import LOGITS, Interface
from compress.environment import UNSATURATED_INT8, Device, saturates_int8
from compress.errors import CompressError, first_line
from compress.runs import Part

NODE_SUFFIX = "_kernel_time"
"""What the profiler appends to a node's name."""
ERRORS_ONLY = 3

logger = logging.getLogger(__name__)


class OnnxEngine:
    """A graph of `compress quantize` or `compress export --format onnx`.

    Raises:
        CompressError: The file cannot be read, or is no classifier.
    """

    name = "onnxruntime"
    device: Device = "cpu"

    def __init__(self, file: Path, *, threads: int | None = None) -> None:
        self._threads = threads
        try:
            self._session = _start(file, _options(threads))
        except Exception as error:  # ONNX Runtime's errors derive from Exception alone
            raise CompressError(
                f"{file} cannot be loaded: {first_line(error)}",
                "Make it again: the command that made it, with --force.",
            ) from None
        inputs = tuple(node.name for node in self._session.get_inputs())
        widths = {node.name: (node.shape or [None])[-1] for node in self._session.get_outputs()}
        outputs = {name: width if isinstance(width, int) else None for name, width in widths.items()}
        self.interface = Interface(file, inputs, outputs)
        self.interface.require_classifier()

    def run(self, inputs: Inputs) -> Logits:
        """Logits of one batch."""
        feed = {name: inputs[name] for name in self.interface.inputs}
        return self._session.run([LOGITS], feed)[0]  # type: ignore[no-any-return]

    def doubt(self) -> str | None:
        """Where 8-bit sums may be cut off on this processor; the file is read for it, which takes time and memory."""
        if not (saturates_int8() and _may_saturate(self.interface.file)):
            return None
        return (
            f"{self.interface.file} was quantized for processors that add up 8-bit products in 32 bits (VNNI). This one adds "
            "them up in 16, where sums may be cut off: answers may be worse here. A file quantized with --reduce-range is "
            "safe on any processor."
        )

    def profile(self, batches: Sequence[Inputs]) -> list[Milliseconds]:
        """What each part took, batch by batch, by ONNX Runtime's own profiler.

        It names the nodes of the graph that it has optimized: a second session writes that one down to be read.
        """
        with tempfile.TemporaryDirectory(prefix="profile-") as scratch:
            optimized = Path(scratch) / "optimized.onnx"
            options = _options(self._threads)
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(scratch) / "profile")
            options.optimized_model_filepath = str(optimized)
            options.log_severity_level = ERRORS_ONLY  # it warns that such a graph fits this processor alone
            session = _start(self.interface.file, options)
            for inputs in (batches[0], *batches):
                session.run([LOGITS], {name: inputs[name] for name in self.interface.inputs})
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
            parts = assign_parts(_read_nodes(optimized))
        return _add_up(events, parts)[1:]


def _options(threads: int | None) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _start(file: Path, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def _may_saturate(file: Path) -> bool:
    """Whether a graph has 8-bit weights too large for sums of 16 bits; what is looked up in tables is not added up."""
    graph = onnx.load(file).graph
    tables = {node.input[0] for node in graph.node if node.op_type == "Gather"}
    weights = (
        numpy_helper.to_array(tensor)
        for tensor in graph.initializer
        if tensor.data_type == TensorProto.INT8 and len(tensor.dims) > 1 and tensor.name not in tables
    )
    return any(np.abs(weight.astype(np.int16)).max() > UNSATURATED_INT8 for weight in weights)


def _read_nodes(file: Path) -> list[Node]:
    graph = onnx.load(file).graph
    constants = {tensor.name for tensor in graph.initializer}
    return [
        Node(
            node.name,
            constants=tuple(name for name in node.input if name in constants),
            inputs=tuple(name for name in node.input if name not in constants),
            outputs=tuple(node.output),
        )
        for node in graph.node
    ]


def _add_up(events: Sequence[Mapping[str, object]], parts: Mapping[str, Part]) -> list[Milliseconds]:
    """The profiler's events as milliseconds by part, run by run; a run's own event follows those of its nodes."""
    runs: list[Milliseconds] = []
    spent: dict[Part, float] = {}
    for event in events:
        name, milliseconds = str(event["name"]), float(str(event["dur"])) / 1000  # it counts microseconds
        if event["cat"] == "Node" and name.endswith(NODE_SUFFIX):
            part = parts.get(name.removesuffix(NODE_SUFFIX), "other")
            spent[part] = spent.get(part, 0.0) + milliseconds
        elif name == "model_run":
            runs.append(split_time(milliseconds, spent))
            spent = {}
    return runs
