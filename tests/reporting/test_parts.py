"""Where parameters and milliseconds go, from sessions made up by hand; older sessions say nothing of it."""

import json

import pytest

from compress.reporting import write_report
from compress.reporting.html import render_html
from compress.reporting.markdown import render_markdown
from compress.reporting.schema import Interval, Overview, OverviewRow
from compress.runs import read_run

COUNTS = {"other": 1_000_000, "classifier": 0, "feed-forward": 6_000_000, "embeddings": 3_000_000}


@pytest.fixture
def profiled(kit, trio):
    """The trio, of whose student the one session says the parts, in another order than the page's."""
    (path,) = trio.student.path.glob("measurements/*.json")
    session = json.loads(path.read_text())
    for part, value in COUNTS.items():
        session["measurements"].append(entry(kit, "parameters", "parameters", value, part=part))
    shape = {"batch": 1, "length": 128, "threads": 1, "device": "cpu"}
    for part, value in {"attention": 1.0, "feed-forward": 3.0}.items():
        session["measurements"].append(entry(kit, "part_latency", "ms", value, part=part, **shape))
    other = shape | {"batch": 32}
    session["measurements"].append(entry(kit, "part_latency", "ms", 77.0, part="attention", **other))
    session["measurements"].append(entry(kit, "parameters", "parameters", 9.0))
    path.write_text(json.dumps(session))
    return write_report(
        [read_run(stored.path) for stored in trio.runs], trio.store.root.parent / "r", command="c"
    )


def entry(kit, name, unit, value, **conditions):
    return kit.measurement(name, unit, (), value=value, conditions=conditions).model_dump(mode="json")


def test_parts_have_their_order_and_share_of_the_sum(profiled):
    teacher, student, _ = profiled.sections[0].rows
    assert teacher.parts is None
    told = [(each.part, each.value, each.share) for each in student.parts.parameters]
    assert told == [("embeddings", 3e6, 0.3), ("feed-forward", 6e6, 0.6), ("other", 1e6, 0.1)]


def test_milliseconds_are_those_of_the_comparisons_condition(profiled):
    student = profiled.sections[0].rows[1]
    assert [(each.part, each.value, each.share) for each in student.parts.milliseconds] == [
        ("attention", 1.0, 0.25),
        ("feed-forward", 3.0, 0.75),
    ]


def parts_over(kit, trio, sessions, tmp_path):
    """The student's milliseconds by part, where sessions, by name, say these of its attention, each on a machine."""
    for name, (value, where) in sessions.items():
        trio.store.measure(
            [(stored, kit.steady(4.0)) for stored in (trio.teacher, trio.student, trio.int8)],
            session=name,
            where=where,
        )
        path = trio.student.path / "measurements" / f"{name}.json"
        session = json.loads(path.read_text())
        shape = {"batch": 1, "length": 128, "threads": 1, "device": "cpu"}
        session["measurements"].append(entry(kit, "part_latency", "ms", value, part="attention", **shape))
        path.write_text(json.dumps(session))
    report = write_report([read_run(stored.path) for stored in trio.runs], tmp_path / "r", command="c")
    (section,) = report.sections
    return section.timings[0].sessions, section.find(trio.student.run.id).parts.milliseconds[0].value


def test_of_a_column_s_sessions_the_median_is_told(kit, store, tmp_path):
    here = kit.environment()
    sessions = {"a": (1.0, here), "b": (9.0, here), "c": (2.0, here)}
    trio = kit.build_trio(store, measure=False)
    assert parts_over(kit, trio, sessions, tmp_path) == (("a", "b", "c"), 2.0)


def test_other_machines_have_no_part_in_milliseconds(kit, store, tmp_path):
    """Guards parts that add up to many times the latency beside them."""
    sessions = {"a": (3.0, kit.environment()), "b": (300.0, kit.environment(cpu="A slow one"))}
    trio = kit.build_trio(store, measure=False)
    assert parts_over(kit, trio, sessions, tmp_path) == (("a",), 3.0)


def test_the_pages_tell_the_parts(profiled):
    page = render_html(profiled)
    assert "feed-forward 6.00 M (60.0 %)" in page
    assert "attention 1.00 ms (25.0 %)" in page
    assert page.count('class="stack"') == 2
    assert "| albert-tiny | embeddings 3.00 M, feed-forward 6.00 M, other 1.00 M |" in render_markdown(
        profiled
    )


def test_parts_that_add_up_to_more_than_the_latency_are_explained(profiled):
    """Guards readers who take the sum for a second latency."""
    note = "which itself costs time: read the shares, not the sum"
    assert note in render_html(profiled)
    assert note in render_markdown(profiled)


def test_older_sessions_leave_the_bars_out(written):
    assert "Where parameters" not in render_html(written.report)
    assert "Where parameters" not in render_markdown(written.report)


def test_an_overview_stands_before_the_sections(written):
    score = Interval(value=0.8, low=0.75, high=0.85)
    rows = (
        OverviewRow(
            name="<b>a",
            runs=(),
            baseline=False,
            bytes=9,
            smaller=None,
            faster=None,
            scores=(score, None),
            mean=None,
            kept=None,
        ),
        OverviewRow(
            name="b",
            runs=(),
            baseline=False,
            bytes=5,
            smaller=Interval(value=1.8, low=1.8, high=1.8),
            faster=None,
            scores=(score, score),
            mean=score,
            kept=Interval(value=0.97, low=0.9, high=1.0),
        ),
    )
    overview = Overview(tasks=("sample", "rte"), timed=("sample",), rows=rows)
    report = written.report.model_copy(update={"overview": overview})
    page, text = render_html(report), render_markdown(report)
    assert page.index("All tasks") < page.index("Task sample")
    assert "97.0 %<span>(90.0–100.0)</span>" in page
    assert "<b>" not in page
    scored = "0.800 (0.750–0.850) | 97.0 % (90.0–100.0) | 0.800 (0.750–0.850) | 0.800 (0.750–0.850) |"
    assert "| Model | Size | Smaller | Mean (95 %) | Share kept (95 %) | sample | RTE |" in text
    assert f"| b | 5 B | 1.80× smaller | {scored}" in text
    assert "| – | – | 0.800 (0.750–0.850) | – |" in text

    fast = rows[1].model_copy(update={"faster": Interval(value=2.0, low=1.9, high=2.1)})
    timed = overview.model_copy(update={"rows": (rows[0], fast)})
    text = render_markdown(report.model_copy(update={"overview": timed}))
    assert (
        "| Model | Size | Smaller | Times as fast | Mean (95 %) | Share kept (95 %) | sample | RTE |" in text
    )
    assert "| – | – | – | 0.800 (0.750–0.850) | – |" in text
    assert f"| b | 5 B | 1.80× smaller | 2.00× (1.90–2.10) | {scored}" in text
