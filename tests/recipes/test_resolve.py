"""Names become recipes; what is wrong with one is told in full."""

import pytest

from compress.errors import InvalidInputError, UnknownNameError
from compress.recipes.resolve import list_recipes, resolve_student, resolve_teacher
from compress.recipes.schema import Student
from compress.recipes.start import FromTeacher, describe_start

STUDENTS = sorted(list_recipes("students"))
TEACHERS = sorted(list_recipes("teachers"))


def test_the_promised_recipes_are_there():
    """Guards empty lists, over which every parametrized test would pass."""
    assert set(TEACHERS) >= {
        *("bert-base", "bert-large", "bert-mini", "bert-small", "bert-medium"),
        *("roberta-base", "distilroberta", "electra-small", "electra-base", "albert-base"),
        *("minilm-l6", "minilm-l12"),
    }
    assert set(STUDENTS) >= {
        *("albert-mini", "albert-tiny", "albert-6-384", "albert-small"),
        *("tinybert-4-312", "tinybert-6-768", "minilm-3-384", "distilbert-6", "bert-tiny", "bert-mini"),
    }


@pytest.mark.parametrize("name", TEACHERS)
def test_every_teacher_resolves(name):
    assert resolve_teacher(name).name == name


@pytest.mark.parametrize("name", STUDENTS)
def test_every_student_resolves(name):
    assert resolve_student(name).name == name


def test_albert_tiny_is_as_the_issue_says():
    shape = resolve_student("albert-tiny").architecture
    assert (shape.num_hidden_layers, shape.hidden_size, shape.num_attention_heads) == (4, 312, 12)
    assert (shape.intermediate_size, shape.embedding_size, shape.share) == (1248, 128, "all")


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(UnknownNameError) as caught:
        resolve_student("albert-tny")
    assert "albert-tiny" in caught.value.fix
    assert "bert-mini" in caught.value.fix


def test_a_user_s_own_file_comes_first(tmp_path, monkeypatch, student_file):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "students" / "albert-tiny.toml").write_text(student_file.read_text())
    assert resolve_student("albert-tiny").description == "tiny"
    assert resolve_student("tiny-albert").architecture.hidden_size == 32
    assert resolve_student(str(student_file)).name == "tiny-albert"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("hidden_size = 32", "hidden_size = 31"), "multiple of"),
        (("hidden_size = 32", "hidden_sise = 32"), "hidden_sise: no such field"),
        (("num_hidden_layers = 2", ""), "num_hidden_layers: missing"),
        (("learning_rate = 5e-3", "learning_rate = -1"), "greater than 0"),
        (('share = "all"', 'share = "half"'), "'attention', 'ffn' or 'none'"),
        (('share = "all"', 'share = "ffn"\nnum_hidden_groups = 2'), "not 'ffn'"),
        (
            ('share = "all"', 'share = "all"\nnum_hidden_groups = 3'),
            "2 is not a multiple of num_hidden_groups 3",
        ),
        (('share = "all"', 'share = "all"\nnum_hidden_groups = 0'), "num_hidden_groups"),
        (('family = "albert"', 'family = "gpt"'), "family"),
        (('family = "albert"', 'family = "bert"'), "bert are not shared"),
        (("temperature = 2.0", "weight = 0.0"), "greater than 0"),
        (("temperature = 2.0", "temprature = 2.0"), "temprature: no such field"),
        (('{ loss = "soft", temperature = 2.0 }', ""), "at least 1 item"),
        (('loss = "soft"', 'loss = "smooth"'), "smooth"),
        (("terms = [", "temperature = 2.0\nterms = ["), "temperature: no such field"),
        (('description = "tiny"', 'name = "x"'), "name: no such field"),
        (('family = "albert"', "family = "), "TOML"),
    ],
)
def test_a_mistake_is_an_error_that_names_it(student_file, change, complaint):
    student_file.write_text(student_file.read_text().replace(*change))
    with pytest.raises(InvalidInputError) as caught:
        resolve_student(str(student_file))
    assert complaint in caught.value.problem
    assert str(student_file) in caught.value.problem


def test_all_mistakes_are_told_at_once(student_file):
    text = student_file.read_text().replace("hidden_size = 32", "hidden_sise = 32").replace("= 5e-3", "= -1")
    student_file.write_text(text)
    with pytest.raises(InvalidInputError) as caught:
        resolve_student(str(student_file))
    assert {"hidden_sise", "hidden_size", "learning_rate"} <= set(
        caught.value.problem.replace(":", " ").replace(".", " ").split()
    )


@pytest.mark.parametrize(
    ("start", "complaint"),
    [
        ('initialize = "teacher"', """initialize: expected "random", or a table [initialize]"""),
        ('initialize = {layer = "mean"}', "initialize.layer: no such field (did you mean 'layers'?)"),
        (
            'initialize = {layers = "middle"}',
            """initialize.layers: expected "uniform", "mean" or a list of layers, counted from 0, received 'middle'""",
        ),
        (
            "initialize = {layers = [0, -1]}",
            "initialize.layers.1: Input should be greater than or equal to 0",
        ),
        ("initialize = {layers = [0, true]}", "initialize.layers.1: Input should be a valid integer"),
        ("initialize = {layers = []}", "initialize.layers: List should have at least 1 item"),
    ],
)
def test_a_mistaken_start_is_told_once_and_without_the_schema_s_own_words(student_file, start, complaint):
    """A union tells a mistake once for each of its branches, unless it is told which was meant."""
    student_file.write_text(f"{start}\n{student_file.read_text()}")
    with pytest.raises(InvalidInputError) as caught:
        resolve_student(str(student_file))
    assert complaint in caught.value.problem
    assert "\n" not in caught.value.problem
    assert "(word)" not in caught.value.problem
    assert "(table)" not in caught.value.problem


@pytest.mark.parametrize(
    ("start", "layers"),
    [("{}", "uniform"), ('{layers = "mean"}', "mean"), ("{layers = [0, 3]}", (0, 3))],
)
def test_a_start_from_the_teacher_comes_back_from_json(student_file, start, layers):
    student_file.write_text(f"initialize = {start}\n{student_file.read_text()}")
    student = resolve_student(str(student_file))
    assert isinstance(student.initialize, FromTeacher)
    assert student.initialize.layers == layers
    assert Student.model_validate_json(student.model_dump_json()) == student


def test_the_start_is_told_in_words():
    assert describe_start("random") == "random start"
    assert describe_start(FromTeacher(layers="mean")) == "starts from its teacher, layers mean"
    assert describe_start(FromTeacher(layers=(0, 3))) == "starts from its teacher, layers 0, 3"
