"""Sizes in closed form are the sizes of the models that are built, and those that were published."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification

from compress import encoder
from compress.encoder import build_config
from compress.flops import count_flops
from compress.recipes.resolve import list_recipes, resolve_student, resolve_teacher
from compress.recipes.schema import Architecture
from compress.recipes.size import (
    BERT_VOCABULARY,
    count_operations,
    count_parameters,
    list_parameters,
    megabytes,
)

STUDENTS = sorted(list_recipes("students"))
TEACHERS = sorted(list_recipes("teachers"))


class Vocabulary:
    """As much of a tokenizer as a configuration asks for."""

    pad_token_id, bos_token_id, eos_token_id = 0, None, None

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size


def configure(architecture, family, *, vocab_size, num_outputs):
    config = build_config(architecture, family, Vocabulary(vocab_size))
    config.num_labels = num_outputs
    return config


def build(architecture, family, **size):
    """The model itself; on the meta device it takes no memory."""
    with torch.device("meta"):
        return AutoModelForSequenceClassification.from_config(configure(architecture, family, **size))


def built(architecture, family, **size):
    """Number of parameters of the model itself."""
    return encoder.count_parameters(build(architecture, family, **size))


def part_of(name):
    """The part that a parameter of any family belongs to, by its name in `transformers`."""
    if "word_embeddings" in name:
        return "word_table"
    if "embeddings." in name:
        return "projection" if "embeddings_project" in name else "positions"
    if "embeddings_project" in name or "embedding_hidden_mapping_in" in name:
        return "projection"
    if "pooler" in name or "classifier" in name:
        return "head"
    return "attention" if "attention" in name else "ffn"


def test_no_recipe_is_left_out():
    """Guards empty lists, over which the tests below would pass."""
    assert {"bert-base", "roberta-base", "electra-small", "albert-base"} <= set(TEACHERS)
    assert {"albert-tiny", "tinybert-4-312", "bert-tiny"} <= set(STUDENTS)
    shapes = [resolve_student(name).architecture for name in STUDENTS]
    assert {"all", "attention", "ffn", "none"} == {shape.share for shape in shapes}
    assert any(shape.num_hidden_groups > 1 for shape in shapes)


@pytest.mark.parametrize("name", TEACHERS)
def test_a_teacher_is_as_big_as_the_model_that_is_built(name):
    teacher = resolve_teacher(name)
    size = {"vocab_size": teacher.vocab_size, "num_outputs": 3}
    assert count_parameters(teacher.architecture, teacher.family, **size) == built(
        teacher.architecture, teacher.family, **size
    )


@pytest.mark.parametrize("name", STUDENTS)
def test_a_student_is_as_big_as_the_model_that_is_built(name):
    student = resolve_student(name)
    size = {"vocab_size": 50265, "num_outputs": 1}
    assert count_parameters(student.architecture, student.family, **size) == built(
        student.architecture, student.family, **size
    )


@pytest.mark.parametrize("name", ["bert-base", "roberta-base", "electra-small", "albert-base"])
def test_a_teacher_s_parts_are_those_of_the_model(name):
    teacher = resolve_teacher(name)
    assert_parts(teacher.architecture, teacher.family, vocab_size=teacher.vocab_size, num_outputs=3)


@pytest.mark.parametrize("name", STUDENTS)
def test_a_student_s_parts_are_those_of_the_model(name):
    student = resolve_student(name)
    assert_parts(student.architecture, student.family, vocab_size=BERT_VOCABULARY, num_outputs=2)


def assert_parts(architecture, family, **size):
    counted = dict(list_parameters(architecture, family, **size).parts())
    found = dict.fromkeys(counted, 0)
    for name, parameter in build(architecture, family, **size).named_parameters():
        found[part_of(name)] += parameter.numel()
    assert counted == found


@pytest.mark.parametrize("name", [*TEACHERS, *STUDENTS])
def test_operations_are_those_of_the_model(name):
    recipe = resolve_teacher(name) if name in TEACHERS else resolve_student(name)
    config = configure(recipe.architecture, recipe.family, vocab_size=40, num_outputs=3)
    counted = count_operations(recipe.architecture, recipe.family, batch=1, length=128, num_outputs=3)
    assert counted == count_flops(config, batch=1, length=128)


@pytest.mark.parametrize("name", STUDENTS)
def test_a_student_is_as_big_as_its_description_says(name):
    student = resolve_student(name)
    said = float(student.description.split("; ")[-1].split(" M parameters")[0])
    counted = count_parameters(student.architecture, student.family, vocab_size=BERT_VOCABULARY)
    assert counted / 1e6 == pytest.approx(said, abs=0.06)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        # Of the released weights, pooler included, without the two rows of a classifier.
        ("bert-base", 109_482_240),
        ("bert-large", 335_141_888),
        ("bert-mini", 11_170_560),
        ("bert-small", 28_763_648),
        ("bert-medium", 41_373_184),
        ("roberta-base", 124_645_632),
        ("distilroberta", 82_118_400),
        ("albert-base", 11_683_584),
        ("minilm-l6", 22_713_216),
        ("minilm-l12", 33_360_000),
    ],
)
def test_a_teacher_is_as_big_as_its_published_weights(name, published):
    """Guards a wrong shape in a recipe, which the model that is built from it would share."""
    teacher = resolve_teacher(name)
    classifier = 2 * teacher.architecture.hidden_size + 2
    counted = count_parameters(teacher.architecture, teacher.family, vocab_size=teacher.vocab_size)
    assert counted - classifier == published


@pytest.mark.parametrize("family", ["albert", "electra"])
@pytest.mark.parametrize("width", [None, 12, 5])
def test_embeddings_are_projected_where_the_family_projects(family, width):
    """ALBERT always does, ELECTRA only where the widths differ."""
    shape = Architecture(
        num_hidden_layers=2,
        hidden_size=12,
        num_attention_heads=3,
        intermediate_size=7,
        embedding_size=width,
        share="all" if family == "albert" else "none",
    )
    size = {"vocab_size": 40, "num_outputs": 2}
    assert count_parameters(shape, family, **size) == built(shape, family, **size)


@given(
    family=st.sampled_from(["bert", "roberta", "electra", "albert"]),
    layers=st.integers(1, 3),
    heads=st.integers(1, 3),
    head=st.integers(1, 5),
    inner=st.integers(1, 20),
    width=st.none() | st.integers(1, 20),
    positions=st.integers(3, 40),
    vocabulary=st.integers(5, 60),
    outputs=st.integers(1, 4),
    share=st.sampled_from(["all", "attention", "ffn", "none"]),
    groups=st.integers(1, 3),
)
@settings(max_examples=40, deadline=None)
def test_any_shape_counts_as_it_is_built(
    family, layers, heads, head, inner, width, positions, vocabulary, outputs, share, groups
):
    grouped = family == "albert" and share == "all"
    shape = Architecture(
        num_hidden_layers=layers * groups,
        num_hidden_groups=groups if grouped else 1,
        hidden_size=heads * head,
        num_attention_heads=heads,
        intermediate_size=inner,
        embedding_size=width if family in ("electra", "albert") else None,
        max_position_embeddings=positions,
        share=share if family == "albert" else "none",
    )
    size = {"vocab_size": vocabulary, "num_outputs": outputs}
    assert count_parameters(shape, family, **size) == built(shape, family, **size)
    flops = count_operations(shape, family, batch=2, length=2, num_outputs=outputs)
    assert flops == count_flops(configure(shape, family, **size), batch=2, length=2)


def test_a_size_is_four_bytes_a_parameter():
    assert megabytes(109_483_778) == pytest.approx(437.935112)
    assert megabytes(109_483_778, precision="fp16") == pytest.approx(218.967556)
    assert megabytes(109_483_778, precision="int8") == pytest.approx(109.483778)


def test_a_key_from_before_there_were_groups_still_holds():
    """Guards finished runs against being made again: their keys are hashes over the recipe as it was."""
    shape = resolve_student("albert-tiny").architecture
    assert "num_hidden_groups" not in shape.model_dump(mode="json")
    groups = resolve_student("albert-tiny-groups").architecture
    assert groups.model_dump(mode="json")["num_hidden_groups"] == 2
    assert Architecture.model_validate(groups.model_dump()) == groups
