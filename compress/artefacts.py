"""The files of a finished model, by which it is known what runs it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

Format = Literal["onnx", "openvino", "quanto", "safetensors"]

ONNX_FILE = "model.onnx"
OPENVINO_FILE = "openvino_model.xml"
QUANTO_FILE = "quanto.safetensors"
"""Not `model.safetensors`: plain `from_pretrained` would take the tensors for a model's own and answer nonsense."""
FORMATS: Mapping[str, Format] = {ONNX_FILE: "onnx", OPENVINO_FILE: "openvino", QUANTO_FILE: "quanto"}
"""File → the format of a directory that holds it; where none of them lies, it is safetensors."""


def find_format(path: Path) -> Format:
    """The format of a model's directory, by the files that lie there."""
    return next((form for file, form in FORMATS.items() if (path / file).is_file()), "safetensors")
