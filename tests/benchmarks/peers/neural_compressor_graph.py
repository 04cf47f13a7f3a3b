"""Neural Compressor as its documentation has it: an exported graph, quantized dynamically. Run by a Python of its own.

python -m venv PEER && PEER/bin/pip install -r tests/benchmarks/peers/neural_compressor.txt
PEER/bin/python tests/benchmarks/peers/neural_compressor_graph.py MODEL.onnx FILE
"""

import sys
import tempfile
from pathlib import Path

import onnx
from onnx_neural_compressor.quantization import quantize
from onnx_neural_compressor.quantization.config import DynamicQuantConfig


def main(graph: str, file: str) -> None:
    """Write a quantized ONNX file of an exported classifier, its weights inside."""
    with tempfile.TemporaryDirectory() as room:
        made = Path(room) / "model.onnx"
        quantize(graph, str(made), DynamicQuantConfig(per_channel=True))
        onnx.save(onnx.load(made), file)


if __name__ == "__main__":
    main(*sys.argv[1:])
