import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.reporting import marks as places
from compress.reporting import write_report
from compress.reporting.arrows import Arrow, find_arrows
from compress.reporting.axes import LinearAxis
from compress.reporting.charts import plot_bytes, plot_latency
from compress.reporting.curveplots import TENTHS, plot_curves
from compress.reporting.marks import BOTTOM, HEIGHT, LEFT, WIDTH, _occupied
from compress.reporting.plots import draw, list_numbers, shorten_label, wrap_label
from compress.reporting.points import Point, drop_shared_name, number_points, shorten_names
from compress.reporting.schema import Curve, Interval, Level, Link
from compress.runs import read_run


def test_places_follow_the_numbers(written):
    (section,) = written.report.sections
    for plot, xs in ((plot_bytes(section), (90e6, 18e6, 5e6)), (plot_latency(section), (12.24, 4.08, 1.53))):
        marks = {mark.label: mark for mark in plot.marks}
        teacher, student, int8 = (marks[label] for label in ("minilm-l6", "logits", "int8"))
        assert [mark.shape for mark in (teacher, student, int8)] == ["baseline", "distilled", "quantized"]
        whole, part = math.log(xs[0] / xs[2]), math.log(xs[1] / xs[2])
        assert (student.x - int8.x) / (teacher.x - int8.x) == pytest.approx(part / whole, abs=0.01)
        scores = [row.primary.score for row in section.rows]
        expected = (scores[1].value - scores[2].value) / (scores[0].value - scores[2].value)
        assert (int8.y - student.y) / (int8.y - teacher.y) == pytest.approx(expected, abs=0.02)
        length = (scores[0].high - scores[0].low) / (scores[0].value - scores[2].value)
        assert (teacher.low - teacher.high) / (int8.y - teacher.y) == pytest.approx(length, abs=0.02)
        assert plot.front.startswith(f"M{int8.x} {int8.y}")
        assert f"{student.x} {student.y}" in plot.front


def test_a_chart_is_called_as_papers_call_its_metric():
    points = [
        Point(name, x, Interval(value=0.5, low=0.4, high=0.6), None, x == 2)
        for name, x in (("a", 1), ("b", 2))
    ]
    assert draw(points, "Bytes", "matthews_correlation", str).name == "Matthews correlation against bytes"


def test_without_comparable_timings_there_is_no_latency_plot(kit, store, tmp_path):
    report = write_report(kit.build_trio(store, measure=False).runs, tmp_path / "r", command="c")
    assert plot_latency(report.sections[0]) is None
    assert plot_bytes(report.sections[0]) is not None


NAMES = st.sampled_from(
    ["minilm-l6", "albert-tiny", "albert-tiny · int8", "bert-small", "electra-base · int8"]
)
POINTS = st.lists(
    st.tuples(NAMES, st.floats(1e6, 4e8), st.floats(0.7, 0.95), st.floats(0.005, 0.04)),
    min_size=3,
    max_size=6,
)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(POINTS)
def test_labels_of_up_to_six_runs_do_not_overlap(drawn):
    points = [
        Point(name, x, Interval(value=y, low=y - e, high=y + e), None, index == 0)
        for index, (name, x, y, e) in enumerate(drawn)
    ]
    plot = draw(points, "Bytes", "accuracy", str)
    for first, second in combinations(plot.marks, 2):
        assert first.box.overlap(second.box) == 0
    for mark in plot.marks:
        assert mark.box.left >= LEFT
        assert mark.box.right <= WIDTH
        assert mark.box.top >= 0
        assert mark.box.bottom <= HEIGHT - BOTTOM + 1
    assert 2 <= len(plot.x_ticks) <= 9
    assert 3 <= len(plot.y_ticks) <= 7


CROWD = {
    "minilm-l6": (90.9e6, 0.701, 0.020),
    "distilled (tinybert)": (21.1e6, 0.659, 0.018),
    "int8": (5.4e6, 0.658, 0.018),
    "pruned (ffn 0.5) · recovered": (19.6e6, 0.652, 0.018),
    "pruned (vocabulary 8000) · recovered": (9.6e6, 0.651, 0.019),
    "vocabulary 8000 · trained for packed-int4": (9.6e6, 0.650, 0.019),
    "vocabulary 8000 · packed-int4": (1.4e6, 0.648, 0.019),
    "pruned (vocabulary 8000)": (9.6e6, 0.641, 0.019),
    "pruned (ffn 0.5)": (19.6e6, 0.624, 0.019),
}
"""Bytes, score and half its interval of models that one report has on five tasks."""


def crowd(chosen="vocabulary 8000 · packed-int4"):
    return [
        Point(
            name,
            x,
            Interval(value=y, low=y - e, high=y + e),
            None,
            place == 0,
            runs=(name,),
            chosen=name == chosen,
        )
        for place, (name, (x, y, e)) in enumerate(CROWD.items())
    ]


def test_a_crowded_chart_names_the_baseline_the_headline_s_model_and_the_front():
    """Guards nine labels over each other and over error bars, the headline's under another model's mark."""
    chosen = "pruned (ffn 0.5)"  # which the front lacks
    (points,) = number_points([crowd(chosen)])
    plot = draw(points, "Bytes", "accuracy", str)
    marks = {mark.label: mark for mark in plot.marks}
    assert {label for label in marks if not label.isdigit()} == {
        "minilm-l6",
        "distilled (tinybert)",
        "int8",
        "vocabulary 8000 · packed-int4",
        chosen,
    }
    assert [label for label, mark in marks.items() if mark.bold] == [chosen]
    assert plot.numbers == (
        (1, "pruned (vocabulary 8000) · recovered"),
        (2, "vocabulary 8000 · trained for packed-int4"),
        (3, "pruned (vocabulary 8000)"),
        (4, "pruned (ffn 0.5) · recovered"),
    )
    for number, name in plot.numbers:
        assert f"{number} {name}: {CROWD[name][0]}" in plot.description
    (few,) = number_points([crowd()[:6]])
    assert not draw(few, "Bytes", "accuracy", str).numbers


def test_labels_of_a_crowded_chart_cover_nothing():
    """A number stands by its mark or has a line to it, and none beside another: 1 and 1 would be 11."""
    (points,) = number_points([crowd()])
    plot = draw(points, "Bytes", "accuracy", str, arrows=[Arrow(0, 1, "teacher"), Arrow(1, 2, "weights")])
    for mark in plot.marks:
        assert all(mark.box.overlap(box) == 0 for other in plot.marks for box in _occupied(other))
        assert mark.leader or math.dist(mark.anchor, (mark.x, mark.y)) < 32
    boxes = [mark.box for mark in plot.marks]
    assert all(one.overlap(other) == 0 for one, other in combinations(boxes, 2))


def test_a_model_has_one_number_on_all_charts():
    """And each chart names its own front, so that a number may be missing from one of them."""
    slow = "pruned (vocabulary 8000)"
    times = [replace(point, x=1.0 if point.label == slow else 1e9 / point.x) for point in crowd()]
    sizes, speeds = number_points([crowd(), times])
    numbers = [{point.label: point.number for point in points if point.number} for points in (sizes, speeds)]
    assert slow in numbers[0]
    assert slow not in numbers[1]
    shared = numbers[0].keys() & numbers[1].keys()
    assert len(shared) == 4
    assert all(numbers[0][label] == numbers[1][label] for label in shared)
    told = list_numbers([draw(points, "x", "accuracy", str) for points in (sizes, speeds)])
    assert [number for number, _ in told] == list(range(1, len(told) + 1))
    assert dict(told) == {number: label for each in numbers for label, number in each.items()}


def test_a_label_s_place_is_looked_for_no_further_than_the_first_that_nothing_nearer_beats(monkeypatch):
    """Guards seconds a page: every place of every label was weighed against every mark."""
    weighed = []
    monkeypatch.setattr(places, "_cost", lambda box, taken, labels: weighed.append(box) or 0.0)
    points = [
        Point(name, x, Interval(value=y, low=y, high=y), None, False)
        for name, x, y in (("a", 1e6, 0.7), ("b", 1e7, 0.8), ("c", 1e8, 0.9))
    ]
    assert not any(mark.leader for mark in draw(points, "Bytes", "accuracy", str).marks)
    assert len(weighed) == 3


def test_what_lies_inside_the_plot_costs_nothing():
    """Guards equals that the last bits of a width decide between."""
    for left, top in np.random.default_rng(0).uniform(LEFT, 200, size=(100, 2)):
        box = places.Box(left, top, left + 67, top + places.LINE)
        assert 0 <= places._cost(box, [], []) < 1e-9


def test_equal_points_and_constant_curves_are_drawn():
    same = Interval(value=1.0, low=1.0, high=1.0)
    plot = draw([Point(name, 5.0, same, None, False) for name in "ab"], "Bytes", "accuracy", str)
    assert plot.marks[0].x == plot.marks[1].x
    curve = plot_curves([Curve(name="loss", steps=(3, 3), values=(2.0, 2.0))])
    assert curve.paths == ("M10 650l0 0",)


def corners(path):
    """A path's corners in the units of its plot."""
    steps = [tuple(map(int, part.split())) for part in path[1:].split("l")]
    return [tuple(coordinate / TENTHS for coordinate in each) for each in np.cumsum(steps, axis=0).tolist()]


def test_a_curve_runs_from_its_first_to_its_last_value():
    curve = plot_curves([Curve(name="eval_accuracy", steps=(0, 50, 100), values=(1.0, 3.0, 2.0))])
    assert corners(*curve.paths) == [(1, 128), (120, 2), (239, 65)]
    assert (curve.name, curve.low, curve.high, curve.last) == ("eval accuracy", "1.00", "3.00", 100)


def test_a_long_curve_ends_where_its_last_value_is():
    """Guards corners that are counted from one another: what each is rounded by must not add up."""
    steps = tuple(range(239))
    curve = plot_curves([Curve(name="loss", steps=steps, values=tuple(step / 237.77 for step in steps))])
    found = corners(*curve.paths)
    assert found[0] == (1, 128)
    assert found[-1] == (239, 2)
    assert found[119] == (120, 65)


def test_curves_of_several_seeds_share_their_axes():
    """The longest run and the highest value end the axes, of what stands beside them, too."""
    first = Curve(name="loss", steps=(0, 100), values=(3.0, 1.0))
    second = Curve(name="loss", steps=(0, 50), values=(2.0, 2.0))
    held = Curve(name="eval_loss", steps=(50, 200), values=(4.0, 5.0))
    plot = plot_curves([first, second], beside=[held], name="loss")
    assert (plot.low, plot.high, plot.first, plot.last) == ("1.00", "5.00", 0, 200)
    assert [corners(path)[-1] for path in plot.paths] == [(120, 128), (60.5, 96.5)]
    assert [corners(path)[-1] for path in plot.beside] == [(239, 2)]
    assert plot.description == (
        "loss from 3 and 2 at step 0 to 1 and 2 at steps 100 and 50; on the hold-out from 4 at step 50 to 5 at step 200."
    )


def test_the_front_leaves_out_what_is_beaten_and_labels_leave_marks_free():
    scores = {"small": (1e6, 0.80), "beaten": (1.15e6, 0.79), "large": (4e6, 0.90)}
    points = [
        Point(name, x, Interval(value=y, low=y - 0.02, high=y + 0.02), None, False)
        for name, (x, y) in scores.items()
    ]
    plot = draw(points, "Bytes", "accuracy", str)
    marks = {mark.label: mark for mark in plot.marks}
    assert str(marks["beaten"].y) not in plot.front
    assert f"{marks['large'].x} {marks['large'].y}" in plot.front
    for mark in plot.marks:
        for other in plot.marks:
            assert all(mark.box.overlap(box) == 0 for box in _occupied(other))


def test_a_level_lies_where_the_curve_would_and_inside_the_plot():
    level = Level(name="unigram entropy", value=4.0)
    known = Curve(name="eval_masked_lm", steps=(0, 10), values=(3.0, 2.0), level=level)
    curve = plot_curves([known], name="words")
    assert corners(*curve.paths) == [(1, 65), (239, 128)]
    assert corners(curve.level_path) == [(1, 2), (239, 2)]
    assert (curve.low, curve.high, curve.name) == ("2.00", "4.00", "words")
    assert curve.description == "words from 3 at step 0 to 2 at step 10; unigram entropy 4."


def ends_of(path):
    """A path's corners, of absolute coordinates."""
    return [tuple(map(float, part.split())) for part in path[1:].split("L")]


def test_arrows_follow_the_lineage(written):
    """The teacher taught the student, whose weights went on into the int8 file."""
    plot = plot_bytes(written.report.sections[0])
    marks = {mark.label: mark for mark in plot.marks}
    assert len(marks) == 3
    teacher, student, int8 = (marks[label] for label in ("minilm-l6", "logits", "int8"))
    arrows = {arrow.kind: arrow for arrow in plot.arrows}
    assert len(plot.arrows) == len(arrows) == 2
    for kind, source, made in (("teacher", teacher, student), ("weights", student, int8)):
        ends = [ends_of(path) for path in (arrows[kind].line, arrows[kind].head)]
        begin, tip = ends[0]
        assert math.dist(begin, (source.x, source.y)) < 10
        assert math.dist(tip, (made.x, made.y)) < 10
        assert ends[1][1] == tip  # the head's middle corner
        assert all(
            math.dist(side, (source.x, source.y)) < math.dist(tip, (source.x, source.y))
            for side in ends[1][::2]
        )
    assert {mark.shape for mark in plot.marks} == {"baseline", "distilled", "quantized"}
    assert [key.shape for key in plot.legend] == ["baseline", "distilled", "quantized"]


def test_an_arrow_goes_through_stages_without_a_mark(ancestry):
    report = write_report(ancestry.runs, ancestry.store.root.parent / "r", command="c")
    (section,) = report.sections
    hidden = section.lineage[-1].child
    marks = {row.run.id: place for place, row in enumerate(section.rows)}
    links = [Link(child=section.rows[1].run.id, parent="x", role="student", run=hidden)]
    links += [Link(child=hidden, parent="y", role="model", run=section.baseline)]
    assert hidden not in marks
    changed = section.model_copy(update={"lineage": tuple(links)})
    assert find_arrows(changed, marks) == (Arrow(0, 1, "weights"),)
    round_trip = [*links, Link(child=section.baseline, parent="x", role="model", run=hidden)]
    assert find_arrows(changed.model_copy(update={"lineage": tuple(round_trip)}), marks)


def test_seeds_are_one_mark_with_a_dot_each(kit, trio):
    again = trio.store.add(
        "albert-tiny",
        kit.DISTILL,
        size=18_000_000,
        parameters=4_500_000,
        seed=43,
        parents=[kit.child_of(trio.teacher, "teacher")],
    )
    trio.store.evaluate(again, kit.answers(60, 3))
    report = write_report([*trio.runs, read_run(again.path)], trio.store.root.parent / "r", command="c")
    plot = plot_bytes(report.sections[0])
    (mark,) = [mark for mark in plot.marks if mark.dots]
    assert len(plot.marks) == 3
    assert mark.label == "logits"
    assert mark.y == pytest.approx(sum(mark.dots) / 2, abs=0.2)


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("pruned (vocabulary 8000) · recovered", "pruned (vocabulary 8000) · recovered"),
        ("distilled (tinybert) from minilm-l6", "distilled (tinybert) from minilm-l6"),
        ("albert-tiny · vocabulary 8000 · packed-int4", "albert-tiny · … 8000 · packed-int4"),
        ("pruned (layers 3 (last), ffn 0.5, hidden 0.5) · recovered", "pruned (layers 3 (last), … recovered"),
        ("a" * 20 + "b" * 20, "a" * 20 + "bbb…" + "b" * 12),
    ],
)
def test_labels_are_cut_between_words(label, shown):
    """Guards half a word, such as "…om minilm-l6", which is none."""
    assert shorten_label(label) == shown


@pytest.mark.parametrize(
    ("label", "lines"),
    [
        ("vocabulary 8000 · packed-int4", ("vocabulary 8000 · packed-int4",)),
        ("vocabulary 8000 · trained for packed-int4", ("vocabulary 8000 ·", "trained for packed-int4")),
        ("a" * 40, ("a" * 23 + "…" + "a" * 12,)),
        ("word " * 20 + "end", ("word … word word word word word end",)),
    ],
)
def test_a_long_label_has_two_lines_before_it_is_cut(label, lines):
    assert wrap_label(label) == lines


def test_a_label_of_two_lines_has_room_for_both():
    (points,) = number_points([crowd("vocabulary 8000 · trained for packed-int4")])
    plot = draw(points, "Bytes", "accuracy", str)
    (mark,) = [mark for mark in plot.marks if mark.bold]
    assert len(mark.lines) == 2
    assert mark.box.bottom - mark.box.top == 2 * places.LINE
    assert mark.box.right - mark.box.left < 28 * places.LETTER
    assert all(mark.box.overlap(box) == 0 for other in plot.marks for box in _occupied(other))


def told(label, last="", *, baseline=False):
    return Point(label, 1.0, Interval(value=0.5, low=0.4, high=0.6), None, baseline, last=last)


@pytest.mark.parametrize(
    ("given", "last", "shown", "shared"),
    [
        (("tiny", "tiny · int8"), "tinybert", ("tinybert", "int8"), "tiny"),
        (("tiny · a", "tiny · int8"), "", ("a", "int8"), "tiny"),
        (("tiny", "nano · int8"), "tinybert", ("tiny", "nano · int8"), ""),
        (("tiny", "tiny · tinybert"), "tinybert", ("tiny", "tiny · tinybert"), ""),
        (("tiny",), "tinybert", ("tiny",), ""),
    ],
)
def test_the_name_that_all_share_is_cut_of_the_bare_one_s_too(given, last, shown, shared):
    """Guards "albert-tiny · … 8000 · packed-int4" beside a model that is called albert-tiny alone."""
    base = told("big", "fine-tuned", baseline=True)
    cut, name = drop_shared_name([base, *(told(label, last) for label in given)])
    assert ([point.label for point in cut], name) == (["big", *shown], shared)


def test_how_a_pupil_was_taught_is_a_word_in_a_chart():
    """Guards "albert-tiny · … from minilm-l6", which names no method."""
    long = "tiny · distilled (tinybert, a copy of each text) from big"
    points = [
        told("big", "fine-tuned"),
        told(long, "tinybert"),
        told("tiny · pruned (a) · recovered", "recovered"),
    ]
    shown = ["big", "tiny · tinybert", "tiny · pruned (a) · recovered"]
    assert [point.label for point in shorten_names(points)] == shown
    twice = [*points, told("tiny · distilled (tinybert, 5 copies of each text) from big", "tinybert")]
    assert shorten_names(twice)[1].label == long


def test_where_room_is_scarce_a_label_covers_another_before_it_leaves_the_chart():
    """Guards a label whose end nobody can read; one that covers a part of another still can be."""
    points = [
        Point(f"{place:02} {'m' * 32}", 10.0 + place, Interval(value=y, low=y, high=y), None, False)
        for place, y in enumerate(0.9 + step / 1000 for step in range(29))
    ]
    plot = draw(points, "Bytes", "accuracy", str)
    assert all(mark.box.left >= 0 and mark.box.right <= WIDTH for mark in plot.marks)


@pytest.mark.parametrize(
    ("low", "high", "step"), [(0.90, 0.906, 0.0025), (0.5, 0.9, 0.1), (0.60, 0.72, 0.025)]
)
def test_what_stands_at_a_line_is_where_it_is(low, high, step):
    """Guards 0.897, 0.902, 0.907 at lines every 0.0025."""
    axis = LinearAxis(low, high)
    assert axis.step == pytest.approx(step)
    assert [float(axis.write(value)) for value in axis.ticks()] == pytest.approx(axis.ticks(), rel=1e-12)
