"""The commands about recipes: list them, show one in full, validate files. None of them needs torch to tell a size."""

from pathlib import Path
from typing import Annotated, Any

import typer

from compress.cli.options import COMMON, takes
from compress.cli.output import Output, telling_failures

app = typer.Typer()


@app.command(name="list", epilog="Example: compress list students")
@takes(common=COMMON)
def list_(
    common: dict[str, Any],
    kind: Annotated[
        str | None,
        typer.Argument(help="teachers, students, tasks or methods; default all."),
    ] = None,
) -> None:
    """List teachers, students, tasks and methods: sizes, sources, how students are taught."""
    output = Output(as_json=common["as_json"], quiet=common["quiet"])
    with telling_failures():
        from compress.cli.tables import list_catalogue

        output.give(*list_catalogue(kind))


@app.command(epilog="Example: compress show albert-tiny --teacher roberta-base")
@takes(common=COMMON)
def show(
    name: Annotated[
        str,
        typer.Argument(help="A teacher, a student or a task: a name, or a file."),
    ],
    common: dict[str, Any],
    teacher: Annotated[
        str | None,
        typer.Option(
            "--teacher",
            help="Whose vocabulary a student takes, and whose size is shown beside; default bert-base's 30,522 pieces.",
        ),
    ] = None,
) -> None:
    """Show a recipe in full: every field with its default, its file; parameters by part, bytes, operations."""
    output = Output(as_json=common["as_json"], quiet=common["quiet"])
    with telling_failures():
        from compress.cli.recipes import show_recipes

        output.give(*show_recipes(name, teacher=teacher))


@app.command(epilog="Example: compress validate students/albert-tiny.toml")
@takes(common=COMMON)
def validate(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...", help="Teachers, students or tasks (*.toml); a task's data are read, too."
        ),
    ],
    common: dict[str, Any],
) -> None:
    """Validate recipe and task FILES; every mistake is told at once."""
    output = Output(as_json=common["as_json"], quiet=common["quiet"])
    with telling_failures():
        from compress.cli.validation import validate_files

        entries = validate_files(files)
        lines = [f"{entry['file']}: a valid {entry['kind']}, {entry['summary']}" for entry in entries]
        output.give(entries, "\n".join(lines))
