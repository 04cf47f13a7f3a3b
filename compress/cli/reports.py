"""The report command's four: write one, render it again, check it, and set two models against each other."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import typer

from compress.cli.output import EXIT_FAILED, Output
from compress.environment import current_command
from compress.errors import InvalidInputError
from compress.reporting import check_report, check_reports, render_again, write_report
from compress.reporting.checksums import DATA
from compress.reporting.data import read_data
from compress.reporting.places import is_report, require_report
from compress.reporting.terminal import render_table
from compress.runs import StoredRun

HEEDED: Mapping[str, tuple[Collection[str], str]] = {
    "--compare": ((), "compress report --compare A B --output-dir DIR"),
    "--again": ((), "compress report --again --output-dir DIR"),
    "--check": (("RUNS",), "compress report --check --output-dir DIR"),
}
"""What each of these heeds beside the directory, and its command; without one of them a report is written, which heeds all else."""


def require_heeded(given: Mapping[str, object]) -> None:
    """Refuse what would do nothing beside --compare, --again or --check.

    Args:
        given: Arguments and options by their names; what is None, false or empty was not given.

    Raises:
        InvalidInputError: One of them would do nothing.
    """
    said = [name for name, value in given.items() if value]
    for mode in said:
        heeded, command = HEEDED.get(mode, (said, ""))
        unheeded = [name for name in said if name != mode and name not in heeded]
        if unheeded:
            raise InvalidInputError(
                f"{', '.join(unheeded)} would do nothing beside {mode}.",
                f"Leave out what does nothing: {command}",
            )


def refuse_without_directory(*, again: bool, check: bool) -> NoReturn:
    """Say how the directory of a report is named, in the command that was given.

    Raises:
        InvalidInputError: Always.
    """
    mode = "--again" if again else "--check" if check else ""
    _, command = HEEDED.get(mode, ((), "compress report RUNS --output-dir reports/NAME"))
    raise InvalidInputError("A report needs a directory.", f"Name it: {command}")


def write(
    output_dir: Path,
    models: Sequence[str],
    *,
    store: Path,
    title: str | None,
    baseline: str | None,
    output: Output,
) -> None:
    """Write a report of runs and show its table.

    Raises:
        InvalidInputError: No runs were named.
    """
    if not models:
        raise InvalidInputError(
            "A report needs runs to compare.", "Name them: compress report runs/sample --output-dir DIR"
        )
    report = write_report(
        _collect(models, store), output_dir, title=title, command=current_command(), baseline=baseline
    )
    value = {"path": str(output_dir / "index.html"), "report": report.model_dump(mode="json")}
    output.give(value, render_table(report))
    if not output.as_json and not output.quiet:
        output.give(value, f"The page: {output_dir / 'index.html'}")


def check(output_dir: Path, models: Sequence[str], *, store: Path, output: Output) -> None:
    """Exit with status 1 where a report (or one of a directory of them) and its data, or its data and the runs, differ."""
    if models:
        require_report(output_dir)
    if is_report(output_dir):
        differences = check_report(output_dir, runs=_collect(models, store) if models else None)
    else:
        differences = check_reports(output_dir)
    output.give(
        {"differences": differences}, "\n".join(differences) or f"{output_dir} follows from its data."
    )
    if differences:
        raise typer.Exit(EXIT_FAILED)


def again(output_dir: Path, *, output: Output) -> None:
    """Render a report, or each of a directory and its index, from the data that are there."""
    render_again(output_dir)
    output.give({"path": str(output_dir)}, f"{output_dir} is rendered anew from its data.")


def compare(output_dir: Path | None, names: tuple[str, str], *, store: Path, output: Output) -> None:
    """Show two models against each other: runs of the store, or of an existing report."""
    from compress.reporting.pairwise import compare_in_report, compare_stored
    from compress.reporting.terminal import render_pairwise

    if output_dir is not None:
        require_report(output_dir)
        pairwise = compare_in_report(read_data(output_dir), *names)
    else:
        pairwise = compare_stored(*(_find_run(name, store) for name in names))
    output.give(pairwise.model_dump(mode="json"), render_pairwise(pairwise))


def _find_run(name: str, store: Path) -> StoredRun:
    from compress.sources import resolve_run

    _require_no_report(name)
    return resolve_run(name, store=store)


def _collect(models: Sequence[str], store: Path) -> list[StoredRun]:
    from compress.sources import collect_runs

    for name in models:
        _require_no_report(name)
    return collect_runs(models, runs=store)


def _require_no_report(name: str) -> None:
    if is_report(Path(name)):
        data = Path(name) / DATA
        raise InvalidInputError(f"{name} is a report; its runs are in {data}.", f"Name {data} instead.")
