"""The report as one page that needs nothing else: no font, no network, and without its one small script all the same."""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compress.reporting import wording
from compress.reporting.curveplots import plot_curve
from compress.reporting.essentials import (
    describe_size,
    list_commands,
    list_environments,
    list_essentials,
    list_parents,
    order_by_making,
)
from compress.reporting.marks import FRAME
from compress.reporting.origins import list_descendants
from compress.reporting.plots import plot_bytes, plot_latency
from compress.reporting.schema import Ancestor, Headline, Report, Row, Section
from compress.runs import PARTS

TEMPLATES = Path(__file__).parent / "templates"
SCRIPT_FILE = "page.js"


def render_html(report: Report) -> str:
    """The page `index.html` of a report; the same report always gives the same bytes."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_show,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(_filters())
    environment.globals["frame"] = FRAME
    script = (TEMPLATES / SCRIPT_FILE).read_text(encoding="utf-8")
    page = environment.get_template("page.html.j2").render(
        report=report,
        script=script,
        script_hash=_hash_script(script),
        sections=[_view(section, index) for index, section in enumerate(report.sections)],
        environments=list_environments(report),
        commands=list_commands(report),
    )
    return page.rstrip() + "\n"


def _hash_script(script: str) -> str:
    """What a Content-Security-Policy calls a script by, so that no other one runs."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _show(value: Any) -> Any:
    """What every value passes on its way into the page: text from outside shows its hidden characters."""
    return wording.show(value) if type(value) is str else value


def _filters() -> Mapping[str, Any]:
    return {
        "size": wording.format_bytes,
        "count": wording.format_count,
        "ratio": wording.format_ratio,
        "number": wording.format_significant,
        "score": wording.format_score,
        "share": wording.format_share,
        "bounds": wording.format_range,
        "condition": wording.format_condition,
        "change": wording.format_change,
        "agreement": wording.describe_agreement,
        "fidelity_note": wording.explain_fidelity,
        "overview_note": wording.explain_overview,
        "task_name": wording.name_task,
        "points": wording.format_points,
    }


def _view(section: Section, index: int) -> dict[str, Any]:
    """What the template shows of one task."""
    anchors = {row.run.id: f"run-{index}-{place}" for place, row in enumerate(section.rows)}
    anchors |= {made.run.id: f"before-{index}-{place}" for place, made in enumerate(section.ancestors)}
    return {
        "colours": _list_parts(section),
        "section": section,
        "index": index,
        "baseline": section.find(section.baseline),
        "figures": _list_figures(section),
        "plots": [plot for plot in (plot_bytes(section), plot_latency(section)) if plot],
        "curves": [(row, [plot_curve(curve) for curve in row.curves]) for row in section.rows if row.curves],
        "before": [_view_ancestor(section, made) for made in section.ancestors],
        "made": [
            (row, list_parents(section, row), list_essentials(row.run))
            for row in order_by_making(section.rows)
        ],
        "sizes": {row.run.id: describe_size(row) for row in section.rows},
        "anchors": anchors,
        "several_scores": any(len(row.scores) > 1 for row in section.rows),
    }


def _list_parts(section: Section) -> dict[str, str]:
    """Part → the class of its colour, for every part that a bar of the section shows."""
    shares = [
        share
        for row in section.rows
        if row.parts
        for share in (*row.parts.parameters, *row.parts.milliseconds)
    ]
    names = sorted({share.part for share in shares} - set(PARTS))
    shown = [*(part for part in PARTS if any(share.part == part for share in shares)), *names]
    return {part: f"part-{PARTS.index(part) if part in PARTS else len(PARTS) - 1}" for part in shown}


def _view_ancestor(section: Section, made: Ancestor) -> tuple[Any, ...]:
    return (
        made,
        list_parents(section, made),
        list_essentials(made.run),
        list_descendants(section, made.run),
        [plot_curve(curve, wording.name_quantity(curve.name)) for curve in made.curves],
    )


def _list_figures(section: Section) -> list[dict[str, str]]:
    """The headline's three numbers, each with what it is and the two values behind it."""
    if section.headline is None:
        return []
    row, baseline = section.find(section.headline.run), section.find(section.baseline)
    score = _score_figure(section, section.headline, baseline)
    return [_size_figure(row, baseline), _speed_figure(section, row), score]


def _size_figure(row: Row, baseline: Row) -> dict[str, str]:
    text = f"{wording.format_bytes(baseline.bytes)} → {wording.format_bytes(row.bytes)}"
    return _figure(wording.format_change(row.smaller, "smaller", "larger"), text)


def _speed_figure(section: Section, row: Row) -> dict[str, str]:
    column = section.timing
    own = column.find(row.run.id) if column else None
    other = column.find(section.baseline) if column else None
    if column is None or own is None or other is None or own.speedup is None:
        return _figure("– speed not compared", "no measuring session has both")
    times = [wording.format_significant(timing.milliseconds.value) for timing in (other, own)]
    text = f"{times[0]} → {times[1]} ms, {wording.format_condition(column.condition)}"
    return _figure(wording.format_change(own.speedup.value, "faster", "slower"), text)


def _score_figure(section: Section, headline: Headline, baseline: Row) -> dict[str, str]:
    metric, kept = section.metric.replace("_", " "), headline.retention
    if headline.score is None or baseline.primary is None or kept is None:
        return _figure(f"– {metric} not compared", "not the same examples")
    scores = [wording.format_score(score) for score in (baseline.primary.score.value, headline.score)]
    return _figure(f"{wording.format_share(kept.value)} kept", f"{metric} {scores[0]} → {scores[1]}")


def _figure(value: str, text: str) -> dict[str, str]:
    number, _, words = value.partition(" % ") if " % " in value else value.partition(" ")
    if " % " in value:
        number = f"{number} %"
    return {"number": number, "words": words, "text": text}
