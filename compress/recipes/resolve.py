"""From a name to a recipe: an explicit path, the user's own folder, then the recipes that came along."""

import difflib
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from compress.errors import InvalidInputError, UnknownNameError
from compress.recipes.schema import LocalSource, Student, Teacher

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

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
        if path.is_dir():
            raise InvalidInputError(f"{path} is a directory, not a recipe.", "Name the *.toml file in it.")
        if not path.exists():
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
    if not fields:
        raise InvalidInputError(
            f"{path} is empty, so it describes no {kind}.", f"Any file in {kind}s/ is an example."
        )
    mistakes = ["name: no such field, for a recipe's name is its file's stem"] if "name" in fields else []
    try:
        recipe = model.model_validate({**fields, "name": path.stem})
    except ValidationError as error:
        mistakes += _mistakes_in(error, (model,))
    if mistakes:
        problem = f"{path} is no valid {kind}: {_list_mistakes(mistakes)}"
        raise InvalidInputError(problem, f"Mend the file; any file in {kind}s/ is an example.")
    return recipe


def read_fields(path: Path) -> dict[str, Any]:
    """What a TOML file says, not yet validated.

    Raises:
        InvalidInputError: It is no TOML, or cannot be read.
    """
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"{path} is not UTF-8: byte {error.object[error.start]:#04x} at position {error.start}.",
            "Save it as UTF-8.",
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidInputError(f"{path} is no TOML: {error}.", "Mend that place of the file.") from None
    except OSError as error:
        raise InvalidInputError(
            f"{path} cannot be read: {error.strerror or error}.", "Mend its permissions."
        ) from None


def explain_validation(error: ValidationError, models: Sequence[type[BaseModel]] = ()) -> str:
    """Where, what was received, what was expected: in one line, or a line each where several things are wrong.

    Args:
        error: What pydantic found.
        models: What was validated: their fields are offered where one is misspelled.
    """
    return _list_mistakes(_mistakes_in(error, models))


def _list_mistakes(mistakes: Sequence[str]) -> str:
    return mistakes[0] if len(mistakes) == 1 else "\n" + "\n".join(f"  {each}" for each in mistakes)


def _mistakes_in(error: ValidationError, models: Sequence[type[BaseModel]]) -> list[str]:
    found = error.errors(include_url=False)
    # A list whose items are wrong is also told to be too short, for none of them counts.
    inner = {mistake["loc"][:-1] for mistake in found if mistake["loc"]}
    found = [each for each in found if each["type"] != "too_short" or each["loc"] not in inner]
    return [_explain_mistake(mistake, models) for mistake in found]


def _explain_mistake(mistake: "ErrorDetails", models: Sequence[type[BaseModel]]) -> str:
    location = mistake["loc"]
    where = ".".join(part for part in map(str, location) if not _is_branch(part))
    match mistake["type"]:
        case "extra_forbidden":
            known = [name for model in _models_at(models, location[:-1]) for name in model.model_fields]
            near = difflib.get_close_matches(str(location[-1]), known, n=1)
            return f"{where}: no such field" + (f" (did you mean {near[0]!r}?)" if near else "")
        case "missing":
            return f"{where}: missing"
        case "union_tag_not_found":
            return f"{where}: its `kind` is missing"
        case _:
            message = mistake["msg"].removeprefix("Value error, ").replace(" after validation", "")
            message = message.replace("Tuple", "List").replace("tuple", "list")  # TOML has lists only
            return f"{where}: {message}, received {mistake['input']!r:.80}" if location else message


def _is_branch(part: str) -> bool:
    """Whether it names a branch of a union that is told apart by its type, which no file mentions."""
    return part.startswith("(")


def _models_at(models: Sequence[type[BaseModel]], location: Sequence[int | str]) -> list[type[BaseModel]]:
    """The models that may stand at a place; the tag of a union names no field and is passed over."""
    found = list(models)
    for part in location:
        inner = [
            nested
            for model in found
            if part in model.model_fields
            for nested in _models_in(model.model_fields[str(part)].annotation)
        ]
        tagged = [
            model
            for model in found
            if "kind" in model.model_fields and model.model_fields["kind"].default == part
        ]
        found = inner or tagged or found
    return found


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


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
