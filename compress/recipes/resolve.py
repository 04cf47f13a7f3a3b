"""From a name to a recipe: an explicit path, the user's own folder, then the recipes that came along."""

import difflib
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from compress.errors import InvalidInputError, UnknownNameError
from compress.recipes.schema import LocalSource, Student, Teacher

RecipeKind = Literal["teachers", "students"]
Recipe = TypeVar("Recipe", Teacher, Student)


def resolve_teacher(name: str) -> Teacher:
    """The teacher of that name, or in that file.

    Raises:
        UnknownNameError: No such recipe.
        InvalidInputError: The file does not say what a teacher is.
    """
    path = find_recipe("teachers", name)
    teacher = read_recipe(path, Teacher)
    if isinstance(teacher.source, LocalSource):
        weights = path.parent / teacher.source.path
        return teacher.model_copy(update={"source": LocalSource(path=str(weights))})
    return teacher


def resolve_student(name: str) -> Student:
    """The student of that name, or in that file.

    Raises:
        UnknownNameError: No such recipe.
        InvalidInputError: The file does not say what a student is.
    """
    return read_recipe(find_recipe("students", name), Student)


def list_recipes(kind: RecipeKind) -> dict[str, Path]:
    """Name → file of every recipe in reach, sorted; a user's own file hides the bundled one of its name."""
    found: dict[str, Path] = {}
    for folder in _folders(kind):
        for path in sorted(folder.glob("*.toml")):
            found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def find_recipe(kind: RecipeKind, name: str) -> Path:
    """The file that a recipe's name stands for.

    Raises:
        UnknownNameError: There is none; the message lists what there is and the nearest name.
    """
    if name.endswith(".toml") or "/" in name:
        path = Path(name)
        if not path.is_file():
            raise UnknownNameError(f"There is no file {path}.", f"Check the path, or name one of the {kind}.")
        return path
    recipes = list_recipes(kind)
    if name not in recipes:
        raise UnknownNameError(f"There is no {kind[:-1]} {name!r}.", suggest(name, list(recipes), kind))
    return recipes[name]


def read_recipe(path: Path, model: type[Recipe]) -> Recipe:
    """Read and validate one recipe file.

    Raises:
        InvalidInputError: It is no TOML, or says something that the schema does not know.
    """
    kind = model.__name__.lower()
    fields = read_fields(path)
    mistakes: list[str] = (
        ["  'name': no field of a recipe, whose name is its file's stem"] if "name" in fields else []
    )
    try:
        recipe = model.model_validate({**fields, "name": path.stem})
    except ValidationError as error:
        mistakes.append(explain_validation(error))
    if mistakes:
        raise InvalidInputError(
            "\n".join([f"{path} is no valid {kind}:", *mistakes]),
            f"Mend the file; any file in {kind}s/ is an example.",
        )
    return recipe


def read_fields(path: Path) -> dict[str, Any]:
    """What a TOML file says, not yet validated.

    Raises:
        InvalidInputError: It is no TOML, or cannot be read.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInputError(f"{path} is no readable TOML file: {error}", "Mend the file.") from None


def explain_validation(error: ValidationError) -> str:
    """A line for each thing that is wrong: where, what was received, what was expected."""
    lines = []
    for mistake in error.errors(include_url=False):
        where = ".".join(str(part) for part in mistake["loc"]) or "the whole"
        if mistake["type"] == "extra_forbidden":
            lines.append(f"  {where}: no such field")
        elif mistake["type"] == "missing":
            lines.append(f"  {where}: missing")
        else:
            lines.append(
                f"  {where}: {mistake['msg'].removeprefix('Value error, ')}, received {mistake['input']!r:.80}"
            )
    return "\n".join(lines)


def suggest(name: str, known: Sequence[str], kind: str) -> str:
    """The nearest known name, and all of them."""
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {nearest[0]!r}? " if nearest else ""
    return f"{hint}The {kind} are: {', '.join(known)}."


def _folders(kind: RecipeKind) -> Iterator[Path]:
    """The user's own folder, then the bundled one: in the wheel, or in the checkout of an editable install."""
    package = Path(__file__).resolve().parent.parent
    wheel = package / "_recipes"
    for folder in (Path(kind), (wheel if wheel.is_dir() else package.parent) / kind):
        if folder.is_dir():
            yield folder
