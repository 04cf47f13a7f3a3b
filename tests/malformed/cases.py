"""A malformed input: how it is made, how it is fed to the command, what the message must name."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

KINDS = ("teacher", "student", "task", "data", "model")
MODEL = "sound/encoder"
TEACHER_ARGUMENTS = ("--max-steps", "1", "--no-bf16", "--max-length", "16")


@dataclass(frozen=True)
class Case:
    """One mistake.

    Attributes:
        kind: Of the file that has it.
        id: What is wrong, in words.
        arguments: The command; paths are relative to the directory that `spoil` writes into.
        spoil: Writes the malformed file; `sound/` in that directory holds what is as it should be.
        mentions: What the message must contain.
    """

    kind: str
    id: str
    arguments: tuple[str, ...]
    spoil: Callable[[Path], object]
    mentions: tuple[str, ...] = ()


def collect_cases() -> list[Case]:
    from tests.malformed import files, models, recipes, tables, tasks

    return [*recipes.cases(), *tasks.cases(), *tables.cases(), *files.cases(), *models.cases()]


def finetune(task: str = "sound/reviews.toml", model: str = MODEL) -> tuple[str, ...]:
    return ("finetune", model, "--task", task, *TEACHER_ARGUMENTS)


def to_toml(fields: dict) -> str:
    """A dictionary of dictionaries, scalars and lists as TOML."""
    lines = [f"{key} = {_value(value)}" for key, value in fields.items() if not isinstance(value, dict)]
    lines += _tables(fields, "")
    return "\n".join(lines) + "\n"


def _tables(fields: dict, prefix: str) -> Iterator[str]:
    for key, value in fields.items():
        if isinstance(value, dict):
            yield f"[{prefix}{key}]"
            yield from (f"{k} = {_value(v)}" for k, v in value.items() if not isinstance(v, dict))
            yield from _tables(value, f"{prefix}{key}.")


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return str(value) if isinstance(value, float) and not math.isfinite(value) else json.dumps(value)


def leaves(fields: dict, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    """Each field of nested dictionaries with its value, tables included."""
    for key, value in fields.items():
        yield (*path, key), value
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))


def changed(fields: dict, path: tuple[str, ...], change: Callable[[dict, str], object]) -> dict:
    """A copy in which one field was changed in place."""
    copy = json.loads(json.dumps(fields))
    table = copy
    for key in path[:-1]:
        table = table[key]
    change(table, path[-1])
    return copy


def mistakes(fields: dict, *, optional: frozenset[str] = frozenset()) -> Iterator[tuple[str, dict]]:
    """Each way to get one field wrong: missing, misspelled, of another type, out of range."""
    for path, value in leaves(fields):
        name = ".".join(path)
        if name not in optional and not (path[0] == "training" or path[0] == "distill"):
            yield f"{name} missing", changed(fields, path, lambda table, key: table.pop(key))
        yield (
            f"{name} misspelled",
            changed(fields, path, lambda table, key: table.update({f"{key[:-1]}x": table.pop(key)})),
        )
        for what, wrong in _wrong_values(value):
            yield (
                f"{name} {what}",
                changed(fields, path, lambda table, key, new=wrong: table.update({key: new})),
            )


def _wrong_values(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        yield "is a word", "x"
    elif isinstance(value, bool):
        yield from (("is a word", "yes"), ("is a number", 1))
    elif isinstance(value, int):
        yield from (("is text", str(value)), ("is true", True), ("is 0", 0), ("is below 0", -7))
    elif isinstance(value, float):
        yield from (("is text", str(value)), ("is below 0", -1.0), ("is nan", math.nan), ("is inf", math.inf))
    elif isinstance(value, str):
        yield from (("is a number", 5), ("is a list", ["x"]))


def write_bytes(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda directory: (directory / name).write_bytes(content)


def write_text(name: str, content: str) -> Callable[[Path], object]:
    return write_bytes(name, content.encode())


def spoiled_toml(name: str, good: str) -> Iterator[tuple[str, Callable[[Path], object]]]:
    """What can be wrong with any TOML file, whatever it says."""
    yield "no equals sign", write_text(name, good + "\nthis is no TOML\n")
    yield "unclosed string", write_text(name, good.replace('"', "", 1))
    yield "unclosed list", write_text(name, good + "\nx = [1, 2\n")
    yield "a field twice", write_text(name, good.splitlines()[0] + "\n" + good)
    yield "not UTF-8", write_bytes(name, good.encode() + b"# caf\xe9\n")
    yield "UTF-16", write_bytes(name, good.encode("utf-16"))
    yield "empty file", write_text(name, "")
    yield "only a comment", write_text(name, "# nothing\n")
    yield "a directory", lambda directory: (directory / name).mkdir()
    yield "not there", lambda directory: None
    yield "a binary file", write_bytes(name, bytes(range(256)))
    yield "JSON", write_text(name, '{"kind": "classification"}')
