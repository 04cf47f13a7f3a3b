import io
import re

import numpy as np
import pytest
from rich.console import Console

from compress.noise import find_noise
from compress.recipes.stages import Export
from compress.reporting.compare import compare
from compress.reporting.data import read_data, write_data
from compress.reporting.formats import format_share
from compress.reporting.html import render_html
from compress.reporting.markdown import render_markdown
from compress.reporting.pairwise import compare_in_report
from compress.reporting.terminal import render_pairwise
from compress.runs import TrainSplit, read_run, write_record
from tests.reporting.test_terminal import printed


def caveats_of(runs, output_dir):
    write_data([read_run(stored.path) for stored in runs], output_dir, title="T", command="c")
    (section,) = compare(read_data(output_dir)).sections
    return section.caveats


def texts_of(runs, output_dir, *, kind):
    return [caveat.text for caveat in caveats_of(runs, output_dir) if caveat.kind == kind]


def kinds_of(runs, output_dir):
    return {caveat.kind for caveat in caveats_of(runs, output_dir)}


def rewrite(stored, **changes):
    run = read_run(stored.path).run
    write_record(stored.path / "run.json", run.model_copy(update=changes))


def change_stage(trio, **changes):
    rewrite(trio.student, stage=trio.student.run.stage.model_copy(update=changes))


def test_sound_data_raise_only_what_is_so_of_any_first_report(written):
    (section,) = written.report.sections
    assert {caveat.kind for caveat in section.caveats} == {"single-seed", "other-engine"}


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({}, "would have been allowed for albert-tiny, and the record does not tell that it was better;"),
        ({"teacher_holdout_score": 0.5}, "would have been allowed for albert-tiny,"),
        ({"teacher_holdout_score": [0.9, 0.5]}, "would have been allowed for albert-tiny,"),
        ({"teacher_holdout_score": 0.823}, None),
        ({"teacher_holdout_score": 0.5, "weak_teachers": 0}, None),
        ({"teacher_holdout_score": 0.5, "weak_teachers": 1}, "was allowed for albert-tiny;"),
    ],
)
def test_an_allowance_that_no_teacher_needed_is_none_to_tell(trio, kit, tmp_path, facts, text):
    runs = allow_weak_teacher(trio, kit)
    rewrite(trio.student, stage=read_run(trio.student.path).run.stage, facts=facts)
    told = texts_of(runs, tmp_path / "r", kind="weak-teacher")
    assert len(told) == (text is not None)
    assert all(text in each for each in told)


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


def read_further(trio, kit):
    trio.store.evaluate(trio.teacher, kit.answers(40, 1), key="e0000000", truncated=33)
    longer = kit.Batches(size=32, order="length", max_length=256)
    trio.store.evaluate(trio.student, kit.answers(70, 2), key="e0000000", batches=longer, truncated=1)
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
        ("weak-teacher", allow_weak_teacher, "allowed for albert-tiny,"),
        ("weak-teacher", exempt_task, "allowed for albert-tiny,"),
        ("uncommitted-changes", leave_changes, "uncommitted changes when albert-tiny was"),
        ("uncommitted-changes", evaluate_with_changes, "uncommitted changes when albert-tiny was"),
        (
            "truncated",
            truncate,
            "Cut to 128 tokens: 17 of the 400 texts of validation, in the evaluation of albert-tiny.",
        ),
        (
            "other-length",
            read_further,
            "Of the 400 texts of validation albert-tiny read up to 256 tokens each (1 cut), the baseline up to 128 (33 cut): "
            "the comparison is not like with like.",
        ),
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
        (
            "parent-made-anew",
            make_teacher_anew,
            "albert-tiny began before the minilm-l6 shown here was made, and so",
        ),
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


@pytest.mark.parametrize(("copied", "time"), [(False, 12.0), (True, 12.0), (False, 10.0)])
def test_the_same_model_s_other_time_is_told_as_noise(kit, store, tmp_path, copied, time):
    """Guards what machines do by themselves against being read as a gain; copied layers are another model's work."""
    whole = store.add("whole", kit.FINETUNE, size=90, parameters=10)
    changes = {"parents": [kit.child_of(whole, "model")], "facts": {"layers_copied": copied}}
    again = store.add("whole", Export(format="transformers"), size=90, parameters=9, **changes)
    for stored in (whole, again):
        store.evaluate(stored, kit.answers(40))
    store.measure([(whole, kit.steady(10.0)), (again, kit.steady(time))])
    texts = [each.text for each in caveats_of([whole, again], tmp_path / "r") if each.kind == "timing-spread"]
    told = "whole · for transformers has the weights and the engine of whole and was timed 1.20× slower (1.20–1.20) all the same"
    assert [text.partition(":")[0] for text in texts] == ([told] if not copied and time > 10 else [])


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


@pytest.mark.parametrize(
    ("wide", "told"),
    [(3, ["w0, w1 and w2"]), (4, ["every model here but minilm-l6, albert-tiny and albert-tiny · int8"])],
)
def test_of_many_those_are_named_who_are_not_meant(trio, kit, tmp_path, wide, told):
    """Guards a bullet that nobody reads to its end: a list of nearly all."""
    more = [trio.store.add(f"w{number}", kit.FINETUNE, size=9, parameters=1) for number in range(wide)]
    for number, stored in enumerate(more):
        trio.store.evaluate(stored, kit.answers(60 + number, number))
    texts = texts_of([*trio.runs, *more], tmp_path / "r", kind="not-measured")
    assert texts == [f"Without a measured latency: {names}." for names in told]


def test_a_caveat_of_the_headline_is_marked_and_stands_first(trio, kit, tmp_path):
    """Guards a number of caveats that nobody finds among the others."""
    truncate(trio, kit)
    trio.store.evaluate(trio.int8, kit.answers(42, 2), key="e0000000")
    write_data(trio.runs, tmp_path / "r", title="T", command="c")
    report = compare(read_data(tmp_path / "r"))
    (section,) = report.sections
    assert section.headline.run == trio.int8.run.id
    assert dict(section.headline.certainty)["Caveats"].startswith("3 to read before relying on it")
    marked = [
        "The data do not tell albert-tiny · int8",
        "Trained with one seed only: every model here",
        "minilm-l6 was timed in PyTorch",
    ]
    told, lines = render_markdown(report).partition("### Caveats")[2], printed(report).splitlines()
    assert told.count("Concerns the headline.") == 3
    bullets = [line for line in told.splitlines() if line.startswith("- ")][:4]
    for bullet, text in zip(bullets, marked, strict=False):
        assert bullet.startswith(f"- **Concerns the headline.** {text}")
    assert bullets[3].startswith("- Cut to 128 tokens")
    assert sum(line.startswith("! Concerns the headline. ") for line in lines) == 3
    assert any(line.startswith("! Cut to 128 tokens") for line in lines)
    assert render_html(report).count("<li><strong>Concerns the headline.</strong> ") == 3


def test_a_correlation_that_may_be_zero_is_told(kit, store, tmp_path):
    task = kit.TASK.model_copy(update={"metrics": ("matthews_correlation",)})
    run = store.add("guess", kit.FINETUNE, size=9, parameters=1, task=task)
    store.evaluate(run, kit.np.random.default_rng(1).integers(0, 2, size=kit.N))
    (text,) = texts_of([run], tmp_path / "r", kind="like-constant")
    assert text.endswith("cannot be told from that of the best constant answer, 0.000.")


def test_a_model_that_knows_no_more_than_the_majority_is_told(trio, kit, tmp_path):
    """Guards "keeps 61 % of the accuracy" of a model that always gives the same answer."""
    majority = int(kit.LABELS.mean() > 0.5)
    share = float(np.mean(majority == kit.LABELS))
    made = [
        trio.store.add(name, kit.FINETUNE, size=9, parameters=1) for name in ("constant", "contrary", "both")
    ]
    for stored, found in zip(made, (np.full(kit.N, majority), 1 - kit.LABELS, 1 - kit.LABELS), strict=True):
        trio.store.evaluate(stored, found)
    nothing = f"that of the best constant answer, {share:.3f}"
    alone = f"The score of constant, {share:.3f}, cannot be told from {nothing}."
    assert texts_of([*trio.runs, *made[:2]], tmp_path / "two", kind="like-constant") == [
        f"The score of contrary, 0.000, is below {nothing}.",
        alone,
    ]
    assert texts_of([*trio.runs, *made], tmp_path / "three", kind="like-constant") == [
        f"These scores are below {nothing}: both 0.000 and contrary 0.000.",
        alone,
    ]


def test_what_measure_warns_of_the_report_flags(trio, kit, tmp_path):
    """Guards two definitions of noise: the same runs, the same share."""
    measure_in_noise(trio, kit)
    sessions = [session for stored in trio.runs for session in stored.sessions]
    (noise,) = find_noise(sessions)
    flagged = [each for each in caveats_of(trio.runs, tmp_path / "r") if each.kind == "timing-spread"]
    assert [each.runs for each in flagged] == [(noise.run,)]
    assert f"varies by {format_share(noise.spread)}" in flagged[0].text


def test_what_a_constant_answer_scores_stands_once_beside_the_scores(written, kit):
    (section,) = written.report.sections
    share = max(float(np.mean(label == kit.LABELS)) for label in (0, 1))
    assert section.constant == pytest.approx(share)
    for text in (render_html(written.report), render_markdown(written.report), printed(written.report)):
        assert text.count(f"The best constant answer scores {share:.3f}.") == 1


def test_another_length_that_cut_no_text_is_none_to_tell(trio, kit, tmp_path):
    longer = kit.Batches(size=32, order="length", max_length=256)
    trio.store.evaluate(trio.student, kit.answers(70, 2), key="e0000000", batches=longer)
    assert "other-length" not in kinds_of(trio.runs, tmp_path / "r")


def test_whose_texts_were_cut_alike_is_told_once(trio, kit, tmp_path):
    """Guards a line a seed: eighteen of them hide what matters."""
    for stored, cut in ((trio.student, 17), (trio.int8, 19)):
        trio.store.evaluate(stored, kit.answers(70, 2), key="e0000000", truncated=cut)
    (text,) = texts_of(trio.runs, tmp_path / "r", kind="truncated")
    assert text == (
        "Cut to 128 tokens: 17–19 of the 400 texts of validation, in the evaluation of albert-tiny and albert-tiny · int8."
    )


def test_all_that_the_data_do_not_tell_from_the_baseline_are_told_at_once(trio, kit, tmp_path):
    for stored, wrong in ((trio.student, 42), (trio.int8, 43)):
        trio.store.evaluate(stored, kit.answers(wrong, 2), key="e0000000")
    (caveat,) = [c for c in caveats_of(trio.runs, tmp_path / "r") if c.kind == "unresolved"]
    assert caveat.runs == (trio.student.run.id, trio.int8.run.id)
    shares = r"albert-tiny \d+\.\d–1\d\d\.\d % and albert-tiny · int8 \d+\.\d–1\d\d\.\d %\."
    assert re.search(
        f"the baseline, as the 95 % interval of what each keeps contains 100 %: {shares}", caveat.text
    )


def test_who_answers_as_the_baseline_does_is_not_told_to_be_unresolved(trio, kit, tmp_path):
    """As many right answers, to others, are another thing."""
    for stored, seed in ((trio.student, 1), (trio.int8, 2)):
        trio.store.evaluate(stored, kit.answers(40, seed), key="e0000000")
    same, near = texts_of(trio.runs, tmp_path / "r", kind="unresolved")
    assert same == "Every example is answered as the baseline answers it by albert-tiny."
    assert near.startswith("The data do not tell albert-tiny · int8 from the baseline: the 95 % interval")


def test_a_baseline_that_was_not_scored_is_no_matter_of_examples(trio, kit, tmp_path):
    """Guards "not scored on the same examples" of a teacher that answered none."""
    for file in (trio.teacher.path / "evaluations").iterdir():
        file.unlink()
    write_data(trio.runs, tmp_path / "r", title="T", command="c")
    report = compare(read_data(tmp_path / "r"))
    (section,) = report.sections
    assert section.headline.sentence.endswith("its accuracy is not compared: the baseline was not scored.")
    assert dict(section.headline.certainty)["Score"] == "Not known: the baseline was not scored."
    assert "the baseline was not scored" in render_html(report)
    assert "not scored on the same examples" not in render_html(report)


def test_a_session_that_measured_on_two_devices_is_told_as_one(trio, kit, tmp_path):
    """Guards "never measured in one session" of an ONNX file on the processor beside PyTorch on the graphics card."""
    where = kit.environment(gpu="H200")
    rounds = [(trio.teacher, kit.steady(2.0)), (trio.student, kit.steady(1.0)), (trio.int8, kit.steady(3.0))]
    trio.store.measure(rounds, where=where, device="cuda")
    (path,) = trio.int8.path.glob("measurements/*.json")
    path.write_text(path.read_text().replace('"device": "cuda"', '"device": "cpu"'))
    runs = trio.runs
    (text,) = texts_of(runs, tmp_path / "r", kind="no-common-session")
    assert text == (
        "Measured on another device than the baseline (cpu, not cuda), so that no speed-up is given: albert-tiny · int8."
    )
    report = compare(read_data(tmp_path / "r"))
    (section,) = report.sections
    assert section.headline.run == trio.int8.run.id
    told = (
        "Not known: the two were measured on different devices, minilm-l6 on cuda, albert-tiny · int8 on cpu."
    )
    assert dict(section.headline.certainty)["Speed"] == told
    page = render_html(report)
    assert f">{told.removeprefix('Not known: ').removesuffix('.')}</span>" in page
    assert "no session timed minilm-l6 and another model under the same conditions" not in page
    lines = io.StringIO()
    pair = compare_in_report(read_data(tmp_path / "r"), "albert-tiny · int8", "minilm-l6")
    Console(file=lines, width=200).print(render_pairwise(pair))
    assert "Measured on different devices, A on cpu and B on cuda: their speed" in lines.getvalue()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_who_was_measured_with_the_baseline_elsewhere_is_told_where(device, trio, kit, tmp_path):
    """The comparison has the times of the most models, and they were taken on another device, or on another machine."""
    shape = {"parents": [kit.child_of(trio.teacher, "teacher")], "size": 40_000_000, "parameters": 9}
    more = [trio.store.add(name, kit.DISTILL, **shape) for name in ("wide", "deep")]
    for stored in more:
        trio.store.evaluate(stored, kit.answers(74))
    for session, place, cpu, models in (
        ("s1", device, "other", (trio.teacher, trio.student, *more)),
        ("s2", "cpu", "this", (trio.teacher, trio.int8)),
    ):
        pairs = [(stored, kit.steady(2.0)) for stored in models]
        trio.store.measure(pairs, session=session, where=kit.environment(gpu="H200", cpu=cpu), device=place)
    (trio.int8.path / "measurements" / "s1.json").unlink()
    write_data(
        [*trio.runs, *map(read_run, (each.path for each in more))], tmp_path / "r", title="T", command="c"
    )
    report = compare(read_data(tmp_path / "r"))
    (section,) = report.sections
    assert section.headline.run == trio.int8.run.id
    told = (
        "the two were measured together only at batch 1, 128 tokens, 1 thread, cpu, on "
        "this + H200, 2 CPUs, 8 GiB, Linux x86_64, not in the sessions that compare the others"
    )
    assert dict(section.headline.certainty)["Speed"] == f"Not known: {told}."
    assert f">{told}</span>" in render_html(report)


def test_one_seed_s_common_session_is_enough_for_all(trio, kit, tmp_path):
    """Guards "no speed-up is given" of one seed beside the headline's speed-up of its model."""
    parents = [kit.child_of(trio.teacher, "teacher")]
    shape = {"size": 18_000_000, "parameters": 4, "parents": parents}
    again = trio.store.add("albert-tiny", kit.DISTILL, seed=43, **shape)
    trio.store.evaluate(again, kit.answers(70, 43))
    trio.store.measure([(again, kit.steady(4.0))], session="alone")
    assert "no-common-session" not in kinds_of([trio.teacher, trio.student, again], tmp_path / "r")
