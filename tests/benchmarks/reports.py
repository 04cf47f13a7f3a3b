"""Reports of what benchmarks made, each with the command that writes the same from their store."""

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from shlex import join

import compress
from compress.environment import commanded
from compress.runs import StoredRun


def write_report(
    runs: Sequence[StoredRun], folder: Path, *, title: str | None = None, baseline: str | None = None
) -> None:
    """Write what `compress report` would, and that command on the page; an older report there is replaced."""
    paths = [str(stored.path) for stored in runs]
    named = {"--title": title, "--baseline": baseline, "--output-dir": str(folder)}
    options = [word for option, value in named.items() if value is not None for word in (option, value)]
    command = join(["compress", "report", *paths, *options])
    compress.report(runs, folder, title=title, command=command, baseline=baseline)


def recorded(module: str) -> AbstractContextManager[None]:
    """Within, runs record a benchmark's own command: `python -m tests.benchmarks.…` with its arguments."""
    return commanded(join(["python", "-m", module, *sys.argv[1:]]))
