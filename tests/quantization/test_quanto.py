"""quanto's weights: every product in fewer bits, shared ones once, and nothing loaded that was not written."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from transformers import AutoModelForSequenceClassification

from compress.encoder import load_config
from compress.engines import open_engine
from compress.engines.quanto import MAP, load_quanto
from compress.errors import CompressError
from compress.parity import compare_answers
from compress.quantization.quanto import PARITY_BOUNDS, quantize_weights
from tests.quantization.tiny import KINDS, PRODUCTS, WEIGHTS, batches, build

FILE = "quanto.safetensors"
NAMES = ("input_ids", "attention_mask", "token_type_ids")
BYTES_A_WEIGHT = {"qint8": 1, "qint4": 0.5}


@pytest.fixture
def written(tokenizer, tmp_path):
    """kind, weights → the encoder, its directory and the summary."""

    def write(kind, weights="qint8"):
        encoder = build(kind, tokenizer)
        encoder.model.config.save_pretrained(tmp_path)
        return encoder, tmp_path, quantize_weights(encoder, tmp_path, weights=weights)

    return write


def read(file):
    with safe_open(file, "pt") as opened:
        return {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata()  # noqa: SIM118


@pytest.mark.parametrize("weights", BYTES_A_WEIGHT)
@pytest.mark.parametrize("kind", KINDS)
def test_every_product_is_in_fewer_bits_and_what_is_shared_is_stored_once(kind, weights, written):
    encoder, directory, summary = written(kind, weights)
    tensors, _ = read(directory / FILE)
    packed = {name: tensor for name, tensor in tensors.items() if ".weight._data" in name}
    assert len(packed) == WEIGHTS[kind] + 1  # the pooler's
    assert summary.quantized_matmuls == PRODUCTS[kind] + 1
    matrices = [
        module.weight.numel()
        for name, module in encoder.model.named_modules()
        if isinstance(module, nn.Linear) and name != "classifier"
    ]
    assert sum(tensor.nbytes for tensor in packed.values()) == sum(matrices) * BYTES_A_WEIGHT[weights]
    assert summary.bytes == (directory / FILE).stat().st_size
    assert 0 < summary.comparison.relative_error < PARITY_BOUNDS[weights]
    tables = [kept for kept in summary.kept_in_float.values() if kept.reason.startswith("tables")]
    assert len(tables) == 3


def test_the_model_itself_stays_as_it_was(written):
    encoder, _, _ = written("albert")
    assert {parameter.dtype for parameter in encoder.model.parameters()} == {torch.float32}
    assert not any("quanto" in type(module).__module__ for module in encoder.model.modules())


def test_what_is_loaded_answers_as_what_was_compared(written):
    encoder, directory, summary = written("partly shared")
    engine = open_engine(directory, load_config(directory), NAMES, threads=1)
    again = compare_answers(engine.run, encoder.model, batches(encoder))
    assert engine.name == "quanto"
    assert again == summary.comparison
    layers = [group.albert_layers[0] for group in engine._model.albert.encoder.albert_layer_groups]
    assert layers[0].attention.query is layers[1].attention.query
    assert layers[0].ffn is not layers[1].ffn


def test_four_bits_need_no_compiler(written, monkeypatch):
    """Guards quanto's own way: it would compile an extension in the folder that it is installed in."""
    from optimum.quanto.library.extensions import extension

    monkeypatch.setattr(extension, "load", lambda **_: pytest.fail("it compiles"))
    written("albert", "qint4")


def test_plain_transformers_does_not_take_it_for_a_model(written):
    """Guards `model.safetensors`, which loads with a warning and answers nonsense."""
    _, directory, _ = written("albert")
    with pytest.raises(OSError, match="safetensors"):
        AutoModelForSequenceClassification.from_pretrained(directory)


def test_logits_beyond_the_bound_leave_no_file(tokenizer, tmp_path):
    encoder = build("albert", tokenizer)
    encoder.model.config.save_pretrained(tmp_path)
    with pytest.raises(CompressError, match="the bound is 1e-06"):
        quantize_weights(encoder, tmp_path, weights="qint8", parity_bound=1e-6)
    assert not list(tmp_path.glob("*quanto*"))


def spoil(change):
    def spoiled(file):
        tensors, metadata = read(file)
        quantized = json.loads(metadata[MAP])
        change(tensors, quantized)
        save_file(tensors, file, metadata={MAP: json.dumps(quantized)})

    return spoiled


def find(tensors, part):
    return next(name for name in tensors if part in name)


SPOILED = {
    "a weight lost": lambda tensors, _: tensors.pop(find(tensors, "query.weight._data")),
    "a scale lost": lambda tensors, _: tensors.pop(find(tensors, "query.weight._scale")),
    "a bias lost": lambda tensors, _: tensors.pop("classifier.bias"),
    "a table lost": lambda tensors, _: tensors.pop(find(tensors, "word_embeddings")),
    "a tensor more": lambda tensors, _: tensors.update({"bert.more": torch.ones(1)}),
    "a weight of another shape": lambda tensors, _: tensors.update(
        {find(tensors, "query.weight._data"): torch.ones(3, 3, dtype=torch.int8)}
    ),
    "a bias of another shape": lambda tensors, _: tensors.update({"classifier.bias": torch.ones(9)}),
    "infinite scales": lambda tensors, _: tensors[find(tensors, "query.weight._scale")].fill_(torch.inf),
    "a module that is none": lambda _, quantized: quantized.update(
        {"bert.x": quantized["bert.pooler.dense"]}
    ),
    "bits that are none": lambda _, quantized: quantized["bert.pooler.dense"].update({"weights": "qint3"}),
    "a module unsaid": lambda _, quantized: quantized.pop("bert.pooler.dense"),
    "no module": lambda _, quantized: quantized.clear(),
}


@pytest.mark.parametrize("what", SPOILED)
def test_a_file_that_does_not_fit_is_refused(what, written):
    """Guards `requantize`, which fills what is missing with whatever lies in memory."""
    _, directory, _ = written("bert")
    spoil(SPOILED[what])(directory / FILE)
    with pytest.raises(CompressError, match=FILE):
        load_quanto(directory, load_config(directory))


def test_what_is_kept_stays_in_full_precision(tokenizer, tmp_path):
    encoder = build("partly shared", tokenizer)
    encoder.model.config.save_pretrained(tmp_path)
    summary = quantize_weights(encoder, tmp_path, weights="qint4", keep=("*.attention.query", "*pooler"))
    assert summary.quantized_matmuls == PRODUCTS["partly shared"] - 2  # the query, used twice; and the pooler
    kept = [tensor.bytes for tensor in summary.kept_in_float.values() if "kept" in tensor.reason]
    assert kept == [4 * 64 * 64] * 2
    engine = open_engine(tmp_path, load_config(tmp_path), NAMES, threads=1)
    assert compare_answers(engine.run, encoder.model, batches(encoder)) == summary.comparison
    with pytest.raises(CompressError, match="nothing would be quantized"):
        quantize_weights(encoder, tmp_path, weights="qint4", keep=("*",))
