"""Which layer learns from which: the papers' maps, ours in between, and what is refused."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from compress.distillation.layers import attention_pairs, describe_map, resolve_map
from compress.errors import InvalidInputError
from compress.recipes.terms import LayerMap

depths = st.integers(1, 48)


def partners(layer_map, ours, theirs):
    pairs = resolve_map(layer_map, student_layers=ours, teacher_layers=theirs)
    assert [student for student, _ in pairs] == list(range(ours + 1))
    return tuple(teacher for _, teacher in pairs)


@pytest.mark.parametrize(
    ("layer_map", "ours", "theirs", "expected"),
    [
        ("uniform", 4, 12, (0, 3, 6, 9, 12)),
        ("uniform", 6, 12, (0, 2, 4, 6, 8, 10, 12)),
        ("uniform", 4, 6, (0, 2, 3, 5, 6)),
        ("uniform", 5, 12, (0, 3, 5, 8, 10, 12)),
        ("uniform", 1, 12, (0, 12)),
        ("uniform", 4, 4, (0, 1, 2, 3, 4)),
        ("uniform", 4, 2, (0, 1, 1, 2, 2)),
        ("first", 4, 12, (0, 1, 2, 3, 4)),
        ("first", 4, 4, (0, 1, 2, 3, 4)),
        ("last", 4, 12, (0, 9, 10, 11, 12)),
        ("last", 4, 4, (0, 1, 2, 3, 4)),
    ],
)
def test_maps(layer_map, ours, theirs, expected):
    assert partners(layer_map, ours, theirs) == expected


@given(depths, depths)
def test_uniform_ends_at_both_ends_and_never_steps_back(ours, theirs):
    found = partners("uniform", ours, theirs)
    assert (found[0], found[-1]) == (0, theirs)
    assert list(found) == sorted(found)
    if ours <= theirs:
        assert len(set(found)) == len(found)
    else:
        assert set(found) == set(range(theirs + 1))


def test_pairs_come_in_the_student_s_order():
    pairs = resolve_map(((4, 12), (0, 0), (2, 6), (2, 7)), student_layers=4, teacher_layers=12)
    assert pairs == ((0, 0), (2, 6), (2, 7), (4, 12))


def test_embeddings_have_no_attention():
    assert attention_pairs(((0, 0), (1, 0), (0, 2), (1, 3), (2, 6))) == ((1, 3), (2, 6))


@pytest.mark.parametrize("layer_map", ["first", "last"])
def test_a_deeper_student_is_refused_where_each_layer_needs_its_own(layer_map):
    """Guards `last` giving layer 1 the embeddings, or a layer below them."""
    with pytest.raises(InvalidInputError, match=r'"(first|last)".*12 layers.*only 4') as raised:
        resolve_map(layer_map, student_layers=12, teacher_layers=4)
    assert '"uniform"' in raised.value.fix


@pytest.mark.parametrize("pair", [(5, 1), (1, 13), (-1, 1), (1, -1)])
def test_pairs_out_of_range(pair):
    """Guards a negative index, which a list of hidden states would take."""
    with pytest.raises(InvalidInputError) as raised:
        resolve_map(((0, 0), pair), student_layers=4, teacher_layers=12)
    assert f"[{pair[0]}, {pair[1]}]" in raised.value.problem
    assert "[0, 0]" not in raised.value.problem
    assert "student's are 0 to 4" in raised.value.fix
    assert "teacher's 0 to 12" in raised.value.fix


def test_pairs_named_twice_or_not_at_all():
    with pytest.raises(InvalidInputError, match=r"twice: \[4, 12\]"):
        resolve_map(((4, 12), (0, 0), (4, 12)), student_layers=4, teacher_layers=12)
    with pytest.raises(InvalidInputError, match="empty"):
        resolve_map((), student_layers=4, teacher_layers=12)


@pytest.mark.parametrize(
    ("layer_map", "ours", "theirs", "expected"),
    [
        ("uniform", 4, 12, "TinyBERT's uniform map, g(m) = 3m"),
        ("uniform", 4, 4, "TinyBERT's uniform map, g(m) = m"),
        ("uniform", 4, 6, "g(m) = ⌈m·6/4⌉ is ours: TinyBERT maps multiples"),
        ("uniform", 4, 2, "the student is deeper, so that layers share a partner"),
        ("first", 4, 12, "TinyBERT's bottom-strategy"),
        ("last", 4, 12, "TinyBERT's top-strategy"),
        (((4, 12),), 4, 12, "pairs, student→teacher: 4→12 (as given)"),
    ],
)
def test_descriptions_say_whose_choice_it_is(layer_map, ours, theirs, expected):
    assert expected in describe_map(layer_map, student_layers=ours, teacher_layers=theirs)


def test_descriptions_list_the_pairs():
    line = describe_map("uniform", student_layers=4, teacher_layers=6)
    assert line.startswith("uniform, student→teacher: 0→0, 1→2, 2→3, 3→5, 4→6 (")


@pytest.mark.parametrize("value", ["uniform", "first", "last", [[0, 0], [4, 12]]])
def test_what_a_recipe_may_say(value):
    expected = value if isinstance(value, str) else ((0, 0), (4, 12))
    assert TypeAdapter(LayerMap).validate_python(value) == expected


@pytest.mark.parametrize(
    "value", ["Uniform", "middle", [], [[1]], [[1, 2, 3]], [["1", 2]], [[1, 2.0]], [[-1, 2]], [[True, 1]], 3]
)
def test_what_it_may_not(value):
    with pytest.raises(ValidationError):
        TypeAdapter(LayerMap).validate_python(value)


def test_maps_need_no_torch():
    """Plans are made where torch takes seconds to import."""
    code = "import sys, compress.distillation.layers; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
