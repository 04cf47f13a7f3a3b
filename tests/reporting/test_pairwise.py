"""Two models against each other: paired numbers by hand, seeds told as one, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from compress.cli.commands import app
from compress.errors import CompressError, InvalidInputError
from compress.recipes.terms import SoftTerm
from compress.reporting.candidates import list_candidates
from compress.reporting.compare import compare
from compress.reporting.data import read_data, write_data
from compress.reporting.finding import find_models
from compress.reporting.pairwise import compare_in_report, compare_stored
from compress.statistics import METRICS, estimate_gain, mcnemar
from compress.tasks import GlueSource


@pytest.fixture
def compared(tmp_path):
    def of(runs, *names):
        write_data(runs, tmp_path / "report", title="T", command="c")
        return compare_in_report(read_data(tmp_path / "report"), *names)

    return of


def known_of(data):
    return {each.run.id: each.run for each in [*data.runs, *data.ancestors]}


def run(*arguments):
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def test_two_runs_are_compared_example_by_example(written, kit):
    trio = written.trio
    (pair,) = compare_in_report(read_data(written.path), trio.int8.run.id, trio.teacher.run.key).tasks
    (split,) = pair.splits
    (metric,) = split.metrics
    labels, int8, teacher = (
        column.astype(float) for column in (kit.LABELS, kit.answers(76, 2), kit.answers(40, 1))
    )
    assert (pair.task, split.split, split.n, metric.metric) == ("sample", "validation", 400, "accuracy")
    assert (metric.ours.value, metric.theirs.value) == (pytest.approx(324 / 400), pytest.approx(360 / 400))
    expected = estimate_gain("accuracy", labels, [int8], [teacher])
    assert (metric.gain.value, metric.gain.low, metric.gain.high) == tuple(expected)
    (test,) = split.tests
    assert test.model_dump(exclude={"seeds"}) == mcnemar(labels, int8, teacher)._asdict()
    assert test.both + test.only_ours == 324
    assert pair.smaller == 18
    assert pair.speeds[0].faster.value == pytest.approx(8)


def test_seeds_of_one_model_count_as_one(store, kit, compared):
    teacher = store.add("teacher", kit.FINETUNE, size=90, parameters=9)
    store.evaluate(teacher, kit.answers(40, 9))
    hot = kit.DISTILL.model_copy(update={"terms": (SoftTerm(temperature=4.0),)})
    made = {}
    for name, stage in (("warm", kit.DISTILL), ("hot", hot)):
        for seed, wrong in ((1, 60), (2, 80)):
            made[name, seed] = store.add(name, stage, size=9, parameters=9, seed=seed)
            store.evaluate(made[name, seed], kit.answers(wrong + 10 * (name == "hot"), seed))
    (pair,) = compared([teacher, *made.values()], "warm", made["hot", 2].run.id).tasks
    assert (pair.ours.seeds, pair.theirs.seeds) == ((1, 2), (1, 2))
    (metric,) = pair.splits[0].metrics
    assert metric.ours.value == pytest.approx(1 - 70 / 400)
    assert metric.gain.value == pytest.approx(10 / 400)
    assert [test.seeds for test in pair.splits[0].tests] == [(1, 1), (2, 2)]
    (pair,) = compared([teacher, *made.values()], "warm", "teacher").tasks
    assert [test.seeds for test in pair.splits[0].tests] == [(1, 42), (2, 42)]
    # … and out of the store, where one of them is named; a third that was never scored changes nothing
    store.add("warm", kit.DISTILL, size=9, parameters=9, seed=3)
    assert compare_stored(made["warm", 2], teacher).tasks[0] == pair


def test_every_task_and_split_that_both_have(store, kit, compared):
    both = kit.TASK.model_copy(update={"name": "mnli", "validation": ("matched", "mismatched")})
    numbers = kit.TASK.model_copy(
        update={"name": "stsb", "kind": "regression", "labels": None, "metrics": ("pearson",)}
    )
    runs = []
    for number, name in enumerate(("a", "b"), start=1):
        for task in (both, numbers):
            stored = store.add(name, kit.FINETUNE, size=number, parameters=1, task=task)
            for split in task.validation if task is both or name == "a" else ("validation",):
                noise = kit.np.random.default_rng(number).normal(size=kit.N)
                answers = kit.answers(50, number) if task is both else kit.LABELS + number * noise
                data = "other000" if (name, split) == ("b", "mismatched") else "data0000"
                store.evaluate(stored, answers, split=split, key=f"{split[:2]}000000", data=data)
            runs.append(stored)
    matched, regression = compared(runs, "a", "b").tasks
    assert [split.split for split in matched.splits] == ["matched"]  # of the other, they saw other examples
    assert (regression.task, regression.splits[0].tests) == ("stsb", ())
    assert regression.splits[0].metrics[0].gain.low > 0
    assert (regression.smaller, regression.speeds) == (2, ())


def test_of_several_evaluations_the_one_that_both_have_is_compared(store, kit, compared):
    """Guards a refusal because a hash came first: one model was scored anew, which the other was not."""
    first, second = (store.add(name, kit.FINETUNE, size=9, parameters=9) for name in ("a", "b"))
    for stored in (first, second):
        store.evaluate(stored, kit.answers(40), key="e-old000", data="old")
    store.evaluate(first, kit.answers(60), key="a-new000", data="new")
    for names in ("ab", "ba"):
        (pair,) = compared([first, second], *names).tasks
        assert pair.splits[0].metrics[0].ours.value == pytest.approx(0.9)


def test_what_cannot_be_compared_is_refused(trio, kit, compared):
    warm = kit.DISTILL.model_copy(update={"terms": (SoftTerm(temperature=4.0),)})
    other = trio.store.add("albert-tiny", warm, size=9, parameters=9)
    trio.store.evaluate(other, kit.answers(30), data="other000")
    with pytest.raises(CompressError, match="not scored on the same examples"):
        compared([*trio.runs, other], other.run.id, "minilm-l6")
    with pytest.raises(InvalidInputError, match="several models of the task 'sample'"):
        compared([*trio.runs, other], "albert-tiny", "minilm-l6")
    with pytest.raises(InvalidInputError, match="same model"):
        compared(trio.runs, "minilm-l6", trio.teacher.run.id)
    with pytest.raises(InvalidInputError, match="'albert' is no run of the report"):
        compared(trio.runs, "albert", "minilm-l6")


@pytest.fixture
def shown(kit, store, tmp_path):
    """Two tasks: on the one a student of two seeds beside another kind, on the other the student alone."""
    runs = []
    for name in ("cola", "sst2"):
        task = kit.TASK.model_copy(update={"name": name})
        teacher = store.add("minilm-l6", kit.FINETUNE, size=90, parameters=9, task=task)
        made = [teacher]
        shape = {"size": 9, "parameters": 9, "task": task, "parents": [kit.child_of(teacher, "teacher")]}
        tinybert = kit.DISTILL.model_copy(update={"method": "tinybert"})
        if name == "cola":
            made += [store.add("albert-tiny", kit.DISTILL, seed=seed, **shape) for seed in (1, 2)]
        made.append(store.add("albert-tiny", tinybert, seed=3, **shape))
        for each in made:
            store.evaluate(each, kit.answers(40 + each.run.seed, each.run.seed))
        runs += made
    write_data(runs, tmp_path / "report", title="T", command="c")
    return read_data(tmp_path / "report")


class TestOverall:
    @pytest.fixture
    def glue(self, store, kit, tmp_path):
        """A teacher, a student of two seeds and a copy of the teacher that answers alike, on three tasks."""
        metrics = {"mrpc": ("accuracy", "f1"), "sst2": ("accuracy",), "wnli": ("accuracy",)}
        runs = []
        for task, asked in metrics.items():
            source = GlueSource(config="wnli") if task == "wnli" else kit.TASK.source
            shape = {
                "parameters": 9,
                "task": kit.TASK.model_copy(update={"name": task, "metrics": asked, "source": source}),
            }
            teacher = store.add("teacher", kit.FINETUNE, size=90, **shape)
            taught = {"parents": [kit.child_of(teacher, "teacher")], **shape}
            students = [store.add("student", kit.DISTILL, seed=seed, size=30, **taught) for seed in (1, 2)]
            double = store.add("double", kit.DISTILL, size=60, **taught)
            answers = [kit.answers(30, 7), kit.answers(60, 1), kit.answers(90, 2), kit.answers(30, 7)]
            for stored, given in zip([teacher, *students, double], answers, strict=True):
                store.evaluate(stored, given)
                runs.append(stored)
        write_data(runs, tmp_path / "report", title="T", command="c")
        return read_data(tmp_path / "report")

    def test_the_means_are_those_of_the_overview(self, glue):
        """Guards two answers to one question: the page's and the command's; WNLI has no part in either."""
        means = {row.name: row.mean for row in compare(glue).overview.rows}
        for names in (("student", "teacher"), ("teacher", "student")):
            overall = compare_in_report(glue, *names).overall
            assert (overall.tasks, overall.outside) == (("sst2", "mrpc"), ("wnli",))
            assert [overall.ours, overall.theirs] == [means[name] for name in names]
        assert overall.bytes == (90, 30)
        assert overall.smaller.value == pytest.approx(1 / 3)

    def test_the_difference_is_paired(self, glue, kit):
        """Guards an interval as wide as if the two had seen different examples."""
        overall = compare_in_report(glue, "teacher", "double").overall
        assert (overall.gain.value, overall.gain.low, overall.gain.high) == (0, 0, 0)
        assert overall.ours.low < overall.ours.high
        overall = compare_in_report(glue, "student", "teacher").overall
        scores = [
            float(
                np.mean(
                    [
                        METRICS[metric](kit.LABELS, kit.answers(wrong, seed))
                        for wrong, seed in answers
                        for metric in metrics
                    ]
                )
            )
            for answers in (((60, 1), (90, 2)), ((30, 7),))
            for metrics in (("accuracy",), ("accuracy", "f1"))
        ]
        assert overall.gain.value == pytest.approx(np.mean(scores[:2]) - np.mean(scores[2:]))
        assert overall.gain.low < overall.gain.value < overall.gain.high < 0

    def test_it_is_said_first(self, glue, tmp_path):
        done = run("--compare", "student", "teacher", "--output-dir", tmp_path / "report")
        lines = done.stdout.splitlines()
        assert lines[0] == "Mean of SST-2 and MRPC (brackets: 95 % intervals; of A − B, paired)"
        assert lines[1].startswith("A: 0.")
        assert lines[1].endswith("; student · distilled (logits) from teacher; 30 B")
        assert lines[2].endswith("; teacher · fine-tuned; 90 B")
        assert lines[3].startswith("A − B: −0.1")
        assert lines[3].endswith("; A is 3.00× smaller")
        assert lines[4] == "Not in the mean: WNLI"

    def test_of_one_task_there_is_none(self, shown, written):
        assert compare_in_report(shown, "albert-tiny · logits", "minilm-l6").overall is None
        pairwise = compare_in_report(read_data(written.path), "albert-tiny", "minilm-l6")
        assert pairwise.overall is None
        done = run("--compare", "albert-tiny", "minilm-l6", "--output-dir", written.path)
        assert done.stdout.startswith("sample (brackets: ")


class TestNames:
    def test_models_go_by_what_every_page_of_the_report_calls_them(self, shown):
        """Guards names that a reader copies from the page and that are then no run of the report."""
        report = compare(shown)
        for section in report.sections:
            for one in list_candidates(section):
                names = {one.name, *(row.short for row in one.rows), *(row.label for row in one.rows)}
                for name in sorted(names):
                    found = find_models(shown.runs, name, known_of(shown))
                    assert {each.run.id for each in found[section.task]} == set(one.runs), name
        for row in report.overview.rows:
            found = find_models(shown.runs, row.name, known_of(shown))
            assert {each.run.id for runs in found.values() for each in runs} == set(row.runs)
            chosen = replace(shown, manifest=shown.manifest.model_copy(update={"baseline": row.name}))
            baselines = {section.baseline for section in compare(chosen).sections if section.task in found}
            assert baselines <= set(row.runs)

    def test_what_the_table_calls_a_model_wins_over_a_name_that_several_share(self, trio, compared):
        """Guards the student, called albert-tiny alone, against its own quantized form."""
        (pair,) = compared(trio.runs, "albert-tiny", "minilm-l6").tasks
        assert pair.ours.runs == (trio.student.run.id,)

    def test_a_task_with_one_of_the_two_is_named_as_left_out(self, shown):
        """Guards a comparison that looks whole; on the other task the model goes by its shorter name."""
        pairwise = compare_in_report(shown, "albert-tiny · logits", "minilm-l6")
        assert [pair.task for pair in pairwise.tasks] == ["cola"]
        assert [(each.task, each.lacking) for each in pairwise.left_out] == [("sst2", "albert-tiny · logits")]
        whole = compare_in_report(shown, "albert-tiny · tinybert", "minilm-l6")
        assert [pair.task for pair in whole.tasks] == ["cola", "sst2"]
        assert whole.left_out == ()

    def test_a_wrong_name_is_answered_with_models_and_the_nearest_of_them(self, shown):
        with pytest.raises(InvalidInputError, match="is no run of the report") as error:
            compare_in_report(shown, "albert-tiny · tinybird", "minilm-l6")
        assert error.value.fix == (
            "Did you mean 'albert-tiny · tinybert'? The models are: albert-tiny · logits, "
            "albert-tiny · tinybert, minilm-l6, albert-tiny."
        )

    def test_what_is_one_model_on_one_task_and_several_on_another(self, shown):
        pairwise = compare_in_report(shown, "albert-tiny", "minilm-l6")
        assert [pair.task for pair in pairwise.tasks] == ["sst2"]
        assert [(each.task, each.lacking) for each in pairwise.left_out] == [("cola", "albert-tiny")]


class TestCommand:
    def test_what_is_left_out_is_said(self, shown, tmp_path):
        done = run("--compare", "albert-tiny · logits", "minilm-l6", "--output-dir", tmp_path / "report")
        text = " ".join(done.stdout.split())
        assert "Left out: SST-2, where 'albert-tiny · logits' is the name of no model, or of several." in text

    def test_runs_by_their_directories(self, trio):
        done = run("--compare", trio.student.path, trio.teacher.path, "--json")
        assert done.exit_code == 0, done.stderr
        (pair,) = json.loads(done.stdout)["tasks"]
        assert pair["ours"]["runs"] == [trio.student.run.id]
        assert pair["splits"][0]["metrics"][0]["gain"]["value"] == pytest.approx(-30 / 400)

    def test_models_of_a_report_in_words(self, written):
        trio = written.trio
        done = run("--compare", trio.int8.run.id, "minilm-l6", "--output-dir", written.path)
        assert done.exit_code == 0, done.stderr
        text = " ".join(done.stdout.split())
        for part in (
            "A: albert-tiny · distilled (logits) from minilm-l6 · int8",
            "−0.090 (−0.",
            "18.0× smaller",
        ):
            assert part in text
        assert "8.00× faster than B" in text
        assert "; A in ONNX Runtime, B in PyTorch." in text
        assert "McNemar, validation: both right" in text
        assert "(mid-p)" in text

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--compare", "nothing", "nowhere"), "no directory"),
            (("--compare", "a", "b", "--check"), "--check would do nothing beside --compare"),
            (("runs/sample",), "needs a directory"),
        ],
    )
    def test_a_mistake_is_one_error(self, arguments, message):
        done = run(*arguments)
        assert done.exit_code == 2
        assert done.stderr.count("Error: ") == 1
        assert message in done.stderr
