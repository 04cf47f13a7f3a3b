"""Two models against each other: paired numbers by hand, seeds told as one, and what is refused."""

import json

import pytest
from typer.testing import CliRunner

from compress.cli.commands import app
from compress.errors import CompressError, InvalidInputError
from compress.recipes.terms import SoftTerm
from compress.reporting.data import read_data, write_data
from compress.reporting.pairwise import compare_in_report, compare_stored
from compress.statistics import estimate_gain, mcnemar


@pytest.fixture
def compared(tmp_path):
    def of(runs, *names):
        write_data(runs, tmp_path / "report", title="T", command="c")
        return compare_in_report(read_data(tmp_path / "report"), *names)

    return of


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


class TestCommand:
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
