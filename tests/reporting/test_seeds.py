"""Means over seeds: which runs are told together, and what is said of them."""

import io
import re

import numpy as np
import pytest
from rich.console import Console

from compress.recipes.terms import SoftTerm
from compress.reporting import write_report
from compress.reporting.candidates import list_candidates
from compress.reporting.compare import compare
from compress.reporting.data import read_data, write_data
from compress.reporting.essentials import join_essentials
from compress.reporting.finding import find_models
from compress.reporting.lineage import name_group
from compress.reporting.terminal import render_table
from compress.runs import read_run

WRONG = {42: 70, 43: 80, 44: 75}
"""Seed → how many of 400 a student answers wrongly; its teacher answers 40 so."""


@pytest.fixture
def teacher(store, kit):
    found = store.add("minilm-l6", kit.FINETUNE, size=90_000_000, parameters=22_700_000)
    store.evaluate(found, kit.answers(40, 1))
    return found


@pytest.fixture
def student(store, kit, teacher):
    """Distil a student from a seed, or make another run of it."""

    def make(seed, wrong, *, stage=kit.DISTILL, of=None, **changes):
        parents = [kit.child_of(of, "model") if of else kit.child_of(teacher, "teacher")]
        found = store.add("albert-tiny", stage, size=9, parameters=9, parents=parents, seed=seed, **changes)
        store.evaluate(found, kit.answers(wrong, seed))
        return found

    return make


@pytest.fixture
def groups(teacher, tmp_path):
    def of(*runs):
        runs = [read_run(stored.path) for stored in (teacher, *runs)]
        write_data(runs, tmp_path / "report", title="T", command="c", baseline=teacher.run.id)
        (section,) = compare(read_data(tmp_path / "report")).sections
        return section.groups

    return of


def test_seeds_of_one_kind_are_told_together(student, groups):
    runs = [student(seed, wrong) for seed, wrong in WRONG.items()]
    (group,) = groups(*reversed(runs))
    assert (group.name, group.seeds) == ("albert-tiny", (42, 43, 44))
    assert group.runs == tuple(stored.run.id for stored in runs)
    assert group.score.value == pytest.approx(1 - 75 / 400)
    assert group.score.low < group.score.value < group.score.high
    assert group.retention.value == pytest.approx((1 - 75 / 400) / (1 - 40 / 400))


def test_caveats_name_a_model_once_whatever_its_seeds(student, teacher, tmp_path):
    runs = [student(seed, 41) for seed in WRONG]
    chosen = [read_run(stored.path) for stored in (teacher, *runs)]
    write_data(chosen, tmp_path / "report", title="T", command="c", baseline=teacher.run.id)
    (section,) = compare(read_data(tmp_path / "report")).sections
    told = {caveat.kind: caveat for caveat in section.caveats}
    assert [caveat.kind for caveat in section.caveats].count("unresolved") == 1
    assert "tell albert-tiny (3 seeds) from the baseline" in told["unresolved"].text
    assert told["unresolved"].runs == tuple(stored.run.id for stored in runs)
    assert told["not-measured"].text == "Without a measured latency: every model here."


def test_every_table_has_a_line_for_all_seeds_of_a_model(student, teacher, tmp_path, kit):
    """Guards tables that grow with the seeds: the mean is what is compared, each seed stands in a column."""
    runs = [student(seed, wrong, facts={"steps": seed}) for seed, wrong in WRONG.items()]
    stray = student(45, 90, stage=kit.FINETUNE)
    chosen = [read_run(stored.path) for stored in (teacher, *runs, stray)]
    report = write_report(chosen, tmp_path / "report", command="c", baseline=teacher.run.id)
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    tables = re.findall(r"<tbody>(.*?)</tbody>", page, re.DOTALL)
    assert [table.count("<tr") for table in tables] == [3, 1, 3]  # comparison, each seed, stands in
    assert re.findall(r'data-sort="([\d.]+)"', tables[1]) == ["0.8125", "0.825", "0.8", "0.8125"]
    made = page.partition("<h3>What was done</h3>")[2]
    assert made.count("<article") == 3
    assert "<dt>Seeds</dt><dd>42 | 43 | 44</dd>" in made
    assert "<dt>steps</dt><dd>42 | 43 | 44</dd>" in made
    assert "<dt>Seed</dt><dd>42 | 43" not in made
    lines = (tmp_path / "report" / "README.md").read_text(encoding="utf-8").splitlines()
    assert any(
        re.match(r"\| albert-tiny · logits \| 0.812 \(.*\) \| 0.825 \| 0.800 \| 0.812 \|", line)
        for line in lines
    )
    assert sum(line.startswith("| albert-tiny · logits |") for line in lines) == 3
    console = Console(width=120, file=io.StringIO())
    console.print(render_table(report))
    assert "n = 400, 3 seeds" in console.file.getvalue()


def test_two_groups_are_never_called_the_same(student, teacher, tmp_path, kit):
    """Guards lines that nobody can tell apart: they differ in what no short name says."""
    hot = kit.DISTILL.model_copy(update={"terms": (SoftTerm(temperature=8.0),)})
    runs = [student(seed, wrong) for seed, wrong in WRONG.items()]
    runs += [student(seed, wrong + 20, stage=hot) for seed, wrong in WRONG.items()]
    small = [student(42, 90, stage=kit.QUANTIZE, of=stored) for stored in runs]
    chosen = [read_run(stored.path) for stored in (teacher, *runs, *small)]
    report = write_report(chosen, tmp_path / "report", command="c", baseline=teacher.run.id)
    names = [one.name for one in list_candidates(report.sections[0])]
    assert len(names) == len(set(names)) == 5
    made = (tmp_path / "report" / "index.html").read_text(encoding="utf-8").partition("What was done</h3>")[2]
    assert made.count("<dt>Seeds</dt><dd>42 | 43 | 44</dd>") == 4
    assert "<dt>Seed</dt>" not in made.replace("<dt>Seed</dt><dd>42</dd>", "", 1)  # the teacher's


def test_what_one_seed_does_not_say_is_a_dash(student):
    runs = [student(seed, 50, facts={"notes": "cut"} if seed == 43 else {}).run for seed in WRONG]
    told = dict(join_essentials(runs))
    assert told["notes"] == "– | cut | –"
    assert "Seed" not in told


def test_the_baseline_s_seeds_have_one_line(store, kit, tmp_path):
    teachers = [store.add("minilm-l6", kit.FINETUNE, size=90, parameters=9, seed=seed) for seed in WRONG]
    alone = store.add("bert-mini", kit.FINETUNE, size=20, parameters=8)
    for stored, wrong in zip([*teachers, alone], [*WRONG.values(), 90], strict=True):
        store.evaluate(stored, kit.answers(wrong, stored.run.seed))
    runs = [read_run(stored.path) for stored in (*teachers, alone)]
    write_report(runs, tmp_path / "report", command="c", baseline=teachers[0].run.id)
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    tables = re.findall(r"<tbody>(.*?)</tbody>", page, re.DOTALL)
    assert [table.count("<tr") for table in tables] == [2, 1, 2]
    assert "Of several seeds the mean" in page


def test_a_baseline_s_seed_that_answered_other_examples_stands_for_no_other_run_of_it(store, kit, tmp_path):
    """Guards a mean over fewer seeds than there are: the newer of two runs from one seed is of no use here."""
    teachers = [
        store.add(
            "minilm-l6", kit.FINETUNE, size=90, parameters=9, seed=seed, started=f"2026-11-{day}T09:00:00"
        )
        for seed, day in ((42, 20), (43, 20), (43, 21))
    ]
    for stored, wrong, data in zip(teachers, (40, 60, 0), ("data0000", "data0000", "data0001"), strict=True):
        store.evaluate(stored, kit.answers(wrong, stored.run.seed), data=data)
    child = store.add("albert-tiny", kit.FINETUNE, size=20, parameters=8)
    store.evaluate(child, kit.answers(50, 1))
    runs = [read_run(stored.path) for stored in (*teachers, child)]
    (section,) = write_report(runs, tmp_path / "report", command="c", baseline=teachers[0].run.id).sections
    assert section.find(child.run.id).primary.retention.value == pytest.approx(350 / 350)


def test_the_largest_seed_stands_for_the_size_of_all(student, teacher, tmp_path, store, kit):
    """Where a score decides what stays in full precision, seeds differ in bytes."""
    runs = []
    for seed, size in ((42, 1000), (43, 3000), (44, 2000)):
        runs.append(
            store.add(
                "albert-tiny",
                kit.DISTILL,
                size=size,
                parameters=9,
                seed=seed,
                parents=[kit.child_of(teacher, "teacher")],
            )
        )
        store.evaluate(runs[-1], kit.answers(50, seed))
    store.measure([(teacher, kit.steady(12.0)), (runs[2], kit.steady(4.0))], session="a")
    chosen = [read_run(stored.path) for stored in (teacher, *runs)]
    (section,) = write_report(chosen, tmp_path / "report", command="c", baseline=teacher.run.id).sections
    assert "30000× smaller and 3.00× faster" in section.headline.sentence
    assert not [caveat for caveat in section.caveats if caveat.kind == "not-measured"]
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert "90.0 MB → 3.00 kB" in page
    assert "1.00 kB" not in page


def test_what_was_made_otherwise_is_not_among_them(student, groups, kit):
    hot = kit.DISTILL.model_copy(update={"terms": (SoftTerm(temperature=4.0),)})
    others = [
        student(44, 10, stage=hot),
        student(44, 10, facts={"stages": "general on corpus, distill on sample"}),
        student(44, 10, stage=kit.FINETUNE),
    ]
    pair = [student(seed, WRONG[seed]) for seed in (42, 43)]
    (group,) = groups(*pair, *others)
    assert group.runs == tuple(stored.run.id for stored in pair)


def test_one_seed_has_no_mean_and_of_two_runs_from_it_the_newer_counts(student, groups):
    newer, older = student(42, 70, started="2026-11-21T09:00:00+00:00"), student(42, 90)
    assert groups(older, newer) == ()
    other = student(43, 80)
    (group,) = groups(newer, other, older)
    assert group.runs == (newer.run.id, other.run.id)


def test_what_was_computed_from_seeds_is_of_those_seeds(student, groups, kit):
    """Quantizing draws nothing: three students in 8 bits all say seed 42, and are three seeds all the same."""
    runs = [student(seed, wrong) for seed, wrong in WRONG.items()]
    hot = student(45, 10, stage=kit.DISTILL.model_copy(update={"terms": (SoftTerm(temperature=4.0),)}))
    small = [student(42, 90, stage=kit.QUANTIZE, of=stored) for stored in (*runs, hot)]
    full, int8 = groups(*runs, hot, *small)
    assert full.runs == tuple(stored.run.id for stored in runs)
    assert int8.runs == tuple(stored.run.id for stored in small[:3])
    assert int8.seeds == (42, 43, 44)


def test_the_interval_is_wider_than_one_seed_s(student, groups, kit):
    """Guards an interval over examples alone: seeds that differ widely are less sure."""
    alike = groups(*(student(seed, 75) for seed in (50, 51)))
    apart = groups(*(student(seed, wrong) for seed, wrong in ((60, 5), (61, 145))))
    widths = [group.score.high - group.score.low for (group,) in (alike, apart)]
    assert np.isclose(alike[0].score.value, apart[0].score.value)
    assert widths[1] > 2 * widths[0]


FAMILIES = ("bert", "roberta", "electra", "albert")


def test_pretrained_models_and_those_from_random_weights_are_groups_of_their_own(groups, store, kit):
    """Guards a mean over both: of one name and shape, they differ in what came before the task alone."""
    shape = {"size": 9, "parameters": 9}
    roles = {}
    runs = []
    for family in FAMILIES:
        new = kit.PRETRAIN.new.model_copy(update={"family": family})
        stage = kit.PRETRAIN.model_copy(update={"new": new})
        first = store.add(f"{family}-mini", stage, task=None, place="wiki", **shape)
        random = kit.FINETUNE.model_copy(update={"new": new})
        for seed, wrong in WRONG.items():
            for role, how, worse in (("model", kit.FINETUNE, 0), ("tokenizer", random, 50)):
                parents = [kit.child_of(first, role)]
                tuned = store.add(f"{family}-mini", how, parents=parents, seed=seed, **shape)
                store.evaluate(tuned, kit.answers(wrong + worse, seed))
                roles[tuned.run.id] = role
                runs.append(tuned)
    told = [(group, {roles[run] for run in group.runs}) for group in groups(*runs)]
    assert sorted((group.name, *used, len(group.seeds)) for group, used in told) == sorted(
        (f"{family}-mini", role, 3) for family in FAMILIES for role in ("model", "tokenizer")
    )
    assert {round(group.score.value, 4) for group, used in told if used == {"model"}} == {1 - 75 / 400}


@pytest.mark.parametrize("told", ["in the report", "by its descendants' lineage"])
def test_what_was_made_of_two_makings_of_another_task_s_model_is_no_group(store, kit, tmp_path, told):
    """Guards a mean over seeds that began with different models of one name."""
    mnli, rte = (kit.TASK.model_copy(update={"name": name}) for name in ("mnli", "rte"))
    hot = kit.FINETUNE.model_copy(update={"training": kit.Training(learning_rate=1e-3)})
    runs, shape = [], {"size": 9, "parameters": 9}
    for place, stage in enumerate((kit.FINETUNE, hot)):
        first = store.add("bert-mini", stage, task=mnli, seed=1, **shape)
        store.evaluate(first, kit.answers(30 + place, place))
        runs += [first] if told == "in the report" else []
        for seed in (2 * place, 2 * place + 1):
            tuned = store.add(
                "bert-mini",
                kit.FINETUNE,
                task=rte,
                seed=seed,
                parents=[kit.child_of(first, "model")],
                lineage=first.run.descent if told != "in the report" else (),
                **shape,
            )
            store.evaluate(tuned, kit.answers(40 + seed, seed))
            runs.append(tuned)
    write_data([read_run(stored.path) for stored in runs], tmp_path / "report", title="T", command="c")
    section = compare(read_data(tmp_path / "report")).sections[-1]
    assert section.task == "rte"
    assert sorted(group.seeds for group in section.groups) == [(0, 1), (2, 3)]
    assert section.ancestors == ()
    data = read_data(tmp_path / "report")
    known = {each.run.id: each.run for each in [*data.runs, *data.ancestors]}
    for group in section.groups:  # as the page calls it
        (found,) = find_models(data.runs, name_group(section, group), known).values()
        assert {each.run.id for each in found} == set(group.runs)


def test_models_pretrained_in_two_ways_are_groups_of_their_own(groups, store, kit):
    """Guards telling ancestors apart by their names alone: the same name, seeds and task, half the minutes."""
    shape = {"size": 9, "parameters": 9}
    runs = []
    for minutes in (50.0, 25.0):
        stage = kit.PRETRAIN.model_copy(update={"max_minutes": minutes})
        first = store.add("bert-mini", stage, task=None, place="wiki", **shape)
        for seed, wrong in WRONG.items():
            tuned = store.add(
                "bert-mini", kit.FINETUNE, parents=[kit.child_of(first, "model")], seed=seed, **shape
            )
            store.evaluate(tuned, kit.answers(wrong, seed))
            runs.append(tuned)
    assert [group.seeds for group in groups(*runs)] == [(42, 43, 44)] * 2
