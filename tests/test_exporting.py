"""The ONNX file says what the model says, holds each weight once, and names nothing of this machine."""

from functools import cache

import numpy as np
import onnx
import pytest
import torch
from onnxruntime import InferenceSession
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
from transformers.modeling_outputs import SequenceClassifierOutput

from compress import exporting, graphs
from compress.errors import CompressError
from compress.exporting import export_onnx
from compress.graphs import float_matrices, write_graph
from compress.parity import compare_logits, open_session, random_batch
from tests.traces import keep_traces

LAYERS = {"bert": 2, "roberta": 1, "electra": 1, "albert": 2, "first-and-mean": 1}
SIZES = {
    "vocab_size": 300,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 48,
    "num_labels": 3,
    "initializer_range": 0.3,  # at 0.02 tiny models answer much the same to whatever they are asked
}
PAIR_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
ROBERTA_INPUTS = ("input_ids", "attention_mask")


class FirstAndMean(BertForSequenceClassification):
    """A classifier that reads every position of the last layer, the first one twice."""

    def forward(self, input_ids, attention_mask, token_type_ids):
        hidden = self.bert(input_ids, attention_mask, token_type_ids).last_hidden_state
        return SequenceClassifierOutput(logits=self.classifier(hidden[:, 0] + hidden.mean(1)))


def build(family: str, seed: int = 0) -> PreTrainedModel:
    torch.manual_seed(seed)
    sizes = {**SIZES, "num_hidden_layers": LAYERS[family]}
    match family:
        case "bert":
            return BertForSequenceClassification(BertConfig(**sizes))
        case "first-and-mean":
            return FirstAndMean(BertConfig(**sizes))
        case "roberta":
            config = RobertaConfig(**sizes, pad_token_id=1, type_vocab_size=1)
            return RobertaForSequenceClassification(config)
        case "electra":
            return ElectraForSequenceClassification(ElectraConfig(**sizes, embedding_size=16))
        case "albert":
            return AlbertForSequenceClassification(AlbertConfig(**sizes, embedding_size=16))
    raise ValueError(family)


def input_names(family: str) -> tuple[str, ...]:
    return ROBERTA_INPUTS if family == "roberta" else PAIR_INPUTS


@pytest.fixture(scope="module", autouse=True)
def _traced_anew(tmp_path_factory):
    """By the exporter itself, whatever other tests have left."""
    trace = exporting._trace.__wrapped__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "_trace", keep_traces(trace, tmp_path_factory.mktemp("traces")))
        yield


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Model and file of a family; the model is in train mode, its embeddings in eval mode."""

    @cache
    def export(family):
        model = build(family).train()
        model.base_model.embeddings.eval()
        path = tmp_path_factory.mktemp(family) / "model.onnx"
        export_onnx(model, path, input_names=input_names(family))
        return model, path

    return export


@pytest.fixture(scope="module")
def traced():
    """What the exporter makes of the tiny ALBERT, so that it need not run again in each test."""
    proto = exporting._trace(build("albert"), PAIR_INPUTS)

    def trace(model, names):
        copy = onnx.ModelProto()
        copy.CopyFrom(proto)
        return copy

    return trace


FAMILIES = pytest.mark.parametrize("family", ["bert", "roberta", "electra", "albert"])


@FAMILIES
def test_logits_are_the_models_at_every_length_and_batch(family, exported):
    model, path = exported(family)
    shapes = [(1, 1), (1, 2), (2, 1), (5, 9), (3, 46)]
    comparison = compare_logits(open_session(onnx.load(path)), model, shapes=shapes)
    assert comparison.shapes == tuple(shapes)
    assert comparison.max_difference < 1e-5
    assert comparison.agreement == 1


@FAMILIES
def test_padding_changes_no_logit(family, exported):
    _, path = exported(family)
    session = InferenceSession(path)
    names = [node.name for node in session.get_inputs()]
    config = build(family).config
    batch = random_batch(config, batch=4, length=20, seed=3)
    together = session.run(["logits"], {name: batch[name] for name in names})[0]
    for row, length in enumerate(batch["attention_mask"].sum(axis=1)):
        alone = {name: batch[name][row : row + 1, :length] for name in names}
        np.testing.assert_allclose(session.run(["logits"], alone)[0][0], together[row], atol=1e-5)


@FAMILIES
def test_signature(family, exported):
    _, path = exported(family)
    session = InferenceSession(path)
    assert [node.name for node in session.get_inputs()] == list(input_names(family))
    assert {node.type for node in session.get_inputs()} == {"tensor(int64)"}
    assert all(node.shape == ["batch", "length"] for node in session.get_inputs())
    (output,) = session.get_outputs()
    assert (output.name, output.type, output.shape) == ("logits", "tensor(float)", ["batch", 3])


@FAMILIES
def test_every_weight_is_stored_once_and_inside_the_file(family, exported):
    model, path = exported(family)
    held = sum(weight.nbytes for weight in model.parameters() if weight.dim() > 1)
    graph = onnx.load(path, load_external_data=False).graph
    written = sum(onnx.numpy_helper.to_array(tensor).nbytes for tensor in float_matrices(graph).values())
    assert written == held
    assert [file.name for file in path.parent.iterdir()] == ["model.onnx"]


def test_shared_layer_is_used_by_each_layer(exported):
    _, path = exported("albert")
    graph = onnx.load(path).graph
    weights = [node.input[1] for node in graph.node if node.op_type == "MatMul"]
    weights = [name for name in weights if name in float_matrices(graph)]
    assert len(weights) == 2 * 6 + 1
    assert len(set(weights)) == 6 + 1


@FAMILIES
def test_the_model_comes_back_as_it_was(family, exported):
    model, _ = exported(family)
    embeddings = set(model.base_model.embeddings.modules())
    assert all(module.training == (module not in embeddings) for module in model.modules())
    assert model.config._attn_implementation == "sdpa"


@FAMILIES
def test_the_file_names_nothing_of_this_machine(family, exported):
    _, path = exported(family)
    assert b'.py"' not in path.read_bytes()


def test_stack_traces_and_stale_shapes_are_dropped(traced):
    proto = traced(None, PAIR_INPUTS)
    assert b'.py"' in proto.SerializeToString()
    assert proto.graph.value_info
    exporting._drop_traces(proto)
    assert b'.py"' not in proto.SerializeToString()
    assert not proto.graph.value_info


def test_any_runtime_knows_the_operators(exported):
    _, path = exported("albert")
    assert [opset.domain for opset in onnx.load(path).opset_import] == [""]
    onnx.checker.check_model(path, full_check=True)


def last_hidden_shape(path, *, batch=2, length=5):
    """Shape of the last layer norm's output when the file runs."""
    model = onnx.load(path)
    last = [node for node in model.graph.node if node.op_type == "LayerNormalization"][-1]
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(last.output[0]))
    session = InferenceSession(model.SerializeToString())
    inputs = random_batch(build("bert").config, batch=batch, length=length, seed=0)
    feed = {node.name: inputs[node.name] for node in session.get_inputs()}
    return session.run([last.output[0]], feed)[0].shape


@FAMILIES
def test_last_layer_is_computed_where_the_classifier_reads(family, exported):
    _, path = exported(family)
    assert last_hidden_shape(path) == (2, 1, 32)
    steps = [node.op_type for node in onnx.load(path).graph.node]
    assert steps.count("Softmax") == LAYERS[family]


def test_last_layer_stays_whole_where_the_classifier_reads_all(exported):
    _, path = exported("first-and-mean")  # its export compares the logits, too
    assert last_hidden_shape(path) == (2, 5, 32)


def test_a_trace_depends_on_no_weight():
    """So that all other tests may have an architecture traced once."""
    exporting._trace(build("albert"), PAIR_INPUTS)
    model = build("albert", seed=1)
    filled, traced = exporting._trace(model, PAIR_INPUTS), exporting._trace.__wrapped__(model, PAIR_INPUTS)
    assert filled.SerializeToString() == traced.SerializeToString()


def test_what_changes_a_trace_is_traced_anew(tmp_path):
    made = []

    def trace(model, names):
        made.append(model)
        return onnx.ModelProto()

    kept = keep_traces(trace, tmp_path)
    model = build("bert")
    for _ in range(2):
        kept(model, PAIR_INPUTS)
    assert len(made) == 1
    kept(model, PAIR_INPUTS[:2])
    model.bert.encoder.layer[1] = model.bert.encoder.layer[0]
    kept(model, PAIR_INPUTS)
    model.bert.encoder.layer[0].attention.self.num_attention_heads = 2
    kept(model, PAIR_INPUTS)
    model.config.hidden_act = "relu"
    kept(model, PAIR_INPUTS)
    kept(build("bert", seed=1), PAIR_INPUTS)
    assert len(made) == 5


def test_another_models_logits_are_refused(monkeypatch, tmp_path, traced):
    monkeypatch.setattr(exporting, "_trace", traced)
    with pytest.raises(CompressError, match="differ from the model's"):
        export_onnx(build("albert", seed=1), tmp_path / "model.onnx", input_names=PAIR_INPUTS)
    assert not list(tmp_path.iterdir())


def test_logits_that_are_no_numbers_are_refused(monkeypatch, tmp_path, traced):
    def spoiled(model, names):
        proto = traced(model, names)
        bias = next(tensor for tensor in proto.graph.initializer if "classifier.bias" in tensor.name)
        bias.CopyFrom(onnx.numpy_helper.from_array(np.full(3, np.nan, dtype=np.float32), bias.name))
        return proto

    monkeypatch.setattr(exporting, "_trace", spoiled)
    with pytest.raises(CompressError, match="differ from the model's by nan"):
        export_onnx(build("albert"), tmp_path / "model.onnx", input_names=PAIR_INPUTS)


def test_weights_written_twice_are_refused(monkeypatch, tmp_path, traced):
    def with_copy(model, names):
        proto = traced(model, names)
        layer = next(tensor for tensor in proto.graph.initializer if "ffn.weight" in tensor.name)
        copy = proto.graph.initializer.add()
        copy.CopyFrom(layer)
        copy.name = "again"
        uses = [node for node in proto.graph.node if layer.name in node.input]
        uses[-1].input[list(uses[-1].input).index(layer.name)] = "again"
        return proto

    monkeypatch.setattr(exporting, "_trace", with_copy)
    with pytest.raises(CompressError, match="13 weight matrices, the model only 12"):
        export_onnx(build("albert"), tmp_path / "model.onnx", input_names=PAIR_INPUTS)
    assert not list(tmp_path.iterdir())


def test_half_precision_is_refused(tmp_path):
    with pytest.raises(CompressError, match="weights are torch"):
        export_onnx(build("bert").bfloat16(), tmp_path / "model.onnx", input_names=PAIR_INPUTS)


@pytest.mark.parametrize("names", [("input_ids", "position_ids"), ("attention_mask",), ()])
def test_unknown_inputs_are_refused(names, tmp_path):
    with pytest.raises(CompressError, match="it takes input_ids, attention_mask, token_type_ids"):
        export_onnx(build("bert"), tmp_path / "model.onnx", input_names=names)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(exported, monkeypatch, tmp_path):
    _, path = exported("albert")
    target = tmp_path / "model.onnx"
    target.write_bytes(b"old")

    def half(proto, file):
        file.write_bytes(proto.SerializeToString()[:100])
        raise OSError("no space left")

    monkeypatch.setattr(graphs.onnx, "save", half)
    with pytest.raises(OSError, match="no space"):
        write_graph(onnx.load(path), target)
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    assert target.read_bytes() == b"old"


class Altered:
    """A session of a model, its logits noisy in batches of one token."""

    def __init__(self, model, noise):
        self.model = model
        self.noise = noise

    def get_inputs(self):
        return [onnx.ValueInfoProto(name=name) for name in PAIR_INPUTS]

    def run(self, outputs, feed):
        logits = self.model(**{name: torch.from_numpy(array) for name, array in feed.items()}).logits
        return [logits.numpy() + (self.noise if feed["input_ids"].shape[1] == 1 else 0)]


def test_one_bad_batch_among_many_shows():
    model = build("bert")
    good = compare_logits(Altered(model, 0), model)
    assert good.relative_error == 0
    assert np.isnan(compare_logits(Altered(model, np.nan), model).relative_error)
    bad = compare_logits(Altered(model, good.scale), model)
    assert bad.relative_error == pytest.approx(1, rel=1e-5)
    assert bad.max_difference == pytest.approx(good.scale, rel=1e-5)


def test_logits_that_cancel_are_no_yardstick():
    model = build("bert")
    usual = compare_logits(Altered(model, 0), model).scale
    with torch.no_grad():  # three rows that answer nothing: each is made orthogonal to a constant feature
        model.bert.pooler.dense.weight.zero_()
        model.bert.pooler.dense.bias.fill_(1.0)
        model.classifier.weight -= model.classifier.weight.mean(dim=1, keepdim=True)
    assert usual / 10 < compare_logits(Altered(model, 0), model).scale < usual * 10


def test_random_batches_hold_no_padding_id_but_as_padding():
    batch = random_batch(build("roberta").config, batch=3, length=1200, seed=0)
    assert batch["attention_mask"].sum(axis=1).tolist() == [1200, 750, 300]
    assert ((batch["input_ids"] == 1) == (batch["attention_mask"] == 0)).all()
    assert batch["token_type_ids"].max() == 0
    pair = random_batch(build("bert").config, batch=3, length=12, seed=0)
    assert pair["token_type_ids"].sum(axis=1).tolist() == [6, 1, 0]
