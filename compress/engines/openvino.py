"""OpenVINO on the CPU: one stream, and no lower precision than the file's own."""

from pathlib import Path

import openvino

from compress.engines import Inputs, Logits
from compress.engines.interface import LOGITS, Interface
from compress.environment import Device
from compress.errors import CompressError, first_line

PRECISION = ["runtime_options", "INFERENCE_PRECISION_HINT"]
"""Where a file says in which precision it is to be computed; OpenVINO reads it, too."""


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

    def __init__(self, file: Path, *, threads: int | None = None) -> None:
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
