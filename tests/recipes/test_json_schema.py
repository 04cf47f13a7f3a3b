"""The committed JSON Schemas are those of the models, and accept every committed recipe."""

import tomllib

import pytest

from compress.recipes.json_schema import MODELS, file_name, json_schema, render, write_schemas
from compress.recipes.resolve import list_recipes

RECIPES = [(kind, path) for kind in MODELS for path in list_recipes(kind).values()]


@pytest.mark.parametrize("kind", ["teachers", "students"])
def test_the_committed_schema_is_fresh(kind):
    """Mend with `python -m compress.recipes.json_schema`."""
    folder = next(iter(list_recipes(kind).values())).parent
    assert (folder / file_name(kind)).read_bytes() == render(kind).encode()


def test_both_are_written(tmp_path):
    for kind in MODELS:
        (tmp_path / kind).mkdir()
    written = write_schemas(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in written] == [
        "teachers/teacher.schema.json",
        "students/student.schema.json",
    ]
    assert written[1].read_text(encoding="utf-8") == render("students")


def test_a_schema_leaves_the_name_to_the_file():
    for kind in MODELS:
        schema = json_schema(kind)
        assert "name" not in schema["properties"]
        assert "name" not in schema["required"]
        assert schema["additionalProperties"] is False


@pytest.mark.parametrize(("kind", "path"), RECIPES, ids=lambda value: getattr(value, "stem", value))
def test_every_recipe_names_its_schema(kind, path):
    assert path.read_text(encoding="utf-8").splitlines()[0] == f"#:schema ./{file_name(kind)}"


@pytest.mark.parametrize(("kind", "path"), RECIPES, ids=lambda value: getattr(value, "stem", value))
def test_every_recipe_fits_its_schema(kind, path):
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(json_schema(kind))
    recipe = tomllib.loads(path.read_text(encoding="utf-8"))
    assert [error.message for error in validator.iter_errors(recipe)] == []
    wrong = {**recipe, "famly": "bert"}
    assert any("famly" in error.message for error in validator.iter_errors(wrong))


def test_no_recipe_is_left_out():
    """Guards an empty list, over which the tests above would pass."""
    assert {"bert-base", "albert-base", "albert-tiny", "bert-tiny"} <= {path.stem for _, path in RECIPES}
