"""Profiles: each runtime's time goes to the part whose weights it used, in whatever form the graph is."""

import json

import numpy as np
import onnx
import openvino
import pytest

from compress.converting import export_openvino
from compress.encoder import model_inputs
from compress.engines.attribution import Node, assign_parts
from compress.engines.hooks import _outermost
from compress.engines.onnx import OnnxEngine, _add_up, _options, _read_nodes, _start
from compress.engines.openvino import OpenVinoEngine, _assign_parts
from compress.engines.pytorch import TorchEngine
from compress.engines.signals import keep_signal_stack
from compress.exporting import export_onnx
from compress.quantization.dynamic import quantize_dynamic_int8
from compress.quantization.packed import quantize_packed
from compress.recipes.quantization import PackedInt4
from compress.runs import PARTS
from tests.quantization.tiny import KINDS, batches, build

HEAVY = {"MatMul", "FusedMatMul", "Gemm", "FusedGemm", "LayerNormalization", "Softmax", "BiasGelu", "Gelu"}
HEAVY |= {"MatMulNBits", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "DynamicQuantizeLinear", "Gather"}
HEAVY |= {"GatherBlockQuantized", "QuickGelu", "Add", "Transpose"}
ALL_BUT_OTHER = set(PARTS) - {"other"}


def test_a_node_without_a_name_is_of_what_it_leads_to():
    nodes = [
        Node("look-up", ("bert.embeddings.word_embeddings.weight",), ("ids",), ("a",)),
        Node("product", ("val_1",), ("a",), ("b",)),
        Node("bias", ("bert.encoder.layer.0.attention.self.query.bias",), ("b",), ("c",)),
        Node("residual", (), ("c", "a"), ("d",)),
        Node("norm", ("bert.encoder.layer.0.output.LayerNorm.weight",), ("d",), ("e",)),
        Node("answer", ("classifier.bias",), ("e",), ("f",)),
        Node("last", (), ("f",), ("logits",)),
        Node("idle", (), ("ids",), ("nothing",)),
    ]
    assert assign_parts(nodes) == {
        "look-up": "embeddings",
        "product": "attention",
        "bias": "attention",
        "residual": "feed-forward",
        "norm": "feed-forward",
        "answer": "classifier",
        "last": "classifier",
        "idle": "other",
    }


def quantize(kind, encoder, directory):
    names = model_inputs(encoder.tokenizer)
    if kind == "fp32":
        export_onnx(encoder.model, directory / "model.onnx", input_names=names)
    elif kind == "dynamic":
        quantize_dynamic_int8(encoder.model, directory, input_names=names)
    else:
        method = PackedInt4(block_size=32, symmetric=True)
        quantize_packed(encoder.model, directory, input_names=names, method=method)


@pytest.mark.parametrize(
    ("form", "kind"), [("fp32", "bert"), ("dynamic", "partly shared"), ("packed", "albert")]
)
def test_onnx_runtime_s_nodes_have_parts(form, kind, tokenizer, tmp_path):
    """Guards the share of `other`: nothing that computes is in it, in the graph that the runtime has made of ours."""
    encoder = build(kind, tokenizer)
    quantize(form, encoder, tmp_path)
    options = _options(1)
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    _start(tmp_path / "model.onnx", options)
    parts = assign_parts(_read_nodes(tmp_path / "optimized.onnx"))
    graph = onnx.load(tmp_path / "optimized.onnx").graph
    heavy = [node for node in graph.node if node.op_type in HEAVY]
    assert len(heavy) > 20
    assert [node.name for node in heavy if parts[node.name] == "other"] == []
    assert {parts[node.name] for node in heavy} == ALL_BUT_OTHER
    profiles = OnnxEngine(tmp_path / "model.onnx", threads=1).profile(batches(encoder)[:2])
    assert len(profiles) == 2
    assert all(profile[part] > 0 for profile in profiles for part in ("attention", "feed-forward"))
    assert sorted(tmp_path.iterdir()) == [tmp_path / "model.onnx", tmp_path / "optimized.onnx"]


def test_the_profiler_s_events_are_parted_by_run():
    events = [
        {"cat": "Session", "name": "session_initialization", "dur": 999},
        {"cat": "Node", "name": "a_kernel_time", "dur": 1000},
        {"cat": "Node", "name": "b_kernel_time", "dur": 500},
        {"cat": "Session", "name": "model_run", "dur": 1750},
        {"cat": "Node", "name": "a_kernel_time", "dur": 2000},
        {"cat": "Session", "name": "model_run", "dur": 2000},
    ]
    first, second = _add_up(json.loads(json.dumps(events)), {"a": "attention", "b": "embeddings"})
    assert (first["attention"], first["embeddings"], first["other"]) == (1.0, 0.5, 0.25)
    assert (second["attention"], second["embeddings"], second["other"]) == (2.0, 0.0, 0.0)


def test_openvino_s_nodes_have_parts(tokenizer, tmp_path):
    encoder = build("partly shared", tokenizer)
    export_openvino(encoder.model, tmp_path, input_names=model_inputs(encoder.tokenizer))
    model = openvino.Core().read_model(tmp_path / "openvino_model.xml")
    with keep_signal_stack():
        runtime = openvino.Core().compile_model(model, "CPU").get_runtime_model()
    parts = _assign_parts(model, runtime)
    heavy = [
        node.get_friendly_name()
        for node in runtime.get_ordered_ops()
        if str(node.get_rt_info()["layerType"].value) in ("FullyConnected", "MVN", "Subgraph")
    ]
    assert len(heavy) > 12
    assert {parts[name] for name in heavy} == ALL_BUT_OTHER
    (profile,) = OpenVinoEngine(tmp_path / "openvino_model.xml", threads=1).profile(batches(encoder))
    assert profile["attention"] > 0 < profile["feed-forward"]


@pytest.mark.parametrize("kind", KINDS)
def test_pytorch_s_modules_are_hooked_once_and_let_go(kind, tokenizer):
    model = build(kind, tokenizer).model
    hooked = _outermost(model)
    held = [module for _, module in hooked]
    assert len(set(held)) == len(held)
    assert not any(inner in outer.children() for outer in held for inner in held)
    covered = {parameter for module in held for parameter in module.parameters()}
    assert covered == set(model.parameters())
    engine = TorchEngine(model, threads=1)
    ids = np.full((2, 16), 7, dtype=np.int64)
    (profile,) = engine.profile([{"input_ids": ids, "attention_mask": np.ones_like(ids)}])
    assert all(profile[part] > 0 for part in PARTS)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
