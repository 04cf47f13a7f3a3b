"""What a headline, a chart and the caveats choose from."""

import pytest

from compress.reporting.candidates import find_baseline, list_candidates, list_rivals
from compress.reporting.compare import compare
from compress.reporting.data import read_data, write_data
from compress.runs import read_run

WRONG = {42: 40, 43: 50, 44: 60}
"""Seed → how many of 400 are answered wrongly."""


@pytest.fixture
def section(store, kit, tmp_path):
    """A baseline with two more seeds, a student with three, and a model alone."""
    teachers = [store.add("minilm-l6", kit.FINETUNE, size=90, parameters=9, seed=seed) for seed in WRONG]
    taught = {"size": 9, "parameters": 9, "parents": [kit.child_of(teachers[0], "teacher")]}
    students = [store.add("albert-tiny", kit.DISTILL, seed=seed, **taught) for seed in WRONG]
    alone = store.add("bert-mini", kit.FINETUNE, size=20, parameters=8)
    for stored, wrong in zip(
        [*teachers, *students, alone], [*WRONG.values(), *WRONG.values(), 70], strict=True
    ):
        store.evaluate(stored, kit.answers(wrong, stored.run.seed))
    runs = [read_run(stored.path) for stored in (*teachers, *students, alone)]
    write_data(runs, tmp_path / "report", title="T", command="c", baseline=teachers[0].run.id)
    (found,) = compare(read_data(tmp_path / "report")).sections
    return found


def test_the_baseline_is_all_of_its_seeds(section):
    candidates = list_candidates(section)
    assert [(each.name, len(each.runs)) for each in candidates] == [
        ("minilm-l6", 3),
        ("bert-mini", 1),
        ("albert-tiny", 3),
    ]
    assert candidates[0] == find_baseline(section)
    assert candidates[0].retention is None
    assert [each.name for each in list_rivals(section)] == ["bert-mini", "albert-tiny"]
    assert section.references[0] == section.baseline
    assert set(section.references) == set(candidates[0].runs)


def test_shares_are_of_the_mean_over_the_baseline_s_seeds(section):
    """Guards a comparison with the lucky one: the baseline's first seed alone has 0.9."""
    mean = 1 - 50 / 400
    for row in section.rows:
        kept = row.primary.retention
        assert (
            kept is None
            if row.run.id in section.references
            else kept.value == pytest.approx(row.primary.score.value / mean)
        )
    assert section.headline.sentence.endswith("keeps 100.0 % of its accuracy (mean of 3 seeds).")
    assert "3 seeds against 3 of the baseline, 400 examples" in dict(section.headline.certainty)["Score"]


def test_seeds_are_told_by_their_mean(section):
    (seeds,) = (each for each in list_rivals(section) if each.group)
    assert seeds.score.value == pytest.approx(1 - 50 / 400)
    assert seeds.retention.value == pytest.approx(1.0)
    (alone,) = (each for each in list_rivals(section) if not each.group)
    assert alone.score.value == pytest.approx(1 - 70 / 400)


def test_scores_and_fidelity_of_seeds_are_means_with_intervals(section):
    """Guards the range of a few seeds where an interval is promised: it is far narrower."""
    (seeds,) = (each for each in list_rivals(section) if each.group)
    (score,) = seeds.scores
    assert (score.score, score.retention) == (seeds.score, seeds.retention)
    single = [row.primary.score.value for row in seeds.rows]
    assert score.score.low < min(single)
    assert score.score.high > max(single)
    (found,) = seeds.fidelity
    agreements = [row.fidelity[0].agreement for row in seeds.rows]
    assert found.agreement.value == pytest.approx(sum(each.value for each in agreements) / 3)
    assert found.agreement.low < min(each.value for each in agreements)
    errors = [row.fidelity[0].calibration_error for row in seeds.rows]
    assert found.calibration_error == pytest.approx(sum(errors) / 3)
    (alone,) = (each for each in list_rivals(section) if not each.group)
    assert alone.scores == alone.rows[0].scores
    assert alone.fidelity == alone.rows[0].fidelity


def test_of_other_splits_seeds_are_told_where_all_saw_the_same(section, store, kit, tmp_path):
    """Guards a mean of one split's score and another's; what the baseline did not answer is told without it."""
    (seeds,) = (each for each in list_rivals(section) if each.group)
    stored = [read_run(store.root / run) for run in seeds.runs]
    for each, wrong in zip(stored, WRONG.values(), strict=True):
        store.evaluate(each, kit.answers(wrong), split="other", data="data0001")
        store.evaluate(each, kit.answers(wrong), split="apart", data=f"data{each.run.seed:04}")
    store.evaluate(stored[0], kit.answers(9), split="lone", data="data0002")
    teacher = read_run(store.root / section.baseline)
    runs = [read_run(each.path) for each in (teacher, *stored)]
    write_data(runs, tmp_path / "again", title="T", command="c", baseline=teacher.run.id)
    (found,) = compare(read_data(tmp_path / "again")).sections
    (seeds,) = list_rivals(found)
    assert {each.split for each in seeds.rows[0].scores} == {"validation", "other", "apart", "lone"}
    first, other = seeds.scores
    assert (first.split, other.split, other.n) == ("validation", "other", 400)
    assert other.score.value == pytest.approx(1 - 50 / 400)
    assert first.retention is not None
    assert other.retention is None
    assert [(each.split, each.agreement is None) for each in seeds.fidelity] == [
        ("validation", False),
        ("other", True),
    ]


def test_they_stand_in_the_order_of_the_rows(section):
    places = {row.run.id: place for place, row in enumerate(section.rows)}
    first = [min(places[run] for run in each.runs) for each in list_candidates(section)]
    assert first == sorted(first)


def test_no_lucky_seed_is_on_the_front(section, store, kit, tmp_path):
    """Guards a front of single seeds: the best of three beats the model alone, their mean does not."""
    teacher = read_run(store.root / section.baseline)
    lucky = [
        store.add(
            "wide",
            kit.DISTILL,
            size=30,
            parameters=9,
            seed=seed,
            parents=[kit.child_of(teacher, "teacher")],
        )
        for seed in WRONG
    ]
    for stored, wrong in zip(lucky, (60, 90, 90), strict=True):
        store.evaluate(stored, kit.answers(wrong, stored.run.seed))
    alone = read_run(store.root / next(row.run.id for row in section.rows if row.run.name == "bert-mini"))
    runs = [read_run(stored.path) for stored in (teacher, alone, *lucky)]
    write_data(runs, tmp_path / "again", title="T", command="c", baseline=teacher.run.id)
    (found,) = compare(read_data(tmp_path / "again")).sections
    assert found.front == (alone.run.id, teacher.run.id)
