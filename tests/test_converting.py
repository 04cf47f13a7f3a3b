"""OpenVINO's two files say what the model says, hold each weight once, and name nothing of this machine."""

import openvino
import pytest
import torch

from compress import converting
from compress.converting import export_openvino, list_constants, require_weights_once
from compress.encoder import load_config
from compress.engines import open_engine
from compress.errors import CompressError
from compress.parity import compare_answers, random_batches
from tests.quantization.tiny import KINDS, build

NAMES = ("input_ids", "attention_mask", "token_type_ids")


@pytest.fixture(scope="module", params=KINDS)
def exported(request, tokenizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("openvino")
    encoder = build(request.param, tokenizer)
    export_openvino(encoder.model, path, input_names=NAMES)
    encoder.model.config.save_pretrained(path)
    return encoder, path


def test_it_answers_as_the_model_at_every_length_and_batch(exported):
    encoder, path = exported
    engine = open_engine(path, load_config(path), NAMES, threads=1)
    batches = random_batches(encoder.model.config, NAMES, shapes=[(1, 1), (5, 9), (3, 46)], seed=7)
    assert compare_answers(engine.run, encoder.model, batches).max_difference < 1e-5
    assert engine.name == "openvino"


def test_answers_are_the_caller_s_to_keep(exported):
    """Guards an output buffer of the engine's own, which the next answer overwrites."""
    encoder, path = exported
    engine = open_engine(path, load_config(path), NAMES)
    first, second = random_batches(encoder.model.config, NAMES, shapes=[(2, 5), (2, 5)])
    kept = engine.run(first)
    copied = kept.copy()
    engine.run(second)
    assert (kept == copied).all()


def test_shared_weights_are_written_once(exported):
    encoder, path = exported
    held = 4 * sum(parameter.numel() for parameter in encoder.model.parameters())
    assert (path / "openvino_model.bin").stat().st_size < held + 2048


def test_the_last_layer_is_computed_at_one_position_only(exported):
    """What the ONNX graph was spared stays spared."""
    _, path = exported
    graph = openvino.Core().read_model(path / "openvino_model.xml")
    kinds = [node.get_type_name() for node in graph.get_ops()]
    assert any("Slice" in kind for kind in kinds)


def test_it_is_computed_in_fp32_and_names_nothing_of_this_machine(exported):
    _, path = exported
    text = (path / "openvino_model.xml").read_text()
    assert '<INFERENCE_PRECISION_HINT value="f32"' in text
    assert "/tmp" not in text
    assert sorted(file.name for file in path.iterdir()) == [
        "config.json",
        "openvino_model.bin",
        "openvino_model.xml",
    ]


def test_a_weight_written_twice_is_caught(tokenizer):
    graph = openvino.Model([openvino.opset13.constant(torch.randn(200, 200).numpy())], [])
    require_weights_once(graph, 160_000)
    with pytest.raises(CompressError, match="written more than once"):
        require_weights_once(graph, 80_000)
    assert len(list_constants(graph)) == 1


def test_files_that_disagree_are_not_written(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(converting, "FLOAT_TOLERANCE", 0.0)
    with pytest.raises(CompressError, match="OpenVINO's logits differ"):
        export_openvino(build("bert", tokenizer).model, tmp_path, input_names=NAMES)
    assert not list(tmp_path.iterdir())
