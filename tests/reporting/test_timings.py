import csv

import pytest

from compress.reporting import write_report
from compress.reporting.data import read_data, write_data
from compress.reporting.html import render_html
from compress.reporting.markdown import render_markdown
from compress.reporting.measured import list_known
from compress.reporting.sheets import render_sheets
from compress.reporting.timings import compare_timings
from compress.reporting.wording import format_condition
from compress.runs import read_run


@pytest.fixture
def pair(kit, store):
    teacher = store.add("teacher", kit.FINETUNE, size=90, parameters=9)
    student = store.add(
        "student", kit.DISTILL, size=10, parameters=1, parents=[kit.child_of(teacher, "teacher")]
    )
    return store, teacher, student


def columns_of(runs, output_dir, baseline):
    write_data(runs, output_dir, title="T", command="c")
    return compare_timings(read_data(output_dir).runs, baseline.run.id)


def test_ratio_is_the_median_over_rounds_of_paired_round_medians(pair, tmp_path):
    store, teacher, student = pair
    # Round medians: teacher 10, 30, 12; student 5, 10, 2: ratios 2, 3, 6. The ratio of the medians would be 2.4.
    store.measure([(teacher, [[9, 10, 40], [30, 30, 1], [12]]), (student, [[5, 5, 9], [10], [2, 2, 7]])])
    (column,) = columns_of([teacher, student], tmp_path / "r", teacher)
    timing = column.find(student.run.id)
    assert timing.speedup.value == 3
    assert (timing.speedup.low, timing.speedup.high) == (2.5, 4.5)
    assert (column.spread, column.rounds, column.sessions) == ("rounds", 3, ("s1",))
    assert timing.milliseconds.value == 5  # the median of 5 5 9 10 2 2 7
    assert column.find(teacher.run.id).speedup is None


def test_sessions_are_pooled_by_their_median_with_their_range(pair, tmp_path):
    store, teacher, student = pair
    for name, slow, fast in (("a", 10, 5), ("b", 20, 5), ("c", 18, 6)):  # ratios 2, 4, 3
        store.measure([(teacher, [[slow]] * 2), (student, [[fast]] * 2)], session=name)
    (column,) = columns_of([teacher, student], tmp_path / "r", teacher)
    speedup = column.find(student.run.id).speedup
    assert (speedup.value, speedup.low, speedup.high) == (3, 2, 4)
    assert (column.spread, column.sessions) == ("sessions", ("a", "b", "c"))
    own = column.find(teacher.run.id).milliseconds
    assert (own.value, own.low, own.high) == (18, 10, 20)


@pytest.mark.parametrize(
    ("sessions", "note", "headline"),
    [
        (
            "a",
            "quartiles over rounds, which say nothing of how sessions differ",
            "3.00–3.00×, which say nothing",
        ),
        (
            "ab",
            "the range of the two, which hardly tells the noise",
            "3.00–3.00×, which hardly tells the noise.",
        ),
        ("abc", "in brackets the range over sessions.", "range over sessions 3.00–3.00×. At"),
    ],
)
def test_a_range_of_fewer_than_three_sessions_is_told_to_be_none(trio, kit, sessions, note, headline):
    """Guards a reader who takes two numbers for an interval."""
    (trio.int8.path / "measurements" / "s1.json").unlink()
    (trio.student.path / "measurements" / "s1.json").unlink()
    for name in sessions:
        trio.store.measure([(trio.teacher, kit.steady(12.0)), (trio.student, kit.steady(4.0))], session=name)
    report = write_report(trio.runs[:2], trio.store.root.parent / "r", command="c")
    for text in (render_html(report), render_markdown(report)):
        assert note in text
        assert headline in text


def test_what_else_was_measured_is_told_under_its_own_condition(pair, kit, tmp_path):
    """The median over sessions; neither other shapes nor other threads have a part in it."""
    store, teacher, student = pair
    for name, slow in (("a", 16), ("b", 6), ("c", 9)):
        store.measure([(teacher, [[10]] * 2), (student, [[4, slow]] * 2)], session=name)
        flops = [
            kit.measurement(
                "flops", "FLOP", (), value=batch * 1e9, conditions={"batch": batch, "length": 128}
            )
            for batch in (1, 32)
        ]
        held = [
            kit.measurement(
                "peak_device_memory", "bytes", (), value=threads * 5e8, conditions={"threads": threads}
            )
            for threads in (1, 2)
        ]
        add(kit, student, name, *flops, *held)
    (column,) = columns_of([teacher, student], tmp_path / "r", teacher)
    assert column.find(student.run.id).quantities == {
        "latency_p95": 9,
        "throughput": pytest.approx(1000 / 6.5),
        "flops": 1e9,
        "load_time": 0.25,
        "peak_memory": 300e6,
        "peak_device_memory": 5e8,
    }
    assert column.find(teacher.run.id).quantities.keys() == {
        "latency_p95",
        "throughput",
        "load_time",
        "peak_memory",
    }
    assert {each.name for each in list_known(column)} == column.find(student.run.id).quantities.keys()


def test_memory_for_the_model_is_what_the_process_did_not_hold_before(pair, kit, tmp_path):
    """Guards a peak that is Python's and its libraries' for the most part, and so the same for any model; by session."""
    store, teacher, student = pair
    for name, held in (("a", 240e6), ("b", 290e6), ("c", 270e6)):
        store.measure([(teacher, [[10]]), (student, [[5]])], session=name)
        before = kit.measurement("baseline_memory", "bytes", (), value=held)
        other = kit.measurement("baseline_memory", "bytes", (), value=1e6, conditions={"threads": 2})
        add(kit, student, name, before, other)
    report = write_report([read_run(each.path) for each in (teacher, student)], tmp_path / "r", command="c")
    (column,) = report.sections[0].timings
    assert column.find(student.run.id).quantities["model_memory"] == 30e6
    assert "model_memory" not in column.find(teacher.run.id).quantities
    for text in (render_html(report), render_markdown(report)):
        assert "30.0 MB" in text
        assert text.count("that peak less what the process held before it loaded the model") == 1
    first, *lines = csv.reader(render_sheets(report)["timings.csv"].splitlines())
    assert {line[first.index("model_bytes")] for line in lines} == {"30000000", ""}


def test_separate_sessions_of_two_models_give_no_ratio(pair, kit, tmp_path):
    store, teacher, student = pair
    store.measure([(teacher, kit.steady(10))], session="a")
    store.measure([(student, kit.steady(5))], session="b")
    columns = columns_of([teacher, student], tmp_path / "r", teacher)
    assert [len(column.timings) for column in columns] == [1, 1]
    assert all(timing.speedup is None for column in columns for timing in column.timings)


@pytest.mark.parametrize(
    "changes",
    [{"cpu": "Another CPU"}, {"cpu_count": 64}, {"gpu": "H200"}, {"versions": {"torch": "2.12.0"}}],
)
def test_machines_and_versions_never_share_a_column(pair, kit, tmp_path, changes):
    store, teacher, student = pair
    store.measure([(teacher, [[10]]), (student, [[5]])], session="a")
    store.measure([(teacher, [[40]]), (student, [[5]])], session="b", where=kit.environment(**changes))
    columns = columns_of([teacher, student], tmp_path / "r", teacher)
    assert [column.sessions for column in columns] == [("a",), ("b",)]
    assert [column.find(student.run.id).speedup.value for column in columns] == [2, 8]


def test_commits_of_this_package_do_not_part_sessions(pair, kit, tmp_path):
    store, teacher, student = pair
    for name, version in (("a", "0.1.0"), ("b", "0.1.1")):
        where = kit.environment(commit=name, versions={"torch": "2.11.0", "compress-encoders": version})
        store.measure([(teacher, [[10]]), (student, [[5]])], session=name, where=where)
    (column,) = columns_of([teacher, student], tmp_path / "r", teacher)
    assert column.sessions == ("a", "b")


def test_sessions_of_other_models_never_share_a_column(trio, tmp_path):
    trio.store.measure([(trio.teacher, [[10]]), (trio.student, [[5]])], session="s0")
    columns = columns_of(trio.runs, tmp_path / "r", trio.teacher)
    assert [column.sessions for column in columns] == [("s1",), ("s0",)]  # the widest one first


def test_conditions_are_columns_of_their_own_and_cpu_with_one_text_comes_first(pair, tmp_path):
    store, teacher, student = pair
    shapes = ({"batch": 32}, {"device": "cuda"}, {"length": 32}, {"length": 128})
    for number, shape in enumerate(shapes):
        store.measure([(teacher, [[10]]), (student, [[5]])], session=f"s{number}", **shape)
    columns = columns_of([teacher, student], tmp_path / "r", teacher)
    found = [(column.condition.batch, column.condition.length, column.condition.device) for column in columns]
    assert found == [(1, 32, "cpu"), (1, 128, "cpu"), (32, 128, "cpu"), (1, 128, "cuda")]


def test_of_two_settings_the_one_with_more_sessions_comes_first(pair, kit, tmp_path):
    """Guards one session in the place of many: the machine's name, or the session's, would decide."""
    store, teacher, student = pair
    for name, cpu in (("a", "A one"), ("b", "B many"), ("c", "B many")):
        store.measure([(teacher, [[10]]), (student, [[5]])], session=name, where=kit.environment(cpu=cpu))
    columns = columns_of([teacher, student], tmp_path / "r", teacher)
    assert [column.sessions for column in columns] == [("b", "c"), ("a",)]


def test_rounds_that_do_not_pair_give_no_ratio(pair, tmp_path):
    store, teacher, student = pair
    store.measure([(teacher, [[10], [10]]), (student, [[5]])])
    (column,) = columns_of([teacher, student], tmp_path / "r", teacher)
    assert column.find(student.run.id).speedup is None


def test_the_column_with_the_baseline_comes_before_a_wider_one(trio, kit, tmp_path):
    fourth = trio.store.add("fourth", kit.FINETUNE, size=9, parameters=1)
    (trio.int8.path / "measurements" / "s1.json").unlink()
    trio.store.measure([(stored, [[5]]) for stored in (trio.student, trio.int8, fourth)], session="s0")
    columns = columns_of([*trio.runs, fourth], tmp_path / "r", trio.teacher)
    assert [column.sessions for column in columns] == [("s1",), ("s0",)]


def add(kit, stored, session, *more):
    """Measurements that a session's record holds besides."""
    record = next(each for each in stored.sessions if each.session == session)
    record = record.model_copy(update={"measurements": (*more, *record.measurements)})
    kit.write_record(stored.path / "measurements" / f"{session}.json", record)


def test_quantities_that_no_column_shows_change_nothing(pair, kit, tmp_path):
    """Guards pages: what newer sessions record beside the latency is no second latency."""
    store, teacher, student = pair
    store.measure([(teacher, [[10]]), (student, [[5]])])
    before = columns_of([teacher, student], tmp_path / "a", teacher)
    shape = {"batch": 1, "length": 128, "threads": 1, "device": "cpu"}
    more = (
        kit.measurement("part_latency", "ms", [[4.0]], value=4.0, conditions={**shape, "part": "attention"}),
        kit.measurement("parameters", "parameters", [[9.0]], value=9, conditions={"part": "attention"}),
        kit.measurement("file_bytes", "bytes", [[9.0]], value=9, conditions={"file": "model.onnx"}),
    )
    for stored in (teacher, student):
        add(kit, stored, "s1", *more)
    assert columns_of([teacher, student], tmp_path / "b", teacher) == before


def test_a_task_s_own_lengths_are_a_column_of_their_own_and_of_the_same_texts(pair, tmp_path):
    """Guards numbers of other texts, or of random tokens, that stand side by side."""
    store, teacher, student = pair
    own = {"length": "task", "task": "sst2", "texts": 64}
    store.measure([(teacher, [[10]]), (student, [[5]])], session="a", fingerprint="aaaa", **own)
    store.measure([(teacher, [[20]]), (student, [[4]])], session="b", fingerprint="bbbb", **own)
    store.measure([(teacher, [[10]]), (student, [[5]])], session="c")
    columns = columns_of([teacher, student], tmp_path / "r", teacher)
    assert [column.sessions for column in columns] == [("c",), ("a",), ("b",)]
    assert format_condition(columns[1].condition) == "batch 1, sst2's own lengths (64 texts), 1 thread, cpu"
    assert [column.find(student.run.id).speedup.value for column in columns] == [2, 2, 5]


def test_threads_never_share_a_column(pair, tmp_path):
    store, teacher, student = pair
    for threads in (1, 2):
        store.measure([(teacher, [[10]]), (student, [[5]])], session=f"t{threads}", threads=threads)
    columns = columns_of([teacher, student], tmp_path / "r", teacher)
    assert [(column.condition.threads, column.sessions) for column in columns] == [(1, ("t1",)), (2, ("t2",))]
