"""`compress runs`: what a store holds, and being rid of what nobody needs."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compress.cli.options import COMMON, takes
from compress.cli.output import EXIT_USAGE, Output, telling_failures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from compress.cleaning import Choice, Reason
    from compress.inventory import Entry, Inventory

app = typer.Typer(
    name="runs",
    help="See what was made, and delete what is unfinished or superseded.",
    epilog="Example: compress runs list runs/sample",
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
@takes(common=COMMON)
def runs(context: typer.Context, common: dict[str, Any]) -> None:
    """See what was made, and delete what is unfinished or superseded; alone it lists."""
    if context.invoked_subcommand is None:
        _list([], common)
        return
    given = [name for name in COMMON if _was_typed(context, name)]
    if given:
        raise typer.BadParameter(f"Write options after {context.invoked_subcommand!r}.", context)


@app.command(name="list", epilog="Example: compress runs list runs/sample")
@takes(common=COMMON)
def list_(
    common: dict[str, Any],
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="PATHS...", help="Parts of the store; default all.")
    ] = None,
) -> None:
    """List runs: stage, score, size, age, and whether they are finished or superseded."""
    _list(paths or [], common)


@app.command(epilog="Example: compress runs clean --unfinished --dry-run")
@takes(common=COMMON)
def clean(
    common: dict[str, Any],
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Runs that were interrupted, with their checkpoints.")
    ] = False,
    superseded: Annotated[
        bool,
        typer.Option("--superseded", help="Runs with a newer one of the same kind, seed and ancestry."),
    ] = False,
    cache: Annotated[
        bool, typer.Option("--cache", help="What is kept of teachers and corpora; made again when needed.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go, and delete nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete unfinished and superseded runs (or those named), never a run that a kept one was made from."""
    output = Output(as_json=common["as_json"], quiet=common["quiet"])
    with telling_failures():
        from compress.cleaning import cache_may_go, choose
        from compress.inventory import survey

        asked: dict[Reason, bool] = {"unfinished": unfinished, "superseded": superseded}
        everything = not (unfinished or superseded or cache)
        inventory = survey(common["runs"])
        choice = choose(
            inventory, reasons=[reason for reason, wanted in asked.items() if wanted or everything]
        )
        with_cache = cache and cache_may_go(inventory)
        _clean(inventory, choice, output, with_cache=with_cache, dry_run=dry_run, yes=yes)
        if cache and inventory.cache_bytes and not with_cache:
            sys.stderr.write("The cache stays: a run is being made, and may read it.\n")


def _list(paths: "Sequence[Path]", common: dict[str, Any]) -> None:
    output = Output(as_json=common["as_json"], quiet=common["quiet"])
    with telling_failures():
        from compress.inventory import select_below, survey

        inventory = survey(common["runs"])
        shown = select_below(inventory, paths)
        value = {
            "store": inventory.store,
            "runs": [entry.model_dump(mode="json") for entry in shown],
            "disk_bytes": sum(entry.disk_bytes for entry in shown),
            "cache_bytes": inventory.cache_bytes,
        }
        output.give(value, _listing(inventory, shown))


def _clean(
    inventory: "Inventory",
    choice: "Choice",
    output: Output,
    *,
    with_cache: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    from compress.cleaning import delete, delete_cache
    from compress.reporting.formats import format_bytes

    chosen = [entry for entry in inventory.entries if entry.id in choice.chosen]
    value: dict[str, Any] = {
        **choice.model_dump(mode="json"),
        "cache": with_cache,
        "deleted": [],
        "freed_bytes": 0,
    }
    plan = _plan(inventory, choice, with_cache=with_cache)
    if dry_run or not (chosen or with_cache):
        output.give(value, plan)
        return
    if not yes:
        _ask(plan, value, output)
    store = Path(inventory.store)
    gone = [entry for entry in chosen if delete(store, entry)]
    if with_cache:
        delete_cache(store)
    freed = sum(entry.disk_bytes for entry in gone) + (inventory.cache_bytes if with_cache else 0)
    lines = [
        f"deleted {entry.id} ({choice.chosen[entry.id]}, {format_bytes(entry.disk_bytes)})" for entry in gone
    ]
    lines += [f"kept {entry.id}: a process has taken hold of it" for entry in chosen if entry not in gone]
    lines += [f"deleted the cache ({format_bytes(inventory.cache_bytes)})"] if with_cache else []
    output.give(
        {**value, "deleted": [entry.id for entry in gone], "freed_bytes": freed},
        "\n".join([*lines, f"{format_bytes(freed)} freed."]),
    )


def _ask(plan: str, value: dict[str, Any], output: Output) -> None:
    """Go on if the user says yes; else, or where nobody can be asked, leave everything and stop."""
    if output.as_json or not _can_ask():
        output.give(value, plan)
        sys.stderr.write("Nothing was deleted: nobody can be asked here. Repeat the command with --yes.\n")
        raise typer.Exit(EXIT_USAGE)
    sys.stderr.write(plan + "\n")
    if not typer.confirm("Delete this?", default=False, err=True):
        sys.stderr.write("Nothing was deleted.\n")
        raise typer.Exit


def _can_ask() -> bool:
    return sys.stdin.isatty()


def _plan(inventory: "Inventory", choice: "Choice", *, with_cache: bool) -> str:
    from compress.reporting.formats import format_bytes

    entries = {entry.id: entry for entry in inventory.entries}
    lines = [
        f"to delete: {id_} ({reason}, {format_bytes(entries[id_].disk_bytes)})"
        for id_, reason in choice.chosen.items()
    ]
    lines += [f"to delete: the cache ({format_bytes(inventory.cache_bytes)})"] if with_cache else []
    lines += [f"stays: {id_}: {why}" for id_, why in choice.kept.items()]
    return "\n".join(lines or ["There is nothing to delete."])


def _listing(inventory: "Inventory", entries: "Sequence[Entry]") -> "RenderableType":
    from rich import box
    from rich.console import Group
    from rich.table import Table

    from compress.reporting.formats import format_bytes

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("run", "stage", "score", "artefact", "on disk", "age", "state"):
        table.add_column(column, overflow="fold")
    now = datetime.now(UTC)
    for entry in entries:
        table.add_row(
            entry.id,
            entry.stage,
            _score(entry),
            "" if entry.artefact_bytes is None else format_bytes(entry.artefact_bytes),
            format_bytes(entry.disk_bytes),
            age((now - entry.changed).total_seconds()),
            _state(entry),
        )
    total = sum(entry.disk_bytes for entry in entries)
    lines = [f"{len(entries)} runs in the store {inventory.store}, {format_bytes(total)}"]
    if inventory.cache_bytes:
        lines.append(
            f"kept of teachers and corpora: {format_bytes(inventory.cache_bytes)} (compress runs clean --cache)"
        )
    return Group(*([table] if entries else []), *lines)


def _score(entry: "Entry") -> str:
    names = {score.name for score in entry.scores.values()}
    return " ".join([*names, " / ".join(f"{score.value:.4f}" for score in entry.scores.values())]).strip()


def _state(entry: "Entry") -> str:
    if entry.held:
        return f"{entry.state}, a process is at work on it"
    return "superseded" if entry.superseded_by else entry.state


def age(seconds: float) -> str:
    """A time span as people read it, in its largest unit."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _was_typed(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
