"""ONNX Runtime on the CPU, its threads asleep between calls."""

from pathlib import Path

import onnxruntime

from compress.engines import Inputs, Logits
from compress.engines.interface import LOGITS, Interface
from compress.environment import Device
from compress.errors import CompressError, first_line


class OnnxEngine:
    """A graph of `compress quantize` or `compress export --format onnx`.

    Raises:
        CompressError: The file cannot be read, or is no classifier.
    """

    name = "onnxruntime"
    device: Device = "cpu"

    def __init__(self, file: Path, *, threads: int | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
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
