"""The index of a directory of reports: of each its title, and the answer in ten seconds of every task."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

from compress.errors import CompressError
from compress.reporting.candidates import find_baseline, list_candidates
from compress.reporting.formats import format_range, format_score
from compress.reporting.markup import escape
from compress.reporting.schema import Report, Section
from compress.reporting.wording import name_metric, name_task

INDEX_FILE = "README.md"
_TITLE = "# Reports"
_ABOUT = "Each follows from the files in its `data`, and says which commands make its models and it again."
_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*$", re.MULTILINE)


def list_notes(folder: Path) -> dict[str, str]:
    """Name → first heading of the other Markdown files that lie directly in a directory; the name of one without."""
    paths = sorted(path for path in folder.glob("*.md") if path.name != INDEX_FILE and path.is_file())
    return {path.name: _read_heading(path) for path in paths}


def _read_heading(path: Path) -> str:
    found = _HEADING.search(path.read_text(encoding="utf-8", errors="replace"))
    return (found[1] if found else "") or path.name


def render_index(reports: Mapping[str, Report], notes: Mapping[str, str]) -> str:
    """The `README.md` of a directory of reports; the same ones always give the same bytes.

    Args:
        reports: By their folders' names.
        notes: What else is to be read in the directory: file's name → its heading.
    """
    lines = [
        _TITLE,
        "",
        _ABOUT,
        "",
    ]
    for name, report in reports.items():
        lines += [*_render_entry(name, report), ""]
    if notes:
        links = [f"- [{escape(heading)}]({quote(name)})" for name, heading in notes.items()]
        lines += ["## Also here", "", *links, ""]
    lines.append("`compress report --check --output-dir` of this directory checks them all.")
    return "\n".join(lines) + "\n"


def require_index(folder: Path) -> None:
    """Refuse a directory whose `README.md` somebody else wrote, before anything in it is replaced.

    Raises:
        CompressError: The file begins otherwise than an index does, or cannot be read.
    """
    file = folder / INDEX_FILE
    beginning = f"{_TITLE}\n\n{_ABOUT}\n".encode()
    if os.path.lexists(file) and not (file.is_file() and file.read_bytes().startswith(beginning)):
        raise CompressError(
            f"{file} is no index of reports, and would be overwritten by one.",
            "Move it away, or the reports into a directory of their own.",
        )


def _render_entry(name: str, report: Report) -> Iterator[str]:
    yield f"## [{escape(report.title)}]({quote(name)}/README.md)"
    yield ""
    if report.overview and report.overview.sentence:
        yield f"- All tasks: {escape(report.overview.sentence)}"
    for section in report.sections:
        count = len(list_candidates(section))
        models = f"{count} model{'s' * (count > 1)}"
        said = section.headline.sentence if section.headline else _tell_one(section)
        yield f"- {escape(name_task(section.task))} ({models}): {escape(said)}"


def _tell_one(section: Section) -> str:
    one = find_baseline(section)
    if one.score is None:
        return f"{one.name}, not scored."
    metric = name_metric(section.metric)
    return f"{one.name}, {metric} {format_score(one.score.value)} ({format_range(one.score, 'score')})."
