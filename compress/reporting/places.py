"""Where reports are, and where one may be written: nowhere that it would damage what is there."""

from collections.abc import Sequence
from pathlib import Path

from compress.errors import CompressError, InvalidInputError
from compress.reporting.ancestors import find_store
from compress.reporting.checksums import DATA, SUMS_FILE
from compress.reporting.data import MANIFEST_FILE
from compress.runs import StoredRun


def is_report(folder: Path) -> bool:
    """Whether a directory holds a report."""
    return (folder / DATA / MANIFEST_FILE).is_file()


def list_reports(folder: Path) -> list[Path]:
    """The reports that lie directly in a directory, by name.

    Raises:
        CompressError: There are none.
    """
    found = sorted(path.parent.parent for path in folder.glob(f"*/{DATA}/{MANIFEST_FILE}"))
    if found:
        return found
    if (folder / DATA / SUMS_FILE).is_file():
        raise CompressError(f"{folder / DATA / MANIFEST_FILE} is missing.", "Restore it (git checkout).")
    outer = next(filter(is_report, folder.absolute().parents), None)
    raise CompressError(
        f"{folder} is no report, and holds none.",
        f"Did you mean {_show(outer)}?" if outer else "Make one: compress report RUNS --output-dir DIR",
    )


def require_report(folder: Path) -> None:
    """Refuse what is no report.

    Raises:
        CompressError: It is none; the message names those in it, or the one that it lies in.
    """
    if is_report(folder):
        return
    found = list_reports(folder)
    raise CompressError(
        f"{folder} is no report, but holds {', '.join(each.name for each in found)}.",
        f"Name one of them: --output-dir {found[0]}",
    )


def list_strange(folder: Path) -> list[str]:
    """What lies in a report's directory and was never written there by one."""
    return sorted({path.name for path in folder.iterdir()} - {DATA, "index.html", "README.md"})


def require_target(output_dir: Path, runs: Sequence[StoredRun]) -> None:
    """Refuse a directory that is no report or lies where others' files do, before anything is written.

    Args:
        output_dir: Where a report is to be.
        runs: Those that it is made of.

    Raises:
        CompressError: It is a file, holds other files, or lies inside another report or a store of the runs.
    """
    _require_apart(output_dir, runs)
    if not output_dir.exists():
        return
    if not output_dir.is_dir():
        raise CompressError(f"{output_dir} is a file.", "Choose another --output-dir.")
    strange = list_strange(output_dir)
    empty = not any(output_dir.iterdir())
    if strange or not (empty or is_report(output_dir)):
        raise CompressError(
            f"{output_dir} holds what is no report: {', '.join(strange) or 'no data/report.json'}.",
            "Choose a new --output-dir, or move those files away.",
        )


def _require_apart(output_dir: Path, runs: Sequence[StoredRun]) -> None:
    target = output_dir.resolve()
    outer = next(filter(is_report, target.parents), None)
    if outer is not None:
        raise InvalidInputError(
            f"{output_dir} lies inside the report {_show(outer)}, which would then hold what is no part of it.",
            f"Choose an --output-dir beside it: {_show(outer.parent / target.name)}",
        )
    for store in dict.fromkeys(_find_home(stored) for stored in runs):
        if target.is_relative_to(store):
            raise InvalidInputError(
                f"{output_dir} lies inside {_show(store)}, where the runs are.",
                "Choose an --output-dir outside it: reports/NAME",
            )


def _find_home(stored: StoredRun) -> Path:
    """The store of a run; where one works in the store itself only the folder of its task, else there were no place for a report."""
    store = find_store(stored)
    if store is None:
        return stored.path.resolve()
    return (store / stored.run.place if Path.cwd().is_relative_to(store.resolve()) else store).resolve()


def _show(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
