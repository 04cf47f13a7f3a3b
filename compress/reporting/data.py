"""The report's data on disk: copies of what the runs hold, with sums; pages are made of nothing else."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.errors import CompressError
from compress.recipes.values import Frozen
from compress.reporting.ancestors import find_ancestors
from compress.reporting.checksums import DATA, list_present, require_unaltered, write_sums
from compress.reporting.sheets import SHEETS
from compress.reporting.wording import shorten_paths
from compress.runs import (
    HISTORY_FILE,
    RUN_FILE,
    SCHEMA_VERSION,
    DamagedError,
    Evaluation,
    Run,
    Session,
    StoredRun,
    hash_file,
    read_record,
    read_run,
    run_directory,
    write_record,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MANIFEST_FILE = "report.json"
PREDICTION_COLUMNS = ("row", "label", "prediction", "logits")


class Manifest(Frozen):
    """What makes a report beside its runs: their ids, sorted, and the command that makes it again.

    `ancestors` are the runs of stages before the task that they go back to.
    """

    schema_version: int = SCHEMA_VERSION
    title: str
    command: str
    baseline: str | None
    runs: tuple[str, ...]
    ancestors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Predictions:
    """One artefact's answers on a split, sorted by row: `rows`, `labels`, `predictions` `[N]` each, `logits` `[N, C]`."""

    rows: "NDArray[np.int64]"
    labels: "NDArray[np.float64]"
    predictions: "NDArray[np.float64]"
    logits: "NDArray[np.float64]"


@dataclass(frozen=True)
class RunData:
    """What a report knows of one run; `predictions` by the evaluation's key.

    `compared` is of each split the fingerprint of the data that its section compares on: of several evaluations the one on
    these counts.
    """

    run: Run
    evaluations: tuple[Evaluation, ...]
    sessions: tuple[Session, ...]
    history: tuple[dict[str, Any], ...]
    predictions: Mapping[str, Predictions]
    compared: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ReportData:
    """All that a report is rendered from; `ancestors` have neither scores nor timings."""

    manifest: Manifest
    runs: tuple[RunData, ...]
    ancestors: tuple[RunData, ...] = ()


def write_data(
    runs: Sequence[StoredRun], output_dir: Path, *, title: str, command: str, baseline: str | None = None
) -> None:
    """Copy what the report needs of its runs to `output_dir/data`, whole or not at all.

    Args:
        runs: Of one task or several; what their store has of the stages before the task comes along.
        output_dir: The report's directory.
        title: Of the report.
        command: The command that makes the report again; absolute paths in it are shortened.
        baseline: The run that others are compared with, by a name that `compress.reporting.finding` knows.

    Raises:
        CompressError: No runs, two of one id, or a run's files are incomplete or badly named.
    """
    ancestors = find_ancestors(runs)
    sources = list_sources(runs, ancestors)
    manifest = Manifest(
        title=title,
        command=shorten_paths(command),
        baseline=baseline,
        runs=tuple(sorted(stored.run.id for stored in runs)),
        ancestors=tuple(stored.run.id for stored in ancestors),
    )
    with replacing(output_dir / DATA) as staged:
        for name, source in sources.items():
            (staged / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, staged / name)
        write_record(staged / MANIFEST_FILE, manifest)
        write_sums(staged)


def list_sources(runs: Sequence[StoredRun], ancestors: Sequence[StoredRun]) -> dict[str, Path]:
    """Path in the data directory → file of the run, for every file that a report of these runs holds.

    Of an ancestor that is its record and what training logged.

    Raises:
        CompressError: No runs, two of one id, or a run's files are incomplete or badly named.
    """
    ids = [stored.run.id for stored in runs]
    if not runs or len(set(ids)) < len(ids):
        raise CompressError(
            "A report needs runs." if not runs else f"A run is named twice: {sorted(ids)}.",
            "Name each finished run, or the directory above them, once.",
        )
    sources: dict[str, Path] = {}
    for stored in runs:
        folder = _folder(stored.run, stored.run.answered_task.name)
        for name in _list_files(stored, set(ids)):
            sources[f"{folder}/{name}"] = stored.path / name
    for stored in ancestors:
        folder = _folder(stored.run, stored.run.place)
        for name in (RUN_FILE, *_list_history(stored)):
            sources[f"{folder}/{name}"] = stored.path / name
    missing = [str(path) for path in sources.values() if not path.is_file()]
    if missing:
        raise CompressError(
            f"A run lacks {', '.join(missing)}.", "Run `compress evaluate` on it again, then make the report."
        )
    return sources


def _folder(run: Run, place: str) -> str:
    """Where a run of a task or a corpus lies below `data`, in forward slashes."""
    parts = (place, run.name, run.stage.kind, run.key)
    if any(part in {"", ".", ".."} or not part.isprintable() or set(part) & set("/\\") for part in parts):
        raise CompressError(f"The run {run.id!r} has no name for a directory: {parts}.", "Mend its run.json.")
    return run_directory(Path(), task=parts[0], name=parts[1], stage=parts[2], key=parts[3]).as_posix()


def _list_files(stored: StoredRun, ids: set[str]) -> Iterator[str]:
    """The files of one run that its report holds, relative to the run's directory.

    A session is of use where it measured another run of the report, or this run and nothing else; one with
    only strangers says nothing that the page may print beside another number.
    """
    yield RUN_FILE
    for evaluation in stored.evaluations:
        yield f"evaluations/{evaluation.key}.json"
        yield f"evaluations/{evaluation.key}.parquet"
    for session in stored.sessions:
        others = set(session.models) - {stored.run.id}
        if not others or others & ids:
            yield f"measurements/{session.session}.json"
    yield from _list_history(stored)


def _list_history(stored: StoredRun) -> list[str]:
    return [HISTORY_FILE] if (stored.path / HISTORY_FILE).is_file() else []


def read_data(output_dir: Path) -> ReportData:
    """Read what a report is rendered from.

    Raises:
        CompressError: A file differs from its sum, is missing or not listed, cannot be read, or says something else.
    """
    require_unaltered(output_dir)
    try:
        return _read_unaltered(output_dir / DATA)
    except DamagedError as error:
        fix = "Restore it (git checkout), or make the report again from its runs."
        raise CompressError(error.problem, fix) from None


def _read_unaltered(folder: Path) -> ReportData:
    manifest = read_record(folder / MANIFEST_FILE, Manifest)
    found = {stored.run.id: stored for stored in map(read_run, _run_folders(folder))}
    named = sorted([*manifest.runs, *manifest.ancestors])
    if sorted(found) != named:
        raise CompressError(
            f"{folder / MANIFEST_FILE} names the runs {named}, the data holds {sorted(found)}.",
            "Make the report again from its runs.",
        )
    runs, ancestors = (
        tuple(read_run_data(found[name]) for name in names) for names in (manifest.runs, manifest.ancestors)
    )
    return ReportData(manifest, runs, ancestors)


def _run_folders(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob(f"*/*/*/{RUN_FILE}"))


def find_stale_files(output_dir: Path, runs: Sequence[StoredRun]) -> list[str]:
    """Where the data differ from what a report of these runs would hold now; empty where they do not."""
    folder = output_dir / DATA
    sources = list_sources(runs, find_ancestors(runs))
    present = list_present(folder).keys() - {MANIFEST_FILE, *SHEETS}
    changed = [
        name for name in present & sources.keys() if hash_file(sources[name]) != hash_file(folder / name)
    ]
    problems = [f"{DATA}/{name} differs from the run's file" for name in changed]
    problems += [f"{name} is in the runs but not in the report" for name in sources.keys() - present]
    problems += [f"{DATA}/{name} is in the report but not in the runs" for name in present - sources.keys()]
    return sorted(problems)


def read_run_data(stored: StoredRun) -> RunData:
    """What a report knows of a run, from the run's directory or from the report's copy of it.

    Raises:
        CompressError: A file is damaged, or about another run.
    """
    evaluations, sessions = tuple(stored.evaluations), tuple(stored.sessions)
    owners = {record.run for record in evaluations} | {record.run for record in sessions}
    strangers = sorted(owners - {stored.run.id})
    if strangers:
        raise CompressError(
            f"{stored.path} holds evaluations or measurements of other runs: {strangers}.",
            "Remove them from the run's directory, then make the report again.",
        )
    folder = stored.path / "evaluations"
    predictions = {each.key: _read_predictions(folder / f"{each.key}.parquet") for each in evaluations}
    return RunData(stored.run, evaluations, sessions, tuple(stored.history), predictions)


def _read_predictions(path: Path) -> Predictions:
    import numpy as np
    from pyarrow import lib, parquet

    try:
        table = parquet.read_table(path, columns=list(PREDICTION_COLUMNS))
        rows, labels, predictions = (table.column(name).to_numpy() for name in PREDICTION_COLUMNS[:3])
        logits = np.array(table.column("logits").to_pylist(), dtype=np.float64).reshape(len(rows), -1)
    except (OSError, KeyError, ValueError, lib.ArrowException) as error:
        raise DamagedError(
            f"{path} holds no predictions ({', '.join(PREDICTION_COLUMNS)}): {error}",
            "Run `compress evaluate` again, then make the report.",
        ) from None
    order = np.argsort(rows, kind="stable")
    return Predictions(
        rows[order],
        labels[order].astype(np.float64),
        predictions[order].astype(np.float64),
        logits[order],
    )


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A new directory beside the target that takes its place if the block succeeds, and is dropped if not."""
    target = target.absolute()
    staged = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        staged.mkdir(parents=True)
        yield staged
        _swap(staged, target)
    except OSError as error:
        raise CompressError(
            f"{target} cannot be written: {error.strerror or error}.",
            "Choose another directory with --output-dir, or mend its permissions.",
        ) from None
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _swap(staged: Path, target: Path) -> None:
    """Put a directory in another's place; if that fails, the other one is put back."""
    superseded = target.with_name(f"{staged.name}.superseded")
    if target.exists():
        target.rename(superseded)
    try:
        staged.rename(target)
    except BaseException:
        if superseded.exists():
            superseded.rename(target)
        raise
    shutil.rmtree(superseded, ignore_errors=True)
