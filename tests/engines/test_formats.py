"""What lies in a directory decides what runs it; engines are imported only then, and tell nobody."""

import subprocess
import sys

import pytest

from compress import engines
from compress.artefacts import find_format
from compress.encoder import load_config
from compress.engines import open_engine
from compress.errors import CompressError
from compress.inference import load
from tests.quantization.tiny import build


@pytest.mark.parametrize(
    ("files", "form"),
    [
        (("model.onnx",), "onnx"),
        (("openvino_model.xml", "openvino_model.bin"), "openvino"),
        (("quanto.safetensors",), "quanto"),
        (("model.safetensors",), "safetensors"),
        ((), "safetensors"),
    ],
)
def test_files_tell_the_format(files, form, tmp_path):
    for file in files:
        (tmp_path / file).write_text("")
    assert find_format(tmp_path) == form


def test_a_missing_openvino_is_told_with_what_brings_it(tokenizer, tmp_path, monkeypatch):
    build("bert", tokenizer).model.config.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "openvino_model.xml").write_text("")
    monkeypatch.setattr(engines, "installed_version", lambda _: None)
    with pytest.raises(CompressError, match=r"compress-encoders\[openvino\]"):
        open_engine(tmp_path, load_config(tmp_path), [])
    with pytest.raises(CompressError, match="not installed"):
        load(tmp_path)


SILENT = """
import sys
import compress.inference
assert not {"onnxruntime", "openvino", "optimum.quanto", "bitsandbytes", "nncf"} & set(sys.modules), "not lazy"
import compress.engines.openvino
assert sys.modules["openvino_telemetry"] is None
"""


def test_engines_wait_to_be_asked_for_and_report_to_nobody(tmp_path):
    """Guards OpenVINO's message to its maker at every import, and the file that it leaves in one's home."""
    home = {"HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", SILENT], capture_output=True, text=True, check=False, env=home
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "intel").exists()
