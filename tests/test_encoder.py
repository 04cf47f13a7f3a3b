"""Building, loading and saving: labels by name, shared tensors once, nothing unpickled."""

import json
from contextlib import suppress

import pytest
import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForSequenceClassification

from compress.encoder import (
    build_classifier,
    build_config,
    count_parameters,
    load_config,
    load_encoder,
    load_finished,
    load_tokenizer,
    longest_input,
    output_layer,
    save_encoder,
)
from compress.errors import CompressError
from compress.recipes.resolve import resolve_student, resolve_teacher
from compress.recipes.schema import Architecture
from compress.tasks import GLUE, resolve_task
from tests.conftest import FAMILIES, tiny_config


def classifier(family, tokenizer, labels):
    config = tiny_config(family, tokenizer)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: row for row, label in enumerate(labels)}
    return AutoModelForSequenceClassification.from_config(config).eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_labels_are_aligned_by_name(tmp_path, tokenizer, family):
    """Guards swapped classes: a checkpoint that numbers its labels otherwise must give the task's order."""
    model = classifier(family, tokenizer, ["Positive", "Negative"])
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = load_encoder(tmp_path, GLUE["sst2"], seed=0).model.eval()
    ids = torch.tensor([[2, 6, 12, 3]])
    with torch.no_grad():
        assert torch.allclose(loaded(ids).logits, model(ids).logits[:, [1, 0]], atol=1e-6)
    assert loaded.config.id2label == {0: "negative", 1: "positive"}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("labels", [["LABEL_0", "LABEL_1"], ["a", "b", "c"], ["score"]])
def test_a_classifier_for_other_labels_is_drawn_anew(tmp_path, tokenizer, caplog, family, labels):
    """Guards rows taken by position: the first label of one task is not the first of another."""
    caplog.set_level("INFO")
    model = classifier(family, tokenizer, labels)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    one, same, other = (load_encoder(tmp_path, GLUE["sst2"], seed=seed).model for seed in (0, 0, 1))
    head = output_layer(one).weight
    assert f"it was for {', '.join(labels)}" in caplog.text
    assert head.shape == (2, output_layer(model).in_features)
    assert not any(torch.equal(row, old) for row in head for old in output_layer(model).weight)
    assert torch.equal(head, output_layer(same).weight)
    assert not torch.equal(head, output_layer(other).weight)
    old, kept = model.state_dict(), one.state_dict()
    drawn = {name for name in kept if not torch.equal(kept[name], old[name])}
    assert {name.rpartition(".")[0] for name in drawn} == {
        next(name for name, module in one.named_modules() if module is output_layer(one))
    }
    ids = torch.tensor([[2, 6, 12, 3]])
    loss = one.train()(ids, labels=torch.tensor([1])).loss
    loss.backward()
    assert head.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("family", "longest"), [("bert", 66), ("roberta", 65), ("xlm-roberta", 65), ("mpnet", 65)]
)
def test_positions_that_are_counted_from_the_padding_are_fewer(family, longest):
    config = AutoConfig.for_model(family, max_position_embeddings=66, pad_token_id=0)
    assert longest_input(config) == longest


def test_a_base_model_gets_a_seeded_classifier(teacher_directory):
    one, same, other = (load_encoder(teacher_directory, GLUE["mnli"], seed=s).model for s in (1, 1, 2))
    assert one.classifier.weight.shape[0] == 3
    assert torch.equal(one.classifier.weight, same.classifier.weight)
    assert not torch.equal(one.classifier.weight, other.classifier.weight)


def test_a_base_model_is_not_finished(teacher_directory):
    with pytest.raises(CompressError, match=r"not fine-tuned: classifier\.bias"):
        load_finished(teacher_directory)


def test_shared_layers_are_saved_once_and_shared_again(tmp_path, tokenizer, student_file):
    student = resolve_student(str(student_file))
    encoder = build_classifier(student, tokenizer, GLUE["sst2"], seed=0)
    save_encoder(encoder, tmp_path / "saved", max_length=32)
    with safe_open(tmp_path / "saved" / "model.safetensors", "pt") as file:
        stored = sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118
    assert stored == encoder.parameters
    loaded = load_finished(tmp_path / "saved")
    assert loaded.parameters == encoder.parameters
    assert loaded.tokenizer.model_max_length == 32
    deeper = student.model_copy(
        update={"architecture": student.architecture.model_copy(update={"num_hidden_layers": 9})}
    )
    assert build_classifier(deeper, tokenizer, GLUE["sst2"], seed=0).parameters == encoder.parameters


def test_a_shared_tensor_counts_once():
    layer = torch.nn.Linear(3, 3)
    assert count_parameters(torch.nn.Sequential(layer, torch.nn.ReLU(), layer)) == 12


def test_a_student_takes_its_teacher_s_vocabulary(tokenizer, student_file):
    model = build_classifier(
        resolve_student(str(student_file)), tokenizer, resolve_task("stsb"), seed=0
    ).model
    assert model.config.vocab_size == len(tokenizer)
    assert model.config.pad_token_id == tokenizer.pad_token_id
    assert (model.config.num_labels, model.config.problem_type) == (1, "regression")


@pytest.mark.parametrize("damage", ["truncated", "pickle", "foreign", "no tokenizer"])
def test_damaged_models_end_in_one_clear_error(teacher_directory, damage):
    weights = teacher_directory / "model.safetensors"
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "pickle":
        torch.save({"a": 1}, teacher_directory / "pytorch_model.bin")
        weights.unlink()
    elif damage == "foreign":
        (teacher_directory / "config.json").write_text('{"model_type": "no-such-thing"}')
    else:
        (teacher_directory / "tokenizer.json").write_text("{}")
    with pytest.raises(CompressError):
        load_encoder(teacher_directory, GLUE["sst2"], seed=0)


def test_the_approximate_gelu_is_the_published_one_in_one_kernel(tmp_path, tokenizer):
    """Guards the eight operations that took a quarter of a student's training; it is the same function."""
    model = AutoModelForSequenceClassification.from_config(
        tiny_config("albert", tokenizer, hidden_act="gelu_new", initializer_range=1.0)
    ).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = load_encoder(tmp_path, GLUE["sst2"], seed=0)
    assert loaded.model.config.hidden_act == "gelu_pytorch_tanh"
    ids = torch.tensor([[2, 6, 12, 3]])
    with torch.no_grad():
        difference = loaded.model.eval().albert(ids).pooler_output - model.albert(ids).pooler_output
    assert difference.abs().max() < 1e-5
    save_encoder(loaded, tmp_path / "again", max_length=8)
    plain = AutoConfig.from_pretrained(tmp_path / "again")
    assert plain.hidden_act == "gelu_pytorch_tanh"


@pytest.mark.parametrize(
    ("teacher", "published"),
    [
        ("bert-base", {"model_type": "bert", "hidden_act": "gelu", "type_vocab_size": 2}),
        (
            "roberta-base",
            {
                "model_type": "roberta",
                "hidden_act": "gelu",
                "type_vocab_size": 1,
                "layer_norm_eps": 1e-5,
                "max_position_embeddings": 514,
            },
        ),
        (
            "electra-small",
            {"model_type": "electra", "hidden_act": "gelu", "type_vocab_size": 2, "embedding_size": 128},
        ),
        (
            "albert-base",
            {
                "model_type": "albert",
                "hidden_act": "gelu_pytorch_tanh",  # gelu_new as one kernel
                "hidden_dropout_prob": 0.0,
                "attention_probs_dropout_prob": 0.0,
                "embedding_size": 128,
                "num_hidden_groups": 1,
            },
        ),
    ],
)
def test_each_family_is_configured_as_it_was_published(tokenizer, teacher, published):
    recipe = resolve_teacher(teacher)
    config = build_config(recipe.architecture, recipe.family, tokenizer)
    assert {name: getattr(config, name) for name in published} == published
    assert config.vocab_size == len(tokenizer)
    assert config.pad_token_id == tokenizer.pad_token_id


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_answers(tokenizer, family):
    shape = Architecture(
        num_hidden_layers=2,
        hidden_size=12,
        num_attention_heads=3,
        intermediate_size=24,
        embedding_size=8 if family in ("electra", "albert") else None,
        max_position_embeddings=32,
        share="all" if family == "albert" else "none",
    )
    model = AutoModelForSequenceClassification.from_config(build_config(shape, family, tokenizer)).eval()
    inputs = tokenizer(["a lovely film", "dull"], padding=True, return_tensors="pt")
    if family == "roberta":
        inputs.pop("token_type_ids")
    with torch.no_grad():
        assert model(**inputs).logits.shape == (2, 2)


@pytest.mark.parametrize("kind", ["bert", "theirs"])
@pytest.mark.parametrize("load", [load_config, load_tokenizer])
def test_code_that_lies_beside_a_model_is_never_run(kind, load, teacher_directory, tmp_path, monkeypatch):
    """Guards the question of transformers whether to run it, which a script may have answered."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    ran = tmp_path / "ran"
    (teacher_directory / "theirs.py").write_text(
        f"open({str(ran)!r}, 'w')\n"
        "from transformers import BertConfig, BertTokenizerFast\n"
        "class Config(BertConfig):\n    model_type = 'theirs'\n"
        "class Tokenizer(BertTokenizerFast):\n    pass\n"
    )
    for name, classes in (
        ("config.json", {"AutoConfig": "theirs.Config"}),
        ("tokenizer_config.json", {"AutoTokenizer": ["theirs.Tokenizer", "theirs.Tokenizer"]}),
    ):
        file = teacher_directory / name
        fields = json.loads(file.read_text())
        fields["auto_map"] = classes
        if name == "config.json":
            fields["model_type"] = kind
        else:
            fields["tokenizer_class"] = "Tokenizer"
        file.write_text(json.dumps(fields))
    with suppress(CompressError):
        load(teacher_directory)
    assert not ran.exists()
