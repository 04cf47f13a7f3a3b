"""The report as the README.md of its directory: what GitHub shows before anybody opens the page."""

from collections.abc import Iterable, Iterator

from compress.reporting.candidates import list_candidates
from compress.reporting.essentials import (
    describe_size,
    join_essentials,
    list_commands,
    list_environments,
    order_by_making,
)
from compress.reporting.headline import mark_caveats
from compress.reporting.markdown_tables import (
    tabulate_ancestors,
    tabulate_comparison,
    tabulate_fidelity,
    tabulate_overview,
    tabulate_parts,
    tabulate_scores,
    tabulate_seeds,
    tabulate_timings,
)
from compress.reporting.markup import escape, fence
from compress.reporting.origins import list_parents
from compress.reporting.schema import Overview, Report, Section
from compress.reporting.wording import explain_overview, join_names, name_task

FILES = (
    "The page is [index.html](index.html), the data it follows from lie in [data](data), its numbers in "
    "[models.csv](data/models.csv), [scores.csv](data/scores.csv) and [timings.csv](data/timings.csv)."
)


def render_markdown(report: Report) -> str:
    """The `README.md` of a report; the same report always gives the same bytes."""
    lines = [f"# {escape(report.title)}", "", FILES, ""]
    if report.overview:
        lines += [*_render_overview(report.overview, explain_overview(report, report.overview)), ""]
    for section in report.sections:
        lines += _render_section(section)
    lines += _render_making(report)
    return "\n".join(lines).rstrip() + "\n"


def _render_overview(overview: Overview, note: str) -> Iterator[str]:
    yield f"## Mean of {escape(join_names([name_task(task) for task in overview.tasks]))}"
    yield ""
    if overview.sentence and overview.reason:
        yield f"**{escape(overview.sentence)}** {escape(overview.reason)}"
        yield ""
        yield from (f"- {name}: {escape(text)}" for name, text in overview.certainty)
        yield ""
    yield from tabulate_overview(overview)
    yield ""
    yield escape(note)


def _render_section(section: Section) -> Iterator[str]:
    yield f"## Task {escape(name_task(section.task))}"
    yield ""
    if section.headline:
        yield f"**{escape(section.headline.sentence)}** {escape(section.headline.reason)}"
        yield ""
        yield from (f"- {name}: {escape(text)}" for name, text in section.headline.certainty)
        yield ""
    yield from tabulate_comparison(section)
    yield ""
    if section.groups:
        yield from _under("Each seed", tabulate_seeds(section))
    if any(len(row.scores) > 1 for row in section.rows):
        yield from _under("All scores", tabulate_scores(section))
    if len(section.rows) > 1 and any(row.fidelity for row in section.rows):
        short = escape(section.find(section.baseline).short)
        yield from _under(f"Stands in for {short}", tabulate_fidelity(section))
    if any(row.parts for row in section.rows):
        yield from _under("Where parameters and milliseconds go", tabulate_parts(section))
    if section.timings:
        yield from _under("All timings", *(tabulate_timings(section, column) for column in section.timings))
    if section.ancestors:
        yield from _under("Before the task", tabulate_ancestors(section))
    if section.caveats:
        yield from _under("Caveats", _list_caveats(section))


def _list_caveats(section: Section) -> Iterator[str]:
    for mark, caveat in mark_caveats(section):
        yield f"- **{mark}** {escape(caveat.text)}" if mark else f"- {escape(caveat.text)}"


def _under(title: str, *blocks: Iterable[str]) -> Iterator[str]:
    yield f"### {title}"
    yield ""
    for block in blocks:
        yield from block
        yield ""


def _render_making(report: Report) -> Iterator[str]:
    environments = list_environments(report)
    yield "## What was done"
    for section in report.sections:
        for one in order_by_making(list_candidates(section)):
            row = one.rows[0]
            yield ""
            yield f"### {escape(row.label)}"
            yield ""
            for link in list_parents(section, one.runs):
                yield f"- {escape(link.role)}: ← {escape(link.parent)}"
            if one.seeds:
                yield f"- seeds: {' | '.join(map(str, one.seeds))}"
            yield f"- {describe_size(one.heaviest)}"
            yield from (
                f"- {escape(term)}: {escape(value)}"
                for term, value in join_essentials([row.run for row in one.rows])
            )
            yield f"- Environment {', '.join(dict.fromkeys(environments[run][0] for run in one.runs))}"
    yield ""
    yield "## Do it again"
    yield ""
    yield from fence("\n".join(list_commands(report)), "bash")
    yield ""
    yield "Data that they name, a corpus or a clone of GLUE, must lie where they run: other content gives other runs, of other keys."
    yield "Another measuring session gives other times."
    yield "`compress report --check` renders the pages anew from `data/` and compares every byte and checksum."
    yield ""
    yield "## Environments"
    yield ""
    yield from (f"- {letter}: {escape(text)}" for letter, text in dict.fromkeys(environments.values()))
