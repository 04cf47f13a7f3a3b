"""The mean over tasks: GLUE's rule by hand, its interval, who is in it, and what is left out."""

import inspect

import numpy as np
import pytest

from compress.recipes.methods import Augmentation
from compress.reporting.answer import NOT_ALIKE
from compress.reporting.candidates import list_candidates
from compress.reporting.caveats import RULES
from compress.reporting.charts import plot_mean_latency, plot_means
from compress.reporting.compare import compare
from compress.reporting.data import read_data, write_data
from compress.reporting.html import render_html
from compress.reporting.markdown import render_markdown
from compress.runs import read_run
from compress.statistics import METRICS, estimate_over_seeds
from compress.tasks import GlueSource
from tests.reporting.test_terminal import printed

METRICS_OF = dict.fromkeys(("sst2", "rte", "qnli", "wnli"), ("accuracy",)) | {"mrpc": ("accuracy", "f1")}


@pytest.fixture
def add(store, kit):
    """A fine-tuned model on one of the tasks, with so many wrong answers."""

    def make(
        name, task, wrong, *, seed=1, parameters=1, stage=kit.FINETUNE, source=kit.TASK.source, **changes
    ):
        asked = kit.TASK.model_copy(update={"name": task, "metrics": METRICS_OF[task], "source": source})
        found = store.add(name, stage, size=9, parameters=parameters, task=asked, seed=seed)
        store.evaluate(found, kit.answers(wrong, 10 * wrong + seed), **changes)
        return found

    return make


@pytest.fixture
def reported(tmp_path):
    def of(*runs):
        write_data(runs, tmp_path / "report", title="T", command="c")
        return compare(read_data(tmp_path / "report"))

    return of


def score(kit, metric, *answers):
    return float(np.mean([METRICS[metric](kit.LABELS, each) for each in answers]))


def test_the_mean_is_glue_s_over_metrics_seeds_and_tasks(add, reported, kit):
    big = [add("big", task, 40, parameters=9) for task in ("sst2", "mrpc")]
    small = [
        add("small", task, wrong, seed=seed)
        for task in ("sst2", "mrpc")
        for seed, wrong in ((1, 60), (2, 90))
    ]
    wnli = {"source": GlueSource(config="wnli")}
    report = reported(
        *small, *big, add("small", "wnli", 200, **wnli), add("big", "wnli", 200, parameters=9, **wnli)
    )
    overview = report.overview
    assert overview.tasks == ("sst2", "mrpc")
    first, second = overview.rows
    assert (first.name, second.name) == ("big", "small")
    answers = [kit.answers(wrong, 10 * wrong + seed) for seed, wrong in ((1, 60), (2, 90))]
    accuracy, f1 = (score(kit, metric, *answers) for metric in ("accuracy", "f1"))
    base = [score(kit, metric, kit.answers(40, 401)) for metric in ("accuracy", "f1")]
    assert [each.value for each in second.scores] == pytest.approx([accuracy, (accuracy + f1) / 2])
    assert second.mean.value == pytest.approx((accuracy + (accuracy + f1) / 2) / 2)
    assert first.mean.value == pytest.approx((base[0] + sum(base) / 2) / 2)
    assert second.kept.value == pytest.approx(second.mean.value / first.mean.value)
    assert first.kept is None
    text = render_markdown(report)
    assert "## Mean of SST-2 and MRPC" in text
    assert "WNLI is left out" in text
    assert f"{second.mean.value:.3f} ({second.mean.low:.3f}–{second.mean.high:.3f})" in text
    shown = printed(report)
    assert "mean of SST-2 and MRPC" in shown
    assert max(len(line) for line in shown.splitlines() if "!" not in line and "keeps" not in line) <= 100


def test_the_means_are_drawn_against_the_largest_files(store, kit, reported):
    runs = []
    for task, extra in (("sst2", 0), ("rte", 10)):
        asked = kit.TASK.model_copy(update={"name": task})
        for name, size in (("big", 900), ("small", 90)):
            runs.append(store.add(name, kit.FINETUNE, size=size + extra, parameters=size, task=asked))
            store.evaluate(runs[-1], kit.answers(size // 10, size))
    partial = store.add("partial", kit.FINETUNE, size=30, parameters=1, task=runs[0].run.task)
    store.evaluate(partial, kit.answers(50))
    report = reported(*runs, partial)
    plot = plot_means(report)
    means = {row.name: f"{row.mean.value:.3f}" for row in report.overview.rows if row.mean}
    assert plot.description == f"big: 910 B, {means['big']}; small: 100 B, {means['small']}."
    assert {(mark.label, mark.shape) for mark in plot.marks} == {("big", "baseline"), ("small", "labels")}
    page = render_html(report)
    assert page.count("<title id=") == 3  # none of them of a latency
    assert "mean score against bytes on disk (log)" in page.partition('id="task-0"')[0]


def test_a_crowded_chart_lists_its_numbers_below(add, reported):
    """Of the overview and of each task; where all are named there is no list."""
    names = ("big", "b", "c", "d", "e", "f", "small")
    runs = [
        add(name, task, 40 + 5 * place, parameters=9 - place)
        for task in ("sst2", "rte")
        for place, name in enumerate(names)
    ]
    page = render_html(reported(*runs))
    assert page.count('<ol class="numbers') == 3
    plot = plot_means(reported(*runs))
    assert [mark.label for mark in plot.marks if mark.bold] == ["b"]
    assert plot.numbers == tuple(enumerate(("c", "d", "e", "f", "small"), start=1))
    overview = page.partition('id="task-0"')[0].partition("<ol class=")[2]
    for number, name in plot.numbers:
        assert f'<li value="{number}"><bdi>{name}</bdi></li>' in overview
    few = [run for run in runs if run.run.name != "small"]
    assert '<ol class="numbers' not in render_html(reported(*few))


def timed_pair(add, kit, store, **milliseconds):
    """Two models on SST-2 and RTE, `idle` besides that nobody timed; milliseconds of the small one by the task."""
    sizes = {"big": (40, 9), "small": (42, 5), "idle": (44, 7)}
    made = {
        (name, task): add(name, task, wrong, parameters=size)
        for task in ("sst2", "rte")
        for name, (wrong, size) in sizes.items()
    }
    for task, time in milliseconds.items():
        pair = [(made["big", task], kit.steady(12.0)), (made["small", task], kit.steady(time))]
        store.measure(pair, session=f"s-{task}")
    return [read_run(stored.path) for stored in made.values()]


def test_the_means_are_drawn_against_the_latency_of_what_was_timed(add, kit, store, reported):
    """Of several tasks their geometric mean; who was not timed is in no such chart."""
    plot = plot_mean_latency(reported(*timed_pair(add, kit, store, rte=3.0)))
    assert plot.x_title == "Milliseconds a batch, timed on RTE (log)"
    assert plot.description == "big: 12, 0.900; small: 3.1, 0.895."
    assert {(mark.label, mark.shape) for mark in plot.marks} == {("big", "baseline"), ("small", "labels")}
    both = plot_mean_latency(reported(*timed_pair(add, kit, store, sst2=12.0, rte=3.0)))
    assert both.x_title == "Milliseconds a batch, timed on SST-2 and RTE (log)"
    assert "small: 6.1, 0.895" in both.description


def test_without_two_that_were_timed_there_is_no_such_chart(add, kit, store, reported):
    report = reported(*timed_pair(add, kit, store))
    assert plot_mean_latency(report) is None
    assert plot_means(report) is not None
    overview = render_html(report).partition('id="task-0"')[0]
    assert overview.count("<figure>") == 1
    assert "<strong>– <span>speed not compared</span></strong>" in overview


def test_the_overview_s_three_numbers_say_what_was_timed(store, kit, reported):
    """Guards a speed of one task that reads as one of all, and one of two engines that reads as the model's."""
    runs = []
    for task in ("sst2", "rte"):
        asked = kit.TASK.model_copy(update={"name": task})
        big = store.add("big", kit.FINETUNE, size=900_000, parameters=9, task=asked)
        small = store.add("small", kit.QUANTIZE, size=90_000, parameters=1, task=asked)
        for each, wrong in ((big, 40), (small, 48)):
            store.evaluate(each, kit.answers(wrong, wrong))
        runs += [big, small]
    store.measure([(runs[2], kit.steady(12.0)), (runs[3], kit.steady(3.0))])
    page = render_html(reported(*(read_run(stored.path) for stored in runs)))
    overview = page.partition('id="task-0"')[0]
    for number, text in (
        ("10.0× <span>smaller", "900 kB → 90.0 kB, the largest files of all tasks"),
        (
            "4.00× <span>faster",
            "timed on RTE: 12.2 ms in PyTorch → 3.06 ms in ONNX Runtime, batch 1, 128 tokens, 1 thread, cpu",
        ),
        ("97.8 % <span>kept", "mean score 0.900 → 0.880"),
    ):
        tile = f'<li><strong>{number}</span></strong><span class="small muted">{text}</span></li>'
        assert tile in overview


def test_without_a_time_there_is_no_column_for_it(add, reported):
    runs = [
        add(name, task, 40, parameters=size)
        for task in ("sst2", "rte")
        for name, size in (("big", 9), ("small", 1))
    ]
    table = render_markdown(reported(*runs)).partition("## Task")[0]
    assert "| Model | Size | Smaller | Mean (95 %) | Share kept (95 %) | SST-2 | RTE |" in table
    assert {line.count("|") for line in table.splitlines() if line.startswith("|")} == {8}


def test_the_answer_is_about_the_smallest_that_keeps_enough(store, kit, reported):
    """Its size is that of its largest artefact; how fast it is, is told where all tasks were timed alike."""
    sizes = {"big": 900, "wide": 300, "small": 90, "tiny": 30}
    wrong = {"big": 40, "wide": 42, "small": 50, "tiny": 120}
    made = {}
    for task in ("sst2", "rte"):
        asked = kit.TASK.model_copy(update={"name": task})
        for name, size in sizes.items():
            grown = size + 10 * (task == "rte")
            made[name, task] = store.add(name, kit.FINETUNE, size=grown, parameters=size, task=asked)
            store.evaluate(made[name, task], kit.answers(wrong[name], wrong[name]))
    speeds = {"sst2": 4.0, "rte": 2.0}
    silent = reported(*made.values()).overview
    assert silent.sentence.startswith(
        "small is 9.54× smaller than big (their speed was not compared) and keeps 97.2 % ("
    )
    assert silent.sentence.endswith(") of its mean over SST-2 and RTE.")
    why = "The smallest model here that keeps at least 95 % of the score (as measured)."
    assert silent.reason == f"{why} Keeps most: wide, 99.4 %."
    told = dict(silent.certainty)
    assert told["Size"].endswith("which range over 9.10–10.0×.")
    assert told["Speed"] == "Not known: the two were not timed alike on the tasks."
    assert told["Kept least on"] == "SST-2: 97.2 %."
    for number, (task, milliseconds) in enumerate(speeds.items()):
        pair = [(made["big", task], kit.steady(12.0)), (made["small", task], kit.steady(milliseconds))]
        store.measure(pair, session=f"s{number}")
    report = reported(*(read_run(stored.path) for stored in made.values()))
    small = next(row for row in report.overview.rows if row.name == "small")
    assert (small.bytes, small.smaller.low, small.smaller.high) == (100, 910 / 100, 900 / 90)
    assert (small.faster.value, small.faster.low, small.faster.high) == pytest.approx((18**0.5, 3.0, 6.0))
    assert "9.54× smaller and 4.24× faster than big and keeps" in report.overview.sentence
    assert report.overview.sentence in " ".join(printed(report).split())
    speed = "Timed on SST-2 and RTE. Range over the tasks 3.00–6.00×. At batch 1, 128 tokens, 1 thread, cpu, on Intel"
    assert dict(report.overview.certainty)["Speed"].startswith(speed)
    assert dict(report.overview.certainty)["Speed"].endswith("; both in PyTorch.")
    text = render_markdown(report)
    assert "| Model | Size | Smaller | Times as fast | Mean (95 %) |" in text
    assert text.count("| 4.24× (3.00–6.00) |") == 1
    assert "| big | 910 B | baseline | – |" in text
    assert "| small | 100 B | 9.54× smaller | 4.24×" in text
    assert ">4.24×<span>(3.00–6.00)</span>" in render_html(report)


@pytest.mark.parametrize("length", [128, "task"])
def test_one_task_s_times_speak_for_all_where_the_length_was_given(add, kit, store, reported, length):
    """How long a given number of tokens takes is no task's; how long a task's own texts take is."""
    made = {
        (name, task): add(name, task, wrong, parameters=size)
        for task in ("sst2", "rte")
        for name, wrong, size in (("big", 40, 9), ("small", 42, 1))
    }
    for session, milliseconds in (("s1", 4.0), ("s2", 3.0), ("s3", 2.0)):
        pair = [(made["big", "rte"], kit.steady(12.0)), (made["small", "rte"], kit.steady(milliseconds))]
        store.measure(pair, session=session, length=length)
    report = reported(*(read_run(stored.path) for stored in made.values()))
    overview = report.overview
    (_, small) = overview.rows
    if length == "task":
        assert (overview.timed, small.faster) == ((), None)
        assert "(their speed was not compared)" in overview.sentence
        return
    assert overview.timed == ("rte",)
    assert (small.faster.value, small.faster.low, small.faster.high) == pytest.approx((4.0, 3.0, 6.0))
    assert "4.00× faster than big (timed on RTE) and keeps" in overview.sentence
    speed = "Timed on RTE alone. 3 sessions of alternating rounds; range over sessions 3.00–6.00×. At batch 1, 128 tokens"
    assert dict(overview.certainty)["Speed"].startswith(speed)
    text = render_markdown(report)
    assert "| 4.00× (3.00–6.00) |" in text.partition("## Task")[0]
    assert "on RTE (batch 1, 128 tokens, 1 thread, cpu), median of 3 sessions, in brackets the range" in text
    assert "over sessions. Timed in PyTorch." in text


@pytest.mark.parametrize("threads", [1, 2])
def test_tasks_that_were_all_timed_at_their_own_lengths_are_told_together(add, kit, store, reported, threads):
    """Guards "their speed was not compared" beside two tasks' speed-ups; of other threads it stands."""
    made = {
        (name, task): add(name, task, wrong, parameters=size)
        for task in ("sst2", "rte")
        for name, wrong, size in (("big", 40, 9), ("small", 42, 1))
    }
    for task, milliseconds, used in (("sst2", 4.0, 1), ("rte", 3.0, threads)):
        pair = [(made["big", task], kit.steady(12.0)), (made["small", task], kit.steady(milliseconds))]
        own = {"length": "task", "task": task, "texts": 64, "fingerprint": f"f{task}", "threads": used}
        store.measure(pair, session=task, **own)
    overview = reported(*(read_run(stored.path) for stored in made.values())).overview
    if threads == 2:
        assert (overview.timed, overview.rows[1].faster) == ((), None)
        return
    assert overview.timed == ("sst2", "rte")
    assert overview.rows[1].faster.value == pytest.approx(12**0.5)
    assert dict(overview.certainty)["Speed"].startswith(
        "Timed on SST-2 and RTE. Range over the tasks 3.00–4.00×. At batch 1, the task's own lengths, 1 thread, cpu, on "
    )


def test_a_split_that_is_not_the_task_s_is_no_part_of_the_mean(add, store, kit, reported):
    """Guards the others' means, which went where the baseline alone answered another labelled file."""
    big = {task: add("big", task, 40, parameters=9) for task in ("sst2", "rte")}
    small = [add("small", task, 60) for task in ("sst2", "rte")]
    before = reported(*big.values(), *small).overview
    store.evaluate(big["rte"], kit.answers(90, 3), split="extra", key="extra000")
    after = reported(*(read_run(stored.path) for stored in (*big.values(), *small))).overview
    assert after.rows[1].mean is not None
    assert after == before


def test_the_baseline_is_the_run_that_the_others_are_compared_with(add, reported):
    """Guards a share of one seed beside the mean of several: what is shown does not divide to what is said."""
    seeds = {1: 40, 2: 70, 3: 70}
    runs = [
        add("big", task, wrong, seed=seed, parameters=9)
        for task in ("sst2", "rte")
        for seed, wrong in seeds.items()
    ]
    small = [add("small", task, 60) for task in ("sst2", "rte")]
    overview = reported(*runs, *small).overview
    first, second = overview.rows
    assert second.kept.value == pytest.approx(second.mean.value / first.mean.value)
    assert "than big" in overview.sentence


def test_where_another_task_has_another_baseline_no_one_is_named(add, reported):
    """Guards "smaller than big, of its mean over three tasks" of a big that was never run on one of them."""
    runs = [add("big", task, 40, parameters=9) for task in ("sst2", "rte")]
    runs += [add("other", "mrpc", 40, parameters=8)]
    overview = reported(*runs, *(add("small", task, 45) for task in ("sst2", "rte", "mrpc"))).overview
    assert overview.tasks == ("sst2", "mrpc", "rte")
    assert [(row.name, row.baseline, row.mean is None) for row in overview.rows] == [
        ("big", True, True),
        ("small", False, False),
    ]
    assert (overview.sentence, overview.reason, overview.certainty) == (None, None, ())


def test_a_user_s_own_task_is_part_of_the_mean_whatever_it_is_called(add, reported):
    """Guards Devlin et al. as the reason why a user's own wnli.toml is left out."""
    runs = [
        add(name, task, wrong, parameters=size)
        for task in ("sst2", "wnli")
        for name, wrong, size in (("big", 40, 9), ("small", 60, 1))
    ]
    report = reported(*runs)
    assert report.overview.tasks == ("sst2", "wnli")
    assert "Devlin" not in render_markdown(report)


def test_a_task_that_the_baseline_does_not_know_is_no_part_of_the_mean(add, reported):
    """Guards a share of a mean that chance has a part in."""
    runs = [
        add(name, task, 200 if (name, task) == ("big", "rte") else 60, parameters=size)
        for task in ("sst2", "rte", "mrpc")
        for name, size in (("big", 9), ("small", 1))
    ]
    report = reported(*runs)
    assert report.overview.tasks == ("sst2", "mrpc")
    note = "RTE is left out: the baseline knows no more there than a constant answer."
    assert note in render_markdown(report)
    assert note in render_html(report)
    more = [add(name, "qnli", 200, parameters=size) for name, size in (("big", 9), ("small", 1))]
    note = "QNLI and RTE are left out: the baseline knows no more there than a constant answer."
    assert note in render_markdown(reported(*runs, *more))


def test_a_page_gives_one_interval_for_one_score(add, reported):
    """Guards resamples of another seed in the table above than in the tasks'."""
    runs = [
        add(name, task, wrong, seed=seed, parameters=size)
        for task, wrong in (("sst2", 40), ("rte", 70))
        for name, size, seeds in (("big", 9, (1,)), ("small", 1, (1, 2, 3)))
        for seed in seeds
    ]
    report = reported(*runs)
    for place, section in enumerate(sorted(report.sections, key=lambda each: each.task != "sst2")):
        told = {row.name: row.scores[place] for row in report.overview.rows}
        assert {one.name: one.score for one in list_candidates(section)} == told


def test_four_times_and_a_quarter_are_once(store, kit, reported):
    runs = []
    for task, sizes in {"sst2": (400, 100), "rte": (100, 400)}.items():
        asked = kit.TASK.model_copy(update={"name": task})
        for name, size in zip(("big", "small"), sizes, strict=True):
            parameters = 9 if name == "big" else 1
            runs.append(store.add(name, kit.FINETUNE, size=size, parameters=parameters, task=asked))
            store.evaluate(runs[-1], kit.answers(40, len(runs)))
    small = next(row for row in reported(*runs).overview.rows if row.name == "small")
    assert (small.smaller.value, small.smaller.low, small.smaller.high) == pytest.approx((1, 0.25, 4))


def test_where_none_keeps_enough_that_is_said(add, reported):
    runs = [add("big", task, 40, parameters=9) for task in ("sst2", "rte")]
    overview = reported(*runs, *(add("small", task, 150) for task in ("sst2", "rte"))).overview
    assert overview.reason.startswith("No model here keeps 95 % of the score (as measured);")


def test_both_splits_of_mnli_are_one_task(store, kit, reported, add):
    splits = {"validation_matched": 30, "validation_mismatched": 70}
    task = kit.TASK.model_copy(update={"name": "mnli", "validation": tuple(splits)})
    big = store.add("big", kit.FINETUNE, size=9, parameters=9, task=task)
    for number, (split, wrong) in enumerate(splits.items()):
        store.evaluate(big, kit.answers(wrong, number), split=split, key=f"e{number:07x}")
    overview = reported(big, add("big", "sst2", 40, parameters=9)).overview
    assert overview.tasks == ("sst2", "mnli")
    assert overview.rows[0].scores[1].value == pytest.approx(1 - 50 / 400)


def test_the_interval_is_that_of_independent_tasks(add, reported, kit, monkeypatch):
    """Guards the same draws for every task: the mean of two is then as unsure as each of them."""
    monkeypatch.setattr("compress.statistics.RESAMPLES", 1000)
    runs = [
        add(name, task, wrong, parameters=n)
        for n, (name, wrong) in enumerate((("a", 100), ("b", 80)))
        for task in ("sst2", "mrpc")
    ]
    overview = reported(*runs).overview
    row = next(row for row in overview.rows if row.name == "a")
    one = estimate_over_seeds("accuracy", kit.LABELS.astype(float), [kit.answers(100, 1001).astype(float)])
    assert row.scores[0].high - row.scores[0].low == pytest.approx(one.high - one.low, rel=0.1)
    ratio = (row.mean.high - row.mean.low) / np.mean([each.high - each.low for each in row.scores])
    assert ratio == pytest.approx(np.sqrt(0.5), rel=0.1)


def test_who_was_not_scored_on_every_task_has_no_mean(add, reported):
    rows = reported(
        *(add("big", task, 40, parameters=9) for task in ("sst2", "mrpc")),
        add("other", "sst2", 50),
        add("both", "sst2", 50),
        add("both", "mrpc", 50, data="another0"),
    )
    assert rows.overview.rows[0].mean is not None
    assert [row.name for row in rows.overview.rows] == ["big"]


def test_two_kinds_of_one_name_are_not_mixed(add, reported, kit):
    hot = kit.FINETUNE.model_copy(update={"training": kit.Training(learning_rate=1e-3)})
    runs = [add(name, task, 50, parameters=n) for n, name in enumerate("ab") for task in ("sst2", "mrpc")]
    report = reported(*runs, add("a", "mrpc", 10, seed=2, stage=hot))
    assert [row.name for row in report.overview.rows] == ["b"]


def test_a_recipe_that_copies_texts_by_the_task_is_one_model(add, reported, kit):
    """Where a task has it both ways, it is two, and only the one that another task has is compared."""

    def copied(copies):
        augmentation = Augmentation(copies=copies)
        return kit.DISTILL.model_copy(update={"method": "tinybert", "augmentation": augmentation})

    runs = [add("big", task, 40, parameters=9) for task in ("sst2", "mrpc")]
    runs.append(add("small", "sst2", 50, stage=copied(1)))
    usual = add("small", "mrpc", 60, stage=copied(5))
    overview = reported(*runs, usual).overview
    assert [row.name for row in overview.rows] == ["big", "small"]
    assert overview.rows[1].mean.value < 1 - 50 / 400
    other = add("small", "mrpc", 70, stage=copied(1))
    both = reported(*runs, usual, other).overview
    assert [row.name for row in both.rows] == [
        "big",
        "small · distilled (tinybert, a copy of each text, random start) from an unnamed teacher",
    ]


def test_a_model_that_tasks_call_otherwise_is_called_by_how_it_was_made(add, reported, kit):
    """On MRPC another of its name makes a longer one necessary."""
    runs = [add("a", task, 50, parameters=9) for task in ("sst2", "mrpc")]
    students = [add("b", task, 60, stage=kit.DISTILL) for task in ("sst2", "mrpc")]
    report = reported(*runs, *students, add("b", "mrpc", 70))
    assert [row.name for row in report.overview.rows] == [
        "a",
        "b · distilled (logits) from an unnamed teacher",
    ]


def test_models_that_other_tasks_call_the_same_keep_their_long_names(add, reported, kit):
    """No task holds both, so that each calls its own by the name alone."""
    runs = [add("a", task, 50, parameters=9) for task in ("sst2", "mrpc", "rte", "qnli")]
    runs += [add("b", task, 60, stage=kit.DISTILL) for task in ("sst2", "mrpc")]
    runs += [add("b", task, 70) for task in ("rte", "qnli")]
    assert [row.name for row in reported(*runs).overview.rows] == [
        "a",
        "b · distilled (logits) from an unnamed teacher",
        "b · fine-tuned",
    ]


def test_one_task_or_nothing_shared_has_none(add, reported, written):
    assert written.report.overview is None
    assert reported(add("a", "sst2", 40), add("b", "mrpc", 40)).overview is None


SEEDS = {
    (
        (1, 1),
        (1, 1),
    ): "Both have one seed on every task: the intervals do not include variation between seeds.",
    (
        (1, 1),
        (2, 2),
    ): "It has 2 seeds on every task. The baseline has one seed on every task: the intervals do not "
    "include variation between seeds.",
    (
        (2, 2),
        (1, 3),
    ): "It has one seed on SST-2 and 3 seeds on RTE; where it is one, the intervals do not include variation "
    "between seeds. The baseline has 2 seeds on every task.",
}
"""How many seeds on SST-2 and RTE the baseline and another model have → what is told of it."""


@pytest.mark.parametrize(("counts", "text"), SEEDS.items())
def test_the_seeds_of_both_are_told_by_the_task(add, reported, counts, text):
    """Guards a share of one teacher's luck: its one seed was told of no task."""
    runs = [
        add(name, task, wrong + seed, seed=seed, parameters=size)
        for (name, wrong, size), of in zip((("big", 40, 9), ("small", 60, 1)), counts, strict=True)
        for task, count in zip(("sst2", "rte"), of, strict=True)
        for seed in range(count)
    ]
    report = reported(*runs)
    assert dict(report.overview.certainty)["Score"].startswith(f"{text} Paired 95 % interval ")


def test_how_sure_the_answer_is_stands_on_every_page(add, reported):
    runs = [
        add(name, task, wrong, parameters=size)
        for task in ("sst2", "rte")
        for name, wrong, size in (("big", 40, 9), ("small", 90, 1), ("other", 130, 1))
    ]
    report = reported(*runs)
    certainty = dict(report.overview.certainty)
    assert list(certainty) == ["Size", "Speed", "Score", "Kept least on", "Caveats"]
    assert (
        certainty["Caveats"]
        == "Each task lists its own; these concern this comparison: 2 on SST-2, 2 on RTE."
    )
    page, text, shown = render_html(report), render_markdown(report), printed(report)
    for name, told in certainty.items():
        assert f"<dt>{name}</dt><dd>{told}</dd>" in page.partition('id="task-0"')[0]
        assert f"- {name}: {told}" in text.partition("## Task")[0]
        assert f"{name}: {told}" in " ".join(shown.split())


@pytest.mark.parametrize(
    ("wrong", "milliseconds", "told"),
    [
        ((44, 42), (4.0, 2.0), ["Fastest, and keeps most: wide, 6.00×, keeps 99.4 %."]),
        ((44, 42), (2.0, 4.0), ["Keeps most: wide, 99.4 %, 3.00×."]),
        ((42, 44), (4.0, 2.0), ["Fastest: wide, 6.00×, keeps 98.9 %."]),
        ((42, 44), (2.0, 4.0), []),
        ((44, 42), (2.0, None), ["Keeps most: wide, 99.4 %."]),
    ],
)
def test_who_is_faster_or_keeps_more_is_named(add, kit, store, reported, wrong, milliseconds, told):
    """Guards a better deal that the sentence hides; of what nobody timed no speed is told."""
    sizes = {
        "big": (40, 900, 12.0),
        "small": (wrong[0], 90, milliseconds[0]),
        "wide": (wrong[1], 300, milliseconds[1]),
    }
    runs, pairs = [], []
    for task in ("sst2", "rte"):
        asked = kit.TASK.model_copy(update={"name": task})
        for name, (count, size, time) in sizes.items():
            runs.append(store.add(name, kit.FINETUNE, size=size, parameters=size, task=asked))
            store.evaluate(runs[-1], kit.answers(count, count))
            if task == "rte" and time:
                pairs.append((runs[-1], kit.steady(time)))
    store.measure(pairs)
    report = reported(*(read_run(stored.path) for stored in runs))
    why = "The smallest model here that keeps at least 95 % of the score (as measured)."
    assert report.overview.chosen == "small"
    assert report.overview.reason == " ".join([why, *told])
    assert report.overview.reason in render_markdown(report)


def test_the_gravest_caveat_about_the_model_is_told(store, kit, reported):
    """Guards counts that show none, and a speed of another engine that reads as the model's alone.

    Of the baseline's own caveats none is told here: it is the same for all that are compared with it.
    """
    runs = []
    for task in ("sst2", "rte"):
        asked = kit.TASK.model_copy(update={"name": task})
        big = store.add("big", kit.FINETUNE, size=900, parameters=9, task=asked)
        small = store.add("small", kit.QUANTIZE, size=90, parameters=1, task=asked)
        for each, wrong in ((big, 40), (small, 60)):
            store.evaluate(each, kit.answers(wrong, wrong))
        runs += [big, small]
    plain = dict(reported(*runs).overview.certainty)["Caveats"]
    assert "first of all" not in plain
    store.measure([(runs[2], kit.steady(12.0)), (runs[3], kit.steady(3.0))])
    timed = [read_run(stored.path) for stored in runs]
    certainty = dict(reported(*timed).overview.certainty)
    assert certainty["Caveats"].endswith(
        "; first of all, on RTE its speed is that of model and engine together."
    )
    assert certainty["Speed"].startswith(
        "Timed on RTE alone. One session of 5 alternating rounds; quartiles over rounds 4.00"
    )
    assert certainty["Speed"].endswith("; big in PyTorch, small · int8 in ONNX Runtime.")
    longer = kit.Batches(size=32, order="length", max_length=256)
    store.evaluate(runs[1], kit.answers(60, 60), key="e0000009", batches=longer, truncated=3)
    (runs[1].path / "evaluations" / "e0000000.json").unlink()
    certainty = dict(reported(*(read_run(stored.path) for stored in runs)).overview.certainty)
    text = "; first of all, on SST-2 it read the texts up to another length than the baseline, which is not like with like."
    assert certainty["Caveats"].endswith(text)


def test_kinds_of_not_like_with_like_are_told_in_the_order_of_the_rules():
    """What a section lists first is what the overview tells first."""
    order = "".join(inspect.getsource(rule) for rule in RULES)
    places = [order.index(f'"{kind}"') for kind in NOT_ALIKE]
    assert places == sorted(places)


@pytest.mark.parametrize("bf16", [None, True])
def test_other_weights_behind_some_of_the_tasks_are_told(store, kit, reported, bf16):
    """Guards a mean over models of another general stage; another seed of the same is what seeds are."""
    weights = {"size": 9, "parameters": 1, "task": None, "place": "wiki"}
    training = kit.GENERAL.training.model_copy(update={"bf16": bf16})
    general = {
        "sst2": store.add("small", kit.GENERAL, **weights),
        "rte": store.add("small", kit.GENERAL.model_copy(update={"training": training}), seed=2, **weights),
    }
    runs = []
    for task in ("sst2", "rte"):
        asked = kit.TASK.model_copy(update={"name": task})
        runs.append(store.add("big", kit.FINETUNE, size=90, parameters=9, task=asked))
        parents = [kit.child_of(runs[-1], "teacher"), kit.child_of(general[task], "student")]
        runs.append(store.add("small", kit.DISTILL, size=9, parameters=1, task=asked, parents=parents))
        for stored, wrong in zip(runs[-2:], (40, 60), strict=True):
            store.evaluate(stored, kit.answers(wrong, wrong))
    told = dict(reported(*runs).overview.certainty).get("Origin")
    first, second = (made.path.name for made in general.values())
    assert told == (
        f"Two general stages of small stand behind it, so that its tasks do not go back to the same weights: {first} of SST-2; "
        f"{second} (bf16) of RTE."
        if bf16
        else None
    )
