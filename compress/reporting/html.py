"""The report as one page that needs nothing else: no font, no network, and without its one small script all the same."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compress.reporting import formats, wording
from compress.reporting.candidates import (
    Candidate,
    find_baseline,
    list_candidates,
    list_engines,
)
from compress.reporting.charts import plot_bytes, plot_latency, plot_mean_latency, plot_means
from compress.reporting.curveplots import CurvePlot, plot_curves
from compress.reporting.essentials import (
    describe_size,
    join_essentials,
    list_commands,
    list_environments,
    order_by_making,
)
from compress.reporting.headline import mark_caveats
from compress.reporting.lineage import name_group
from compress.reporting.marks import FRAME
from compress.reporting.measured import explain_known, list_known
from compress.reporting.origins import list_descendants, list_parents
from compress.reporting.plots import list_numbers
from compress.reporting.schema import Ancestor, Curve, Report, Section
from compress.reporting.tiles import list_figures, list_overview_figures
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
    environment.globals.update(frame=FRAME, several_seeds=wording.SEVERAL_SEEDS, profiled=wording.PROFILED)
    script = (TEMPLATES / SCRIPT_FILE).read_text(encoding="utf-8")
    page = environment.get_template("page.html.j2").render(
        report=report,
        script=script,
        script_hash=_hash_script(script),
        means=[plot for plot in (plot_means(report), plot_mean_latency(report)) if plot],
        figures=list_overview_figures(report),
        sections=_list_views(report),
        environments=list_environments(report),
        commands=list_commands(report),
    )
    return page.rstrip() + "\n"


def _hash_script(script: str) -> str:
    """What a Content-Security-Policy calls a script by, so that no other one runs."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _show(value: Any) -> Any:
    """What every value passes on its way into the page.

    Text from outside shows its hidden characters; a number, by which a table sorts, leaves behind the digits in which
    one machine's sums differ from another's.
    """
    if type(value) is float:
        return f"{value:.9g}"
    return wording.show(value) if type(value) is str else value


def _filters() -> Mapping[str, Any]:
    return {
        "size": formats.format_bytes,
        "count": formats.format_count,
        "ratio": formats.format_ratio,
        "number": formats.format_significant,
        "score": formats.format_score,
        "share": formats.format_share,
        "bounds": formats.format_range,
        "condition": wording.format_condition,
        "spread": wording.describe_spread,
        "engine": wording.name_engine,
        "quantities": list_known,
        "quantities_note": explain_known,
        "change": formats.format_change,
        "change_with_range": formats.format_change_with_range,
        "agreement": wording.describe_agreement,
        "fidelity_note": wording.explain_fidelity,
        "overview_note": wording.explain_overview,
        "environment": lambda run, environments: environments[run][0],
        "task_name": wording.name_task,
        "metric": wording.name_metric,
        "begin": lambda text: text[:1].upper() + text[1:],
        "points": formats.format_points,
        "constant": wording.say_constant,
        "numbers": list_numbers,
    }


def _list_views(report: Report) -> list[dict[str, Any]]:
    """What the template shows of each task; what came before several tasks is told with the first of them."""
    views: list[dict[str, Any]] = []
    told: dict[str, str] = {}
    for index, section in enumerate(report.sections):
        views.append(_view(section, index, told))
        told |= {made.run.id: views[-1]["anchors"][made.run.id] for made in section.ancestors}
    return views


def _view(section: Section, index: int, told: Mapping[str, str]) -> dict[str, Any]:
    candidates, baseline = list_candidates(section), find_baseline(section)
    anchors = {run: f"run-{index}-{place}" for place, one in enumerate(candidates) for run in one.runs}
    kinds = _gather_ancestors(section)
    above = [made for made in kinds if all(each.run.id in told for each in made)]
    for place, made in enumerate(kinds):
        anchors |= {
            each.run.id: told[each.run.id] if made in above else f"before-{index}-{place}" for each in made
        }
    return {
        "colours": _list_parts(section),
        "section": section,
        "index": index,
        "candidates": candidates,
        "baseline": baseline,
        "stood_in_for": section.find(section.baseline),
        "figures": list_figures(section, candidates, baseline),
        "plots": [plot for plot in (plot_bytes(section), plot_latency(section)) if plot],
        "caveats": mark_caveats(section),
        "engines": wording.describe_engines(list_engines(section)) if section.timing else None,
        "several": any(one.seeds for one in candidates),
        "groups": [
            (name_group(section, group), group, [section.find(run) for run in group.runs])
            for group in section.groups
        ],
        "seeds": sorted({seed for group in section.groups for seed in group.seeds}),
        "curves": [(one, plots) for one in candidates if (plots := _plot_training(one))],
        "before": [_view_ancestors(section, made) for made in kinds if made not in above],
        "told_before": above,
        "made": [
            (one, list_parents(section, one.runs), join_essentials([row.run for row in one.rows]))
            for one in order_by_making(candidates)
        ],
        "sizes": {one.runs[0]: describe_size(one.heaviest) for one in candidates},
        "anchors": anchors,
        "several_scores": any(len(row.scores) > 1 for row in section.rows),
    }


def _gather_ancestors(section: Section) -> list[list[Ancestor]]:
    """Those that differ in their seeds alone together, in the order of making."""
    kinds: dict[str, list[Ancestor]] = {}
    for made in section.ancestors:
        kinds.setdefault(made.kind, []).append(made)
    return list(kinds.values())


def _plot_training(one: Candidate) -> list[CurvePlot]:
    """The loss, in training and on the hold-out, and the hold-out's score; a line a seed."""
    curves = [curve for row in one.rows for curve in row.curves]
    loss, held, score = (
        [curve for curve in curves if curve.name == name] for name in ("loss", "eval_loss", "eval_score")
    )
    plots = []
    if loss:
        plots.append(plot_curves(loss, beside=held, name="loss"))
    elif held:
        plots.append(plot_curves(held, name="hold-out: loss"))
    if score:
        plots.append(plot_curves(score, name="hold-out: score"))
    return plots


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


def _view_ancestors(section: Section, made: Sequence[Ancestor]) -> tuple[Any, ...]:
    runs = [each.run.id for each in made]
    quantities: dict[str, list[Curve]] = {}
    for each in made:
        for curve in each.curves:
            quantities.setdefault(curve.name, []).append(curve)
    return (
        made,
        list_parents(section, runs),
        join_essentials([each.run for each in made]),
        list_descendants(section, runs),
        [plot_curves(curves, name=wording.name_quantity(name)) for name, curves in quantities.items()],
    )
