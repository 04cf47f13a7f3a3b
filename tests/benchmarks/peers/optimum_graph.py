"""optimum-onnx as its documentation has it: a model exported, then quantized for VNNI. Run by a Python of its own.

python -m venv PEER && PEER/bin/pip install -r tests/benchmarks/peers/optimum.txt
PEER/bin/python tests/benchmarks/peers/optimum_graph.py MODEL FILE
"""

import shutil
import sys
import tempfile
from pathlib import Path

from optimum.onnxruntime import ORTModelForSequenceClassification, ORTQuantizer
from optimum.onnxruntime.configuration import AutoQuantizationConfig


def main(model: str, file: str) -> None:
    """Write a quantized ONNX file of a classifier."""
    with tempfile.TemporaryDirectory() as room:
        ORTModelForSequenceClassification.from_pretrained(model, export=True).save_pretrained(room)
        settings = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=True)
        made = ORTQuantizer.from_pretrained(room).quantize(save_dir=room, quantization_config=settings)
        shutil.copy(next(Path(made).glob("*quantized*.onnx")), file)


if __name__ == "__main__":
    main(*sys.argv[1:])
