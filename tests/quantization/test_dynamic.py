"""Everything is in 8 bits, shared weights once, and nothing is left behind where it is not."""

import json
import shutil
import tempfile
from functools import cache

import numpy as np
import onnx
import pytest
import torch
from onnxruntime import InferenceSession, SessionOptions
from onnxruntime.quantization import QuantType, quantize_dynamic
from transformers import (
    AlbertConfig,
    AlbertForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    ElectraConfig,
    ElectraForSequenceClassification,
    PreTrainedModel,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from compress import exporting
from compress.errors import CompressError
from compress.exporting import export_onnx
from compress.graphs import float_matrices
from compress.parity import random_batch
from compress.quantization import dynamic
from compress.quantization import onnx as quantization
from compress.quantization.dynamic import quantize_dynamic_int8
from compress.quantization.onnx import require_quantized
from compress.recipes.quantization import DynamicInt8, settle

LAYERS = {"bert": 1, "roberta": 1, "electra": 1, "albert": 2}
SIZES = {
    "vocab_size": 1000,
    "hidden_size": 48,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "max_position_embeddings": 132,
    "num_labels": 3,
    "initializer_range": 0.1,
}
MATMULS = {  # six a layer; two of the classifier; the step from the embedding's width to the layers'
    "bert": 6 + 2,
    "roberta": 6 + 2,
    "electra": 6 + 2 + 1,
    "albert": 2 * 6 + 2 + 1,
}
FAMILIES = pytest.mark.parametrize("family", MATMULS)


def build(family: str) -> PreTrainedModel:
    torch.manual_seed(0)
    sizes = {**SIZES, "num_hidden_layers": LAYERS[family]}
    match family:
        case "bert":
            return BertForSequenceClassification(BertConfig(**sizes))
        case "roberta":
            config = RobertaConfig(**sizes, pad_token_id=1, type_vocab_size=1)
            return RobertaForSequenceClassification(config)
        case "electra":
            return ElectraForSequenceClassification(ElectraConfig(**sizes, embedding_size=24))
        case "albert":
            return AlbertForSequenceClassification(AlbertConfig(**sizes, embedding_size=24))
    raise ValueError(family)


def input_names(family: str) -> list[str]:
    names = ["input_ids", "attention_mask", "token_type_ids"]
    return names[:2] if family == "roberta" else names


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The fp32 file of a family, made once; beside it `traced.onnx`, as the exporter gave it."""

    @cache
    def export(family):
        path = tmp_path_factory.mktemp(family) / "fp32.onnx"
        trace = exporting._trace

        def keep(model, names):
            traced = trace(model, names)
            onnx.save(traced, path.with_name("traced.onnx"))
            return traced

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(exporting, "_trace", keep)
            export_onnx(build(family), path, input_names=input_names(family))
        return path

    return export


@pytest.fixture
def export_once(exported, monkeypatch):
    """Have quantization take the fp32 file that is there; how it is made is tested elsewhere."""

    def take(model, path, *, input_names):
        shutil.copy(exported(model.config.model_type), path)

    monkeypatch.setattr(quantization, "export_onnx", take)


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """Where temporary files go."""
    directory = tmp_path / "scratch"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    return directory


@FAMILIES
def test_every_product_and_table_is_in_8_bits(family, export_once, tmp_path, scratch):
    summary = quantize_dynamic_int8(build(family), tmp_path / "int8", input_names=input_names(family))
    model = onnx.load(tmp_path / "int8" / "model.onnx")
    steps = [node.op_type for node in model.graph.node]
    assert steps.count("MatMulInteger") == summary.quantized_matmuls == MATMULS[family]
    assert "Gemm" not in steps
    tables = {tuple(tensor.dims): tensor for tensor in model.graph.initializer}
    word_table = tables[SIZES["vocab_size"], 24 if family in {"electra", "albert"} else 48]
    assert word_table.data_type in {onnx.TensorProto.INT8, onnx.TensorProto.UINT8}
    assert not float_matrices(model.graph)
    assert all(
        len(tensor.dims) < 2 for tensor in model.graph.initializer if tensor.name in summary.kept_in_float
    )
    assert not list(scratch.iterdir())


@FAMILIES
def test_int8_answers_like_the_model_at_every_length_and_batch(family, export_once, tmp_path):
    model = build(family).eval()
    summary = quantize_dynamic_int8(model, tmp_path, input_names=input_names(family))
    session = InferenceSession(tmp_path / "model.onnx")
    worst = 0.0
    for batch, length in [(1, 1), (1, 2), (4, 9), (2, 128)]:
        inputs = random_batch(model.config, batch=batch, length=length, seed=batch + length)
        inputs = {name: inputs[name] for name in input_names(family)}
        with torch.no_grad():
            expected = model(**{name: torch.from_numpy(ids) for name, ids in inputs.items()}).logits.numpy()
        difference = session.run(["logits"], inputs)[0] - expected
        worst = max(worst, float(np.abs(difference).max()))
    assert 0 < worst < 0.15 * summary.comparison.scale
    assert 0 < summary.comparison.relative_error < 0.1
    assert summary.max_logit_error == summary.comparison.max_difference
    assert {length for _, length in summary.comparison.shapes} >= {1, 2, 128}
    assert max(batch for batch, _ in summary.comparison.shapes) > 1


@FAMILIES
def test_onnxruntime_leaves_residual_sums_alone(family, export_once, tmp_path):
    quantize_dynamic_int8(build(family), tmp_path, input_names=input_names(family))
    options = SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    InferenceSession(tmp_path / "model.onnx", options, providers=["CPUExecutionProvider"])
    steps = {node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node}
    assert "DynamicQuantizeMatMul" in steps  # the fusions that help are made
    assert "SkipLayerNormalization" not in steps


def test_shared_layer_is_stored_once(export_once, tmp_path):
    model = build("albert")
    summary = quantize_dynamic_int8(model, tmp_path, input_names=input_names("albert"))
    graph = onnx.load(tmp_path / "model.onnx").graph
    weights = {node.input[1] for node in graph.node if node.op_type == "MatMulInteger"}
    assert len(weights) == 6 + 2 + 1
    matrices = sum(weight.numel() for weight in model.parameters() if weight.dim() > 1)
    assert stored_bytes(graph, onnx.TensorProto.INT8, onnx.TensorProto.UINT8) < matrices + 1000
    assert summary.bytes == (tmp_path / "model.onnx").stat().st_size


def stored_bytes(graph, *types):
    return sum(len(tensor.raw_data) for tensor in graph.initializer if tensor.data_type in types)


def test_summary_accounts_for_all_that_is_in_float(export_once, tmp_path):
    summary = quantize_dynamic_int8(build("albert"), tmp_path, input_names=input_names("albert"))
    vectors = [
        tensor
        for tensor in onnx.load(tmp_path / "model.onnx").graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and tensor.dims
    ]
    sizes = {tensor.name: onnx.numpy_helper.to_array(tensor).nbytes for tensor in vectors}
    assert {name: kept.bytes for name, kept in summary.kept_in_float.items()} == sizes
    assert all("scale" in name for name, kept in summary.kept_in_float.items() if "scales" in kept.reason)
    facts = json.loads(json.dumps(summary.facts))
    assert sum(facts["bytes_kept_in_float"].values()) == sum(sizes.values())
    assert facts["quantized_matmuls"] == MATMULS["albert"]
    assert facts["parity_batches"][0] == [1, 1]


def test_one_scale_a_tensor_on_request(export_once, tmp_path):
    model = build("albert")
    names = input_names("albert")
    by_channel = quantize_dynamic_int8(model, tmp_path / "a", input_names=names)
    by_tensor = quantize_dynamic_int8(
        model, tmp_path / "b", input_names=names, method=settle(DynamicInt8(per_channel=False))
    )
    assert by_tensor.bytes < by_channel.bytes
    assert "scales of quantized weights" in by_channel.facts["bytes_kept_in_float"]
    assert "scales of quantized weights" not in by_tensor.facts["bytes_kept_in_float"]


def test_seven_bits_are_of_products_alone(export_once, tmp_path, caplog):
    """Guards sums that saturate where a processor adds in 16 bits; a table's rows are not added up.

    In two passes ONNX Runtime would ask whether the model was quantized already, and set up everybody's log for it.
    """
    method = DynamicInt8(reduce_range=True)
    quantize_dynamic_int8(build("albert"), tmp_path, input_names=input_names("albert"), method=method)
    graph = onnx.load(tmp_path / "model.onnx").graph
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    weights = [values[node.input[1]] for node in graph.node if node.op_type == "MatMulInteger"]
    assert max(int(np.abs(weight.astype(int)).max()) for weight in weights) == 64
    table = next(value for value in values.values() if value.shape == (SIZES["vocab_size"], 24))
    assert int(table.max()) - int(table.min()) > 128
    assert not [record for record in caplog.records if record.name == "root"]


def test_whole_road_from_model_to_file(tmp_path):
    """The one test here that really exports; the model's modes are its own again."""
    model = build("albert").train()
    model.base_model.embeddings.eval()
    before = [module.training for module in model.modules()]
    summary = quantize_dynamic_int8(model, tmp_path, input_names=input_names("albert"))
    assert [module.training for module in model.modules()] == before
    assert summary.quantized_matmuls == MATMULS["albert"]
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


def test_shared_layer_passed_over_is_caught(exported):
    """What `quantize_dynamic` makes of an ALBERT as it was traced."""
    traced = onnx.load(exported("albert").with_name("traced.onnx"))
    del traced.graph.value_info[:]
    naive = quantize(traced)
    found = [node.op_type for node in naive.graph.node].count("MatMulInteger")
    assert found < MATMULS["albert"]
    with pytest.raises(CompressError, match=rf"{found} quantized products .* expected {MATMULS['albert']}"):
        require_quantized(onnx.load(exported("albert")).graph, naive.graph)


def test_table_in_float_is_caught(exported):
    fp32 = onnx.load(exported("bert")).graph
    with pytest.raises(CompressError, match=r"left in fp32: .*word_embeddings.weight': 192"):
        require_quantized(fp32, quantize(exported("bert"), op_types_to_quantize=["MatMul"]).graph)


def test_unsigned_weights_are_caught(exported):
    fp32 = onnx.load(exported("bert")).graph
    with pytest.raises(CompressError, match="0 quantized products"):
        require_quantized(fp32, quantize(exported("bert"), weight_type=QuantType.QUInt8).graph)


def test_shared_weight_stored_twice_is_caught(exported):
    graph = quantize(exported("albert")).graph
    shared = [node for node in graph.node if node.op_type == "MatMulInteger"][-3]
    copy = graph.initializer.add()
    copy.CopyFrom(next(tensor for tensor in graph.initializer if tensor.name == shared.input[1]))
    copy.name = shared.input[1] = "again"
    with pytest.raises(CompressError, match="15 quantized products with 10 weights, expected 15 with 9"):
        require_quantized(onnx.load(exported("albert")).graph, graph)


def quantize(source, **changes):
    with tempfile.TemporaryDirectory() as directory:
        target = f"{directory}/int8.onnx"
        quantize_dynamic(source, target, **({"per_channel": True, "weight_type": QuantType.QInt8} | changes))
        return onnx.load(target)


def test_logits_beyond_the_bound_leave_no_file(export_once, tmp_path, scratch):
    (tmp_path / "run").mkdir()
    with pytest.raises(CompressError, match="the bound is 1e-06"):
        quantize_dynamic_int8(
            build("albert"), tmp_path / "run", input_names=input_names("albert"), parity_bound=1e-6
        )
    assert not list((tmp_path / "run").iterdir())
    assert not list(scratch.iterdir())


@pytest.mark.parametrize("factor", [2, np.nan])
def test_broken_weights_are_beyond_the_default_bound(factor, export_once, monkeypatch, tmp_path):
    def shuffled(source, target, **options):
        quantize_dynamic(source, target, **options)
        model = onnx.load(target)
        for tensor in model.graph.initializer:
            if tensor.name.endswith("_scale") and tensor.dims:
                values = onnx.numpy_helper.to_array(tensor)
                tensor.CopyFrom(
                    onnx.numpy_helper.from_array(np.roll(values, 1) * np.float32(factor), tensor.name)
                )
        onnx.save(model, target)

    monkeypatch.setattr(dynamic, "quantize_dynamic", shuffled)
    with pytest.raises(CompressError, match=r"the bound is 0\.25"):
        quantize_dynamic_int8(build("albert"), tmp_path, input_names=input_names("albert"))


def test_stopped_midway_nothing_is_left(export_once, monkeypatch, tmp_path, scratch):
    def stop(source, target, **options):
        target.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(dynamic, "quantize_dynamic", stop)
    with pytest.raises(KeyboardInterrupt):
        quantize_dynamic_int8(build("albert"), tmp_path / "run", input_names=input_names("albert"))
    assert not (tmp_path / "run").exists()
    assert not list(scratch.iterdir())
