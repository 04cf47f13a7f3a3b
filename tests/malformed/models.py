"""Model directories with one thing wrong: configuration, weights, tokenizer, graph or record."""

import json
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from tests.malformed.cases import Case, finetune

CONFIG, WEIGHTS, TOKENIZER, GRAPH = "config.json", "model.safetensors", "tokenizer.json", "model.onnx"
TRAIN = finetune(model="own")
PREDICT = ("predict", "own", "a lovely film")
EVALUATE = ("evaluate", "own", "--task", "sound/reviews.toml")
QUANTIZE = ("quantize", "own", "--task", "sound/reviews.toml")
PRUNE = ("prune", "own", "--task", "sound/reviews.toml", "--ffn", "0.5")
DISTILL = ("distill", "--teacher", "own", "--student", "sound/student.toml", "--task", "sound/reviews.toml")


def cases() -> Iterator[Case]:
    for what, change, *mentions in _configurations():
        yield _case(f"config.json {what}", "encoder", TRAIN, change, "own", *mentions)
    for what, change, *mentions in _weights():
        yield _case(f"weights {what}", "encoder", TRAIN, change, "own", *mentions)
    for what, change, *mentions in _tokenizers():
        yield _case(f"tokenizer {what}", "encoder", TRAIN, change, "own", *mentions)
        yield _case(f"classifier's tokenizer {what}", "classifier", EVALUATE, change, "own", *mentions)
    for what, change, *mentions in _graphs():
        yield _case(f"graph {what}", "graph", PREDICT, change, "own", *mentions)
    yield from _rewritten()
    for what, change, *mentions in _records():
        for command in (("report", "own", "--output-dir", "page"), ("measure", "own"), ("quantize", "own")):
            yield _case(
                f"run.json {what}, {command[0]}", "classifier", command, change, "run.json", *mentions
            )
    broken = _overwrite(WEIGHTS, b"\x00" * 9)
    for command in (PREDICT, EVALUATE, QUANTIZE, DISTILL):
        yield _case(f"weights broken, {command[0]}", "classifier", command, broken, WEIGHTS)
    headless = {
        PREDICT: "not fine-tuned",
        EVALUATE: "not fine-tuned",
        QUANTIZE: "no classifier",
        PRUNE: "no classifier",
    }
    for command, message in headless.items():
        yield _case(
            f"weights without classifier, {command[0]}", "encoder", command, lambda own: None, message
        )
    yield _case("labels of another task, evaluate", "three-labels", EVALUATE, lambda own: None, "meh")
    other = _configured(id2label={"0": "yes", "1": "no"}, label2id={"yes": 0, "no": 1})
    yield _case("labels of another name, evaluate", "classifier", EVALUATE, other, "yes", "good")
    yield _case(
        "empty directory", "encoder", TRAIN, lambda own: [path.unlink() for path in own.iterdir()], "own"
    )


def _rewritten() -> Iterator[Case]:
    for form, spoiled in (("openvino", _pairs()), ("quanto", _packed()), ("bnb", _bits())):
        for what, change, *mentions in spoiled:
            for command in (PREDICT, EVALUATE):
                yield _case(f"{form} {what}, {command[0]}", form, command, change, "own", *mentions)
    for form in ("graph", "openvino", "quanto", "bnb"):
        for command in (QUANTIZE, TRAIN, ("export", "own", "--task", "sound/reviews.toml")):
            yield _case(f"{form}, {command[0]}", form, command, lambda own: None, "own")


def _case(what: str, source: str, command: tuple, change: Callable, *mentions: str) -> Case:
    def spoil(directory: Path) -> None:
        shutil.copytree(directory / "sound" / source, directory / "own")
        change(directory / "own")

    return Case("model", what, command, spoil, mentions)


def _overwrite(name: str, content: bytes | str) -> Callable[[Path], object]:
    return lambda own: (own / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def _cut(name: str, share: float) -> Callable[[Path], object]:
    def change(own: Path) -> None:
        content = (own / name).read_bytes()
        (own / name).write_bytes(content[: int(share * len(content))])

    return change


def _drop(name: str) -> Callable[[Path], object]:
    return lambda own: (own / name).unlink()


def _configured(**changes: object) -> Callable[[Path], object]:
    def change(own: Path) -> None:
        file = own / CONFIG
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return change


def _configurations() -> Iterator[tuple]:
    yield "missing", _drop(CONFIG), "config.json"
    yield "cut off", _cut(CONFIG, 0.5), "config.json"
    yield "empty", _overwrite(CONFIG, ""), "config.json"
    yield "is a list", _overwrite(CONFIG, "[]"), "config.json"
    yield "is a word", _overwrite(CONFIG, '"bert"'), "config.json"
    yield "names no model_type", _overwrite(CONFIG, "{}"), "config.json", "model_type"
    yield "not UTF-8", _overwrite(CONFIG, b'{"model_type": "caf\xe9"}'), "config.json"
    for kind in ("nope", "gpt2", "llama", "t5", "bart", "vit", "clip"):
        yield f"of a {kind}", _configured(model_type=kind), "config.json"
    yield "of a decoder", _configured(is_decoder=True), "decoder"
    for name, value in (
        ("vocab_size", 100),
        ("vocab_size", 8),
        ("hidden_size", 25),
        ("hidden_size", 48),
        ("hidden_size", "wide"),
        ("hidden_size", -24),
        ("num_hidden_layers", 3),
        ("num_hidden_layers", 1),
        ("num_attention_heads", 0),
        ("num_attention_heads", 5),
        ("intermediate_size", 40),
        ("max_position_embeddings", 20),
        ("type_vocab_size", 9),
        ("hidden_act", "swoosh"),
        ("hidden_dropout_prob", 7.0),
        ("pad_token_id", 99),
        ("id2label", ["good", "bad"]),
    ):
        yield f"{name} {value}", _configured(**{name: value})


def _weights() -> Iterator[tuple]:
    yield "missing", _drop(WEIGHTS), WEIGHTS
    yield "empty", _overwrite(WEIGHTS, b""), WEIGHTS
    yield "cut off in the header", _cut(WEIGHTS, 0.01), WEIGHTS
    yield "cut off in the middle", _cut(WEIGHTS, 0.5), WEIGHTS
    yield "cut off at the end", _cut(WEIGHTS, 0.999), WEIGHTS
    yield "a pickle", _overwrite(WEIGHTS, pickle.dumps({"a": 1})), WEIGHTS
    yield "a torch file", lambda own: torch.save({"a": torch.ones(1)}, own / WEIGHTS), WEIGHTS
    yield "text", _overwrite(WEIGHTS, "these are the weights"), WEIGHTS
    yield "a directory", lambda own: ((own / WEIGHTS).unlink(), (own / WEIGHTS).mkdir()), WEIGHTS
    yield "only a pickle", lambda own: (own / WEIGHTS).rename(own / "pytorch_model.bin"), "pickle"
    yield "of other names", _tensors(lambda name, tensor: (f"x.{name}", tensor)), WEIGHTS, "lacks"
    yield (
        "of other shapes",
        _tensors(lambda name, tensor: (name, torch.cat([tensor, tensor]))),
        WEIGHTS,
        "fit",
    )
    yield (
        "one tensor short",
        _tensors(_without("encoder.layer.1.output.dense.weight")),
        WEIGHTS,
        "layer.1.output",
    )
    yield (
        "without embeddings",
        _tensors(_without("embeddings.word_embeddings.weight")),
        WEIGHTS,
        "word_embeddings",
    )
    yield "with NaN", _tensors(lambda name, tensor: (name, tensor * float("nan"))), WEIGHTS, "NaN"
    yield (
        "with one infinity",
        _tensors(_infinite("encoder.layer.0.output.dense.bias")),
        WEIGHTS,
        "layer.0.output",
    )
    yield "no tensors", _tensors(lambda name, tensor: None), WEIGHTS


def _tensors(change: Callable[[str, torch.Tensor], tuple | None]) -> Callable[[Path], object]:
    def spoil(own: Path) -> None:
        from safetensors.torch import load_file, save_file

        kept = dict(filter(None, (change(*item) for item in load_file(own / WEIGHTS).items())))
        save_file(kept, own / WEIGHTS, metadata={"format": "pt"})

    return spoil


def _without(lost: str) -> Callable:
    return lambda name, tensor: None if name == lost else (name, tensor)


def _infinite(broken: str) -> Callable:
    return lambda name, tensor: (name, torch.full_like(tensor, torch.inf) if name == broken else tensor)


def _tokenizers() -> Iterator[tuple]:
    def without(own: Path) -> None:
        _drop(TOKENIZER)(own)
        _drop("tokenizer_config.json")(own)

    def grown(own: Path) -> None:
        content = json.loads((own / TOKENIZER).read_text())
        content["model"]["vocab"] |= {f"word{row}": row for row in range(32, 40)}
        (own / TOKENIZER).write_text(json.dumps(content))

    def unpadded(own: Path) -> None:
        file = own / "tokenizer_config.json"
        content = json.loads(file.read_text())
        file.write_text(json.dumps({**content, "pad_token": None}))

    yield "missing", without, "tokenizer"
    yield "without vocabulary", _drop(TOKENIZER), "tokenizer"
    yield "cut off", _cut(TOKENIZER, 0.5), "tokenizer"
    yield "empty", _overwrite(TOKENIZER, ""), "tokenizer"
    yield "is a list", _overwrite(TOKENIZER, "[]"), "tokenizer"
    yield "with more ids than the embedding has rows", grown, "39", "32"
    yield "that cannot pad", unpadded, "padding"


def make_graph(
    inputs: tuple[str, ...] = ("input_ids", "attention_mask"), output: str = "logits", labels: int = 2
) -> bytes:
    """An ONNX graph that answers with zeros: the right interface around nothing."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.zeros((1, labels), dtype=np.float32), "weights")
    zero = numpy_helper.from_array(np.array([1]), "axis")
    nodes = [
        helper.make_node("Cast", [inputs[0]], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["numbers", "axis"], ["mean"], keepdims=1),
        helper.make_node("MatMul", ["mean", "weights"], [output]),
    ]
    graph = helper.make_graph(
        nodes,
        "nothing",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"]) for name in inputs],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", labels])],
        [weights, zero],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _graphs() -> Iterator[tuple]:
    yield "cut off", _cut(GRAPH, 0.6), GRAPH
    yield "empty", _overwrite(GRAPH, b""), GRAPH
    yield "text", _overwrite(GRAPH, "this is a graph"), GRAPH
    yield (
        "a safetensors file",
        lambda own: shutil.copy(own.parent / "sound/encoder" / WEIGHTS, own / GRAPH),
        GRAPH,
    )
    yield "with another output", _overwrite(GRAPH, make_graph(output="scores")), GRAPH, "scores", "logits"
    yield "with other inputs", _overwrite(GRAPH, make_graph(inputs=("tokens", "mask"))), GRAPH, "tokens"
    yield "with three logits", _overwrite(GRAPH, make_graph(labels=3)), GRAPH, "3 logits"
    yield "without config.json", _drop(CONFIG), "config.json"
    yield "without tokenizer", _drop(TOKENIZER), "tokenizer"


def _pairs() -> Iterator[tuple]:
    xml, weights = "openvino_model.xml", "openvino_model.bin"
    for name in (xml, weights):
        yield f"{name} cut off", _cut(name, 0.5), xml
        yield f"{name} empty", _overwrite(name, b""), xml
    yield "weights missing", _drop(weights), weights, "missing"
    yield "text", _overwrite(xml, "this is a graph"), xml
    yield "a page", _overwrite(xml, "<html><body>404</body></html>"), xml
    yield "an ONNX graph", _overwrite(xml, make_graph()), xml
    yield "without config.json", _drop(CONFIG), "config.json"
    yield "without tokenizer", _drop(TOKENIZER), "tokenizer"
    yield (
        "with three labels",
        _configured(id2label={"0": "a", "1": "b", "2": "c"}, label2id={"a": 0, "b": 1, "c": 2}),
        "2 logits",
    )


def _packed() -> Iterator[tuple]:
    file = "quanto.safetensors"
    yield "cut off", _cut(file, 0.7), file
    yield "cut off in the header", _cut(file, 0.01), file
    yield "empty", _overwrite(file, b""), file
    yield "a pickle", _overwrite(file, pickle.dumps({"a": 1})), file
    yield (
        "plain weights",
        lambda own: shutil.copy(own.parent / "sound/classifier" / WEIGHTS, own / file),
        file,
    )
    yield "of another width", _configured(hidden_size=36), file
    yield "of another depth", _configured(num_hidden_layers=3), file
    yield "of fewer layers", _configured(num_hidden_layers=1), file


def _bits() -> Iterator[tuple]:
    yield "cut off", _cut(WEIGHTS, 0.7), WEIGHTS
    yield "empty", _overwrite(WEIGHTS, b""), WEIGHTS
    yield (
        "plain weights",
        lambda own: shutil.copy(own.parent / "sound/classifier" / WEIGHTS, own / WEIGHTS),
        WEIGHTS,
    )
    yield "a tensor short", _tensors(_without("bert.encoder.layer.1.output.dense.weight")), "make no model"
    yield "a scale short", _tensors(_without("bert.encoder.layer.1.output.dense.SCB")), "make no model"


def _records() -> Iterator[tuple]:
    from tests.test_runs import a_run

    good = a_run().model_dump_json()

    def with_fields(**changes: object) -> str:
        return json.dumps({**json.loads(good), **changes})

    yield "empty", _overwrite("run.json", "")
    yield "cut off", _overwrite("run.json", good[:200])
    yield "is a list", _overwrite("run.json", "[]")
    yield "of a newer version", _overwrite("run.json", with_fields(schema_version=99)), "99"
    yield "of a version in words", _overwrite("run.json", with_fields(schema_version="new"))
    yield (
        "of another type",
        _overwrite("run.json", '{"schema_version": 1, "key": "x", "split": "validation"}'),
    )
    yield "of an unknown stage", _overwrite("run.json", with_fields(stage={"kind": "magic"}))
    yield "with a field more", _overwrite("run.json", with_fields(extra=1))
    yield "not UTF-8", _overwrite("run.json", b"\xff\xfe")
