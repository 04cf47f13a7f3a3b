"""`compress doctor`: what is installed, usable and missing here, and the command that mends it."""

from typing import TYPE_CHECKING, Any

import typer

from compress.cli.options import COMMON, DATA, takes
from compress.cli.output import EXIT_FAILED, Output, telling_failures

if TYPE_CHECKING:
    from rich.console import RenderableType

    from compress.doctor.findings import Diagnosis

app = typer.Typer()

MARKS = {"good": ("✓", "green"), "lacking": ("–", "yellow"), "broken": ("✗", "bold red")}


@app.command(epilog="Example: compress doctor")
@takes(data=DATA, common=COMMON)
def doctor(data: dict[str, Any], common: dict[str, Any]) -> None:
    """See what is installed, usable and missing here; exit 1 only where something required is broken."""
    output = Output(as_json=common["as_json"], quiet=common["quiet"])
    with telling_failures():
        from compress.doctor.examination import examine

        diagnosis = examine(store=common["runs"], glue=data["glue"])
        output.give({**diagnosis.model_dump(mode="json"), "healthy": diagnosis.healthy}, render(diagnosis))
        if not diagnosis.healthy:
            raise typer.Exit(EXIT_FAILED)


def render(diagnosis: "Diagnosis") -> "RenderableType":
    """The findings, area by area; below each lack, what mends it."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[RenderableType] = []
    for area, findings in diagnosis.by_area().items():
        table = Table.grid(padding=(0, 1))
        for finding in findings:
            mark, style = MARKS[finding.state]
            text = Text(finding.text)
            if finding.fix:
                text.append(f"\n→ {finding.fix}", style="cyan")
            table.add_row(" ", Text(mark, style=style), finding.name, text)
        parts += [Text(area, style="bold"), table, Text()]
    counts = diagnosis.counts()
    return Group(*parts, f"{counts['good']} good, {counts['lacking']} lacking, {counts['broken']} broken.")
