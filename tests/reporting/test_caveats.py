import pytest

from compress.noise import find_noise
from compress.recipes.stages import Export
from compress.reporting.compare import compare
from compress.reporting.data import read_data, write_data
from compress.reporting.wording import format_share
from compress.runs import TrainSplit, read_run, write_record


def caveats_of(runs, output_dir):
    write_data([read_run(stored.path) for stored in runs], output_dir, title="T", command="c")
    (section,) = compare(read_data(output_dir)).sections
    return section.caveats


def kinds_of(runs, output_dir):
    return {caveat.kind for caveat in caveats_of(runs, output_dir)}


def rewrite(stored, **changes):
    run = read_run(stored.path).run
    write_record(stored.path / "run.json", run.model_copy(update=changes))


def change_stage(trio, **changes):
    rewrite(trio.student, stage=trio.student.run.stage.model_copy(update=changes))


def test_sound_data_raise_only_the_single_seed(written):
    (section,) = written.report.sections
    assert {caveat.kind for caveat in section.caveats} == {"single-seed", "other-engine"}


def test_an_allowance_that_no_teacher_needed_is_none_to_tell(trio, kit, tmp_path):
    runs = allow_weak_teacher(trio, kit)
    assert "weak-teacher" in kinds_of(runs, tmp_path / "before")
    rewrite(trio.student, stage=read_run(trio.student.path).run.stage, facts={"weak_teachers": 0})
    assert "weak-teacher" not in kinds_of(runs, tmp_path / "after")


def select_on_validation(trio, kit):
    change_stage(trio, select_on="validation")
    return trio.runs


def allow_weak_teacher(trio, kit):
    change_stage(trio, allow_weak_teacher=True)
    return trio.runs


def exempt_task(trio, kit):
    rewrite(trio.student, task=kit.TASK.model_copy(update={"weak_teacher_allowed": True}))
    return trio.runs


def leave_changes(trio, kit):
    rewrite(trio.student, environment=kit.environment(commit="0123456789ab+changes"))
    return trio.runs


def evaluate_with_changes(trio, kit):
    changed = kit.environment(commit="0123456789ab+changes")
    trio.store.evaluate(trio.student, kit.answers(70, 2), key="e0000000", environment=changed)
    return trio.runs


def truncate(trio, kit):
    trio.store.evaluate(trio.student, kit.answers(70, 2), key="e0000000", truncated=17)
    return trio.runs


def learn_from_a_part(trio, kit):
    rewrite(trio.teacher, train_split=TrainSplit(examples=2000, published=2000))
    rewrite(trio.student, train_split=TrainSplit(examples=2000, published=67349))
    return trio.runs


def descend_from_a_part(trio, kit):
    before = TrainSplit(examples=12906, published=392702)
    own = TrainSplit(examples=2000)  # a user's own task: nobody knows of how many
    (mnli,) = trio.teacher.run.model_copy(update={"id": "mnli/t/finetune-1", "train_split": before}).descent
    rewrite(trio.student, lineage=(mnli,), train_split=own)
    return trio.runs


def evaluate_on_other_data(trio, kit):
    trio.store.evaluate(trio.student, kit.answers(70, 2), key="e0000000", data="another0")
    return trio.runs


def evaluate_twice(trio, kit):
    trio.store.evaluate(trio.student, kit.answers(59, 2), key="f0000000")
    return trio.runs


def match_baseline(trio, kit):
    trio.store.evaluate(trio.student, kit.answers(42, 2), key="e0000000")
    return trio.runs


def evaluate_nowhere(trio, kit):
    for file in (trio.student.path / "evaluations").iterdir():
        file.unlink()
    return trio.runs


def measure_apart(trio, kit):
    (trio.student.path / "measurements" / "s1.json").unlink()
    trio.store.measure([(trio.student, kit.steady(1.0))], session="alone")
    return trio.runs


def measure_never(trio, kit):
    (trio.student.path / "measurements" / "s1.json").unlink()
    return trio.runs


def measure_in_noise(trio, kit):
    rounds = [[4.0], [4.0], [5.0], [5.0]]
    trio.store.measure([(trio.teacher, [[12.0]] * 4), (trio.student, rounds), (trio.int8, [[1.5]] * 4)])
    return trio.runs


def measure_sessions_apart(trio, kit):
    for name, milliseconds in (("s1", 4.0), ("s2", 4.5)):
        rounds = [(trio.teacher, [[12.0]]), (trio.student, [[milliseconds]]), (trio.int8, [[1.5]])]
        trio.store.measure(rounds, session=name)
    return trio.runs


def make_teacher_anew(trio, kit):
    rewrite(trio.teacher, started="2026-11-21T10:00:00+00:00")
    return trio.runs


def leave_teacher_out(trio, kit):
    return [trio.student, trio.int8]


@pytest.mark.parametrize(
    ("kind", "spoil", "text"),
    [
        ("selected-on-validation", select_on_validation, "albert-tiny was selected on the validation data"),
        ("weak-teacher", allow_weak_teacher, "allowed for albert-tiny;"),
        ("weak-teacher", exempt_task, "allowed for albert-tiny;"),
        ("uncommitted-changes", leave_changes, "uncommitted changes when albert-tiny was"),
        ("uncommitted-changes", evaluate_with_changes, "uncommitted changes when albert-tiny was"),
        ("truncated", truncate, "17 of 400 texts of validation were cut to 128 tokens when albert-tiny was"),
        (
            "partial-split",
            learn_from_a_part,
            "Only 2000 of the 67349 training examples of sample stand behind albert-tiny.",
        ),
        (
            "partial-split",
            descend_from_a_part,
            "Only 12906 of the 392702 training examples of MNLI stand behind albert-tiny.",
        ),
        ("different-data", evaluate_on_other_data, "albert-tiny saw other examples than the baseline"),
        (
            "several-evaluations",
            evaluate_twice,
            "evaluated 2 times on validation; shown is e0000000, not f0000000",
        ),
        ("unresolved", match_baseline, "do not tell albert-tiny from the baseline"),
        (
            "not-evaluated",
            evaluate_nowhere,
            "Without a score on the task's own validation data: albert-tiny.",
        ),
        (
            "no-common-session",
            measure_apart,
            "Never measured in one session with the baseline, so that no speed-up is given: albert-tiny.",
        ),
        ("separate-sessions", measure_apart, "2 separate sets of sessions"),
        ("not-measured", measure_never, "Without a measured latency: albert-tiny."),
        (
            "timing-spread",
            measure_in_noise,
            "varies by 22.2 % between the quartiles of its rounds: 2.70× (2.40–3.00)",
        ),
        ("timing-spread", measure_sessions_apart, "varies by 11.8 % over sessions: 2.83× (2.67–3.00)"),
        ("parent-made-anew", make_teacher_anew, "albert-tiny began before minilm-l6, as it is told of here,"),
        ("teacher-missing", leave_teacher_out, "The teacher of albert-tiny is no run of this report."),
    ],
)
def test_each_caveat_is_raised_by_its_cause(trio, kit, tmp_path, kind, spoil, text):
    assert kind not in {caveat.kind for caveat in caveats_of(trio.runs, tmp_path / "before")}
    found = [caveat for caveat in caveats_of(spoil(trio, kit), tmp_path / "after") if caveat.kind == kind]
    assert any(text in caveat.text for caveat in found), [caveat.text for caveat in found]
    assert all(trio.student.run.id in caveat.runs for caveat in found if kind != "separate-sessions")


def test_several_seeds_silence_the_single_seed(trio, kit, tmp_path):
    parents = [kit.child_of(trio.teacher, "teacher")]
    again = trio.store.add(
        "albert-tiny", kit.DISTILL, size=18_000_000, parameters=4, seed=43, parents=parents
    )
    trio.store.evaluate(again, kit.answers(70, 43))
    (caveat,) = [c for c in caveats_of([*trio.runs, again], tmp_path / "r") if c.kind == "single-seed"]
    assert caveat.runs == (trio.teacher.run.id, trio.int8.run.id)  # rounded from one of the two alone


def test_a_speed_up_between_engines_is_of_both(written, trio, kit, tmp_path):
    """Guards a runtime's speed that is taken for the model's; only of what is compared, and only where engines differ."""
    (text,) = (each.text for each in written.report.sections[0].caveats if each.kind == "other-engine")
    assert text == (
        "minilm-l6 was timed in PyTorch, albert-tiny · int8 in ONNX Runtime: what is told of speed is model and engine together."
    )
    (path,) = trio.int8.path.glob("measurements/*.json")
    path.write_text(path.read_text().replace("onnxruntime", "pytorch-bf16", 1))
    assert "other-engine" not in kinds_of(trio.runs, tmp_path / "r")


@pytest.mark.parametrize("copied", [False, True])
def test_the_same_model_s_other_time_is_told_as_noise(kit, store, tmp_path, copied):
    """Guards what machines do by themselves against being read as a gain; copied layers are another model's work."""
    whole = store.add("whole", kit.FINETUNE, size=90, parameters=10)
    changes = {"parents": [kit.child_of(whole, "model")], "facts": {"layers_copied": copied}}
    again = store.add("whole", Export(format="transformers"), size=90, parameters=9, **changes)
    for stored in (whole, again):
        store.evaluate(stored, kit.answers(40))
    store.measure([(whole, kit.steady(10.0)), (again, kit.steady(12.0))])
    texts = [each.text for each in caveats_of([whole, again], tmp_path / "r") if each.kind == "timing-spread"]
    told = "whole · for transformers has the weights and the engine of whole and was timed as 1.20× slower (1.20–1.20)"
    assert [text.partition(":")[0] for text in texts] == ([] if copied else [told])


def test_what_a_teacher_lacked_is_told_of_it_alone(trio, kit, tmp_path):
    """Guards a list of all that it taught; who learned without it is not meant."""
    part = TrainSplit(examples=12906, published=392702)
    (mnli,) = trio.teacher.run.model_copy(update={"id": "mnli/t/finetune-1", "train_split": part}).descent
    rewrite(trio.teacher, lineage=(mnli,))
    taught = read_run(trio.teacher.path).run.descent
    rewrite(trio.student, lineage=taught)
    alone = trio.store.add("alone", kit.FINETUNE, size=9, parameters=1)
    trio.store.evaluate(alone, kit.answers(70, 5))
    (told,) = [c for c in caveats_of([*trio.runs, alone], tmp_path / "r") if c.kind == "partial-split"]
    assert told.text.endswith(
        f"of MNLI stand behind {trio.teacher.run.name}, and behind what was made from it."
    )
    assert told.runs == (trio.teacher.run.id,)
    for stored in (trio.int8, alone):
        rewrite(stored, lineage=taught)
    (told,) = [c for c in caveats_of([*trio.runs, alone], tmp_path / "all") if c.kind == "partial-split"]
    assert told.text.endswith("of MNLI stand behind every model here.")


def test_a_correlation_that_may_be_zero_is_told(kit, store, tmp_path):
    task = kit.TASK.model_copy(update={"metrics": ("matthews_correlation",)})
    run = store.add("guess", kit.FINETUNE, size=9, parameters=1, task=task)
    store.evaluate(run, kit.np.random.default_rng(1).integers(0, 2, size=kit.N))
    texts = [caveat.text for caveat in caveats_of([run], tmp_path / "r")]
    assert any("cannot be told from zero" in text for text in texts)


def test_what_measure_warns_of_the_report_flags(trio, kit, tmp_path):
    """Guards two definitions of noise: the same runs, the same share."""
    measure_in_noise(trio, kit)
    sessions = [session for stored in trio.runs for session in stored.sessions]
    (noise,) = find_noise(sessions)
    flagged = [each for each in caveats_of(trio.runs, tmp_path / "r") if each.kind == "timing-spread"]
    assert [each.runs for each in flagged] == [(noise.run,)]
    assert f"varies by {format_share(noise.spread)}" in flagged[0].text
