"""The index of a directory of reports: of each its title, and the answer in ten seconds of every task."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from compress.errors import CompressError
from compress.reporting.candidates import find_baseline, list_candidates
from compress.reporting.checksums import DATA
from compress.reporting.data import MANIFEST_FILE
from compress.reporting.markup import escape
from compress.reporting.schema import Report, Section
from compress.reporting.wording import format_range, format_score, name_task

INDEX_FILE = "README.md"


def is_report(folder: Path) -> bool:
    """Whether a directory holds a report."""
    return (folder / DATA / MANIFEST_FILE).is_file()


def list_reports(folder: Path) -> list[Path]:
    """The reports that lie directly in a directory, by name.

    Raises:
        CompressError: There are none.
    """
    found = sorted(path.parent.parent for path in folder.glob(f"*/{DATA}/{MANIFEST_FILE}"))
    if not found:
        raise CompressError(
            f"{folder} is no report, and holds none.", "Make one: compress report RUNS --output-dir DIR"
        )
    return found


def render_index(reports: Mapping[str, Report]) -> str:
    """The `README.md` of a directory of reports, from their folders' names; the same reports always give the same bytes."""
    lines = [
        "# Reports",
        "",
        "Each follows from the files in its `data`, and says which commands make its models and it again.",
        "",
    ]
    for name, report in reports.items():
        lines += [*_render_entry(name, report), ""]
    lines.append("`compress report --check --output-dir` of this directory checks them all.")
    return "\n".join(lines) + "\n"


def _render_entry(name: str, report: Report) -> Iterator[str]:
    yield f"## [{escape(report.title)}]({name}/README.md)"
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
    metric = section.metric.replace("_", " ")
    return f"{one.name}, {metric} {format_score(one.score.value)} ({format_range(one.score, 'score')})."
