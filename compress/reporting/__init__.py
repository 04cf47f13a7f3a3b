"""Reports: what compression cost and gained, on a page that follows from data anybody can check."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from compress.errors import CompressError
from compress.reporting.checksums import DATA, find_altered_files, name_first, write_sums
from compress.reporting.data import find_stale_files, read_data, replacing, write_data
from compress.reporting.places import is_report, list_reports, list_strange, require_target
from compress.reporting.schema import Report
from compress.reporting.sheets import render_sheets
from compress.runs import StoredRun, write_atomically

__all__ = ["Report", "check_report", "check_reports", "render_again", "write_report"]


def write_report(
    runs: Sequence[StoredRun],
    output_dir: Path,
    *,
    title: str | None = None,
    command: str,
    baseline: str | None = None,
) -> Report:
    """Write `data/`, `index.html` and `README.md` of a report, all of them or nothing; the sheets lie in `data/`.

    Args:
        runs: Of one task or several; each task becomes a section.
        output_dir: A new directory, an empty one, or an older report, which is replaced.
        title: Of the page; default says how many models of which tasks.
        command: The command that makes the report again.
        baseline: The model that the others are compared with: the id or key of a run, or what the page calls it; of
            several tasks on each that has it. Default the teacher, else the run with the most parameters.

    Raises:
        CompressError: The runs make no report, the baseline is unclear, or the directory holds other files or
            lies inside another report or the runs' store.
    """
    from compress.reporting.compare import compare

    require_target(output_dir, runs)
    with replacing(output_dir) as staged:
        write_data(runs, staged, title=title or _name_report(runs), command=command, baseline=baseline)
        report = compare(read_data(staged))
        _write_derived(report, staged)
    return report


def render_again(output_dir: Path) -> None:
    """Make an existing report's pages and sheets anew from its data, which stay as they are.

    Args:
        output_dir: A report; or a directory of reports, which gets an index of them.

    Raises:
        CompressError: It is neither, or data are not what was written, cannot be read or contradict each other; or its
            `README.md` is no index.
    """
    from compress.reporting.index import INDEX_FILE, list_notes, render_index, require_index

    if is_report(output_dir):
        _replace_derived(output_dir)
        return
    found = list_reports(output_dir)
    require_index(output_dir)
    reports = {report_dir.name: _replace_derived(report_dir) for report_dir in found}
    write_atomically(output_dir / INDEX_FILE, render_index(reports, list_notes(output_dir)))


def _replace_derived(report_dir: Path) -> Report:
    from compress.reporting.compare import compare
    from compress.reporting.scores import find_false_scores

    data = read_data(report_dir)
    if problems := find_false_scores(data.runs):
        raise CompressError(
            f"The scores of the report {report_dir} contradict its predictions: {name_first(problems)}.",
            "Restore its data (git checkout), or make the report again from its runs.",
        )
    report = compare(data)
    with replacing(report_dir) as staged:
        shutil.copytree(report_dir, staged, dirs_exist_ok=True)
        _write_derived(report, staged)
    return report


def _write_derived(report: Report, folder: Path) -> None:
    """Write what follows from the data; the sheets lie among them and get their checksums."""
    for name, text in _render_derived(report).items():
        (folder / name).write_bytes(text.encode())
    write_sums(folder / DATA)


def check_reports(output_dir: Path) -> list[str]:
    """What is wrong with the reports of a directory and with its index; empty where all is sound.

    Raises:
        CompressError: It holds no report, or the data of one cannot be read.
    """
    from compress.reporting.index import INDEX_FILE, list_notes, render_index

    found: list[str] = []
    reports = {}
    for report_dir in list_reports(output_dir):
        report, problems = _check(report_dir)
        found += [f"{report_dir.name}: {problem}" for problem in problems]
        if report is not None:
            reports[report_dir.name] = report
    index = output_dir / INDEX_FILE
    if not found:
        expected = render_index(reports, list_notes(output_dir)).encode()
        if not index.is_file() or index.read_bytes() != expected:
            found.append(f"{INDEX_FILE} does not follow from the reports")
    return found


def check_report(output_dir: Path, runs: Sequence[StoredRun] | None = None) -> list[str]:
    """What is wrong with a report; empty where it is sound.

    It is sound where every data file has its checksum, every recorded score follows from the predictions
    beside it, pages and sheets follow from the data byte by byte, nothing else lies beside them, and, with `runs`, the
    data are what they hold now.

    Raises:
        CompressError: The data are whole but cannot be read, for instance by this version.
    """
    _, problems = _check(output_dir)
    return problems if runs is None else [*problems, *find_stale_files(output_dir, runs)]


def _check(report_dir: Path) -> tuple[Report | None, list[str]]:
    """The report, where its data are what was written, and what is wrong with it."""
    from compress.reporting.compare import compare
    from compress.reporting.scores import find_false_scores

    if not report_dir.is_dir():
        raise CompressError(f"{report_dir} is no directory.", "Name that of a report: --output-dir DIR.")
    problems = [f"{name} is no part of the report" for name in list_strange(report_dir)]
    altered = find_altered_files(report_dir)
    if altered:
        return None, [*altered, *problems]
    data = read_data(report_dir)
    report = compare(data)
    for name, text in _render_derived(report).items():
        page = report_dir / name
        if not page.is_file():
            problems.append(f"{name} is missing")
        elif page.read_bytes() != text.encode():
            problems.append(f"{name} does not follow from the data")
    return report, [*problems, *find_false_scores(data.runs)]


def _render_derived(report: Report) -> dict[str, str]:
    from compress.reporting.html import render_html
    from compress.reporting.markdown import render_markdown

    sheets = {f"{DATA}/{name}": text for name, text in render_sheets(report).items()}
    return {"index.html": render_html(report), "README.md": render_markdown(report), **sheets}


def _name_report(runs: Sequence[StoredRun]) -> str:
    tasks = ", ".join(sorted({stored.run.answered_task.name for stored in runs}))
    return f"{len(runs)} run{'s' * (len(runs) != 1)} compared on {tasks}"
