"""OpenVINO on the CPU: one stream, and no lower precision than the file's own."""

import time
from collections.abc import Sequence
from pathlib import Path

import openvino

from compress.engines import Inputs, Logits, Milliseconds, split_time
from compress.engines.attribution import Node, assign_parts
from compress.engines.interface import LOGITS, Interface
from compress.engines.signals import keep_signal_stack
from compress.environment import Device
from compress.errors import CompressError, first_line
from compress.runs import Part

PRECISION = ["runtime_options", "INFERENCE_PRECISION_HINT"]
"""Where a file says in which precision it is to be computed; OpenVINO reads it, too."""
ORIGINAL_NAMES = "originalLayersNames"
"""Where a node that OpenVINO made of several says which those were."""


class OpenVinoEngine:
    """A graph of `compress export --format openvino` or `compress quantize --method openvino-int8`.

    OpenVINO would compute in bfloat16 wherever the processor can. Here it computes in what the file asks for, else in
    fp32; a graph in int8 is in fp32 where it is not in int8.

    Args:
        file: The `.xml`; its weights are the `.bin` beside it.
        threads: How many it may use; default its own choice.

    Raises:
        CompressError: A file is missing or damaged, or is no classifier.
    """

    name = "openvino"
    device: Device = "cpu"

    @keep_signal_stack()
    def __init__(self, file: Path, *, threads: int | None = None) -> None:
        self._threads = threads
        weights = file.with_suffix(".bin")
        if not weights.is_file():
            raise CompressError(
                f"{weights} is missing: it holds the weights of {file.name}.",
                "Put it there, or make both again: the command that made them, with --force.",
            )
        if (
            not file.read_bytes()[:64].lstrip().startswith(b"<")
        ):  # OpenVINO would read an ONNX file by any name
            raise CompressError(
                f"{file} is no graph of OpenVINO's: those begin with XML.",
                "Make it again: the command that made it, with --force.",
            )
        try:
            core = openvino.Core()
            model = core.read_model(file, weights)
            self._compiled = core.compile_model(model, "CPU", _options(model, threads))
        except Exception as error:  # OpenVINO's errors derive from Exception alone
            raise CompressError(
                f"{file} and {weights.name} cannot be loaded: {_reason(error)}",
                "Make them again: the command that made them, with --force.",
            ) from None
        inputs = tuple(port.any_name for port in self._compiled.inputs)
        outputs = {port.any_name: _width(port.partial_shape) for port in self._compiled.outputs}
        self.interface = Interface(file, inputs, outputs)
        self.interface.require_classifier()
        self._request = self._compiled.create_infer_request()

    def run(self, inputs: Inputs) -> Logits:
        """Logits of one batch."""
        feed = {name: inputs[name] for name in self.interface.inputs}
        return self._request.infer(feed, share_inputs=True)[LOGITS].copy()  # type: ignore[no-any-return]

    @keep_signal_stack()
    def profile(self, batches: Sequence[Inputs]) -> list[Milliseconds]:
        """What each part took in the mean of the batches, by OpenVINO's own counters.

        A second compilation switches them on. They are means of all runs since, so that of a first pass, in which
        kernels are made, is taken off.
        """
        core = openvino.Core()
        model = core.read_model(self.interface.file)
        compiled = core.compile_model(model, "CPU", {**_options(model, self._threads), "PERF_COUNT": True})
        parts = _assign_parts(model, compiled.get_runtime_model())
        request = compiled.create_infer_request()
        feeds = [{name: inputs[name] for name in self.interface.inputs} for inputs in batches]
        _infer(request, feeds)
        warm = _read_counters(request)
        total = _infer(request, feeds)
        spent: dict[Part, float] = {}
        for name, milliseconds in _read_counters(request).items():
            part = parts.get(
                name, "other"
            )  # the mean of both passes: twice it less the first is the second's
            spent[part] = spent.get(part, 0.0) + max(0.0, 2 * milliseconds - warm.get(name, 0.0))
        return [split_time(total, spent)]


def _options(model: openvino.Model, threads: int | None) -> dict[str, object]:
    options: dict[str, object] = {
        "INFERENCE_PRECISION_HINT": str(model.get_rt_info(PRECISION).value)
        if model.has_rt_info(PRECISION)
        else "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
    }
    return options if threads is None else {**options, "INFERENCE_NUM_THREADS": threads}


def _width(shape: openvino.PartialShape) -> int | None:
    if shape.rank.is_dynamic or not len(shape):
        return None
    return None if shape[-1].is_dynamic else int(shape[-1].get_length())


def _reason(error: Exception) -> str:
    """The line that says what is wrong, without the lines that say where in OpenVINO's own source it was noticed."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(("Exception from", "Check '"))]
    return (told or [first_line(error)])[-1]


def _assign_parts(model: openvino.Model, runtime: openvino.Model) -> dict[str, Part]:
    """The part of each node that OpenVINO runs, by those of the file's nodes that it was made of."""
    known = assign_parts(_read_nodes(model))
    parts: dict[str, Part] = {}
    for node in runtime.get_ordered_ops():
        facts = node.get_rt_info()
        names = str(facts[ORIGINAL_NAMES].value).split(",") if ORIGINAL_NAMES in facts else []
        found = [known[name] for name in names if known.get(name, "other") != "other"]
        parts[node.get_friendly_name()] = found[0] if found else "other"
    return parts


def _read_nodes(model: openvino.Model) -> list[Node]:
    """A constant is a node of its own here, whose name may be a module's path; a product's is only what uses it."""
    nodes = []
    for node in model.get_ordered_ops():
        name = node.get_friendly_name()
        inputs = tuple(each.get_source_output().get_node().get_friendly_name() for each in node.inputs())
        nodes.append(Node(name, constants=inputs, inputs=inputs, outputs=(name,)))
    return nodes


def _infer(request: openvino.InferRequest, feeds: Sequence[Inputs]) -> float:
    """Run each batch once; their mean in milliseconds."""
    began = time.perf_counter()
    for feed in feeds:
        request.infer(feed, share_inputs=True)
    return (time.perf_counter() - began) * 1000 / len(feeds)


def _read_counters(request: openvino.InferRequest) -> dict[str, float]:
    """Node → its milliseconds, the mean of all runs so far."""
    return {each.node_name: each.real_time.total_seconds() * 1000 for each in request.profiling_info}
