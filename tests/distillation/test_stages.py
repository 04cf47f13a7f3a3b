"""Whole methods through the public API, on tiny models: every stage, what it leaves, and what is taken again."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    set_seed,
)

from compress import api
from compress.chains import plan_distillation
from compress.data.corpus import resolve_corpus
from compress.errors import CompressError, InvalidInputError
from compress.planning import Options, Teaching, Workplace
from compress.recipes.stages import head_of
from compress.runs import PROJECTIONS_FILE, find_runs, read_run
from tests.conftest import STUDENT, tiny_config, write_corpus, write_task

TEACHER = """
description = "tiny"
family = "bert"
vocab_size = 32

[source]
kind = "local"
path = "../tiny-bert"

[architecture]
num_hidden_layers = 4
hidden_size = 24
num_attention_heads = 3
intermediate_size = 48

[training]
learning_rate = 5e-3
max_steps = 12
per_device_train_batch_size = 16
max_length = 24
bf16 = false
"""
SHORT = "{ max_steps = 4, max_length = 24, per_device_train_batch_size = 8, bf16 = false }"
STUDENTS = (
    STUDENT.replace("hidden_size = 32", "hidden_size = 36").replace(
        "num_attention_heads = 2", "num_attention_heads = 3"
    )
    + f"[distill.tinybert.small]\ngeneral.training = {SHORT}\nintermediate.training = {SHORT}\n"
    + f"prediction.training = {SHORT}\naugmentation.copies = 1\n"
    + f"[distill.minilm.small]\ngeneral.training = {SHORT}\nprediction.training = {SHORT}\n"
    + f"[distill.triple.small]\ngeneral.training = {SHORT}\nprediction.training = {SHORT}\n"
)
METHODS = ("tinybert", "minilm", "triple")
LOADERS = {"none": AutoModel, "masked_lm": AutoModelForMaskedLM, "task": AutoModelForSequenceClassification}


def teaching(method, **changes):
    fields = {"method": method, "corpus": "corpus", "allow_weak_teacher": True}
    return Options(distillation=Teaching(**(fields | changes)))


def distil(method, *, task="reviews.toml", seed=1, **changes):
    return api.distill(
        "teachers/tiny-teacher.toml", "thin.toml", task=task, seed=seed, options=teaching(method, **changes)
    )


def plan(method, *, seed=1, **changes):
    return plan_distillation(
        ["teachers/tiny-teacher.toml"],
        "thin.toml",
        "reviews.toml",
        Workplace(),
        seed=seed,
        options=teaching(method, **changes),
    )


@pytest.fixture(scope="module")
def house(tmp_path_factory, tokenizer):
    root = tmp_path_factory.mktemp("house")
    set_seed(0)
    config = tiny_config("bert", tokenizer, num_hidden_layers=4)
    AutoModelForMaskedLM.from_config(config).save_pretrained(root / "tiny-bert")
    tokenizer.save_pretrained(root / "tiny-bert")
    (root / "teachers").mkdir()
    (root / "teachers" / "tiny-teacher.toml").write_text(TEACHER)
    (root / "thin.toml").write_text(STUDENTS)
    write_corpus(root / "corpus")
    write_task(root, train=80, validation=40)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        yield root


@pytest.fixture(scope="module")
def made(house):
    """(Stage, method) → the run of it; the teacher's has no method."""
    for method in METHODS:
        distil(method)
    stored = find_runs(house / "runs")
    return {(each.run.stage.kind, getattr(each.run.stage, "method", None)): each for each in stored}


@pytest.mark.parametrize("method", METHODS)
def test_a_method_s_stages_are_all_made_and_recorded(house, made, method):
    """With their method, budget and terms; the last one answers the task and is scored on it."""
    found = {kind: stored.run for (kind, by), stored in made.items() if by == method}
    assert set(found) == {"general", "distill", *(["intermediate"] if method == "tinybert" else [])}
    for kind, run in found.items():
        assert (run.stage.method, run.stage.budget) == (method, "small")
        assert len(run.stage.terms) == len(run.facts["terms"])
        assert (run.task is None) == (kind == "general")
        assert run.subject == ("corpus" if kind == "general" else "reviews.toml")
        if kind == "general":  # another corpus of that name is another one
            assert run.facts["corpus_fingerprint"] == resolve_corpus("corpus").fingerprint
    assert [term.loss for term in found["general"].stage.terms] == {
        "tinybert": ["hidden", "attention"],
        "minilm": ["relations"] * 3,
        "triple": ["soft", "masked_lm", "cosine"],
    }[method]
    (evaluation,) = made["distill", method].evaluations
    assert evaluation.primary.n == 40
    assert 0 <= evaluation.primary.value <= 1


@pytest.mark.parametrize("method", METHODS)
def test_each_artefact_loads_whole_in_plain_transformers(house, made, method):
    """Guards tensors that `transformers` would draw anew, or drop, without a word of ours."""
    for (kind, by), stored in made.items():
        if by == method:
            loader = LOADERS[head_of(stored.run.stage)]
            model, report = loader.from_pretrained(stored.path, output_loading_info=True)
            ignored = {"pooler"}  # built without one, and never trained
            missing = {name for name in report["missing_keys"] if not ignored & set(name.split("."))}
            assert (missing, set(report["unexpected_keys"])) == (set(), set()), kind
            assert "compress" not in (stored.path / "config.json").read_text()
            with torch.no_grad():
                model.eval()(torch.tensor([[2, 6, 12, 3]]))


@pytest.mark.parametrize(
    ("method", "before", "after"),
    [
        ("tinybert", "general", "intermediate"),
        ("tinybert", "intermediate", "distill"),
        ("minilm", "general", "distill"),
        ("triple", "general", "distill"),
    ],
)
def test_stages_go_on_from_one_another(made, method, before, after):
    """Guards a stage that starts from random weights: its start is the last one's weights."""
    roles = {parent.role: parent for parent in made[after, method].run.parents}
    assert roles["student"].key == made[before, method].run.key
    assert roles["student"].origin == f"run {made[before, method].run.id}"
    start, end = (
        AutoModel.from_pretrained(made[kind, method].path).get_input_embeddings().weight
        for kind in (before, after)
    )
    assert 0 < (start - end).norm() < 0.5 * start.norm()


def test_projections_go_from_stage_to_stage_with_the_student(made):
    """Guards an intermediate stage that spends its steps on learning anew what a width is projected by."""
    start, end = (
        load_file(made[kind, "tinybert"].path / PROJECTIONS_FILE) for kind in ("general", "intermediate")
    )
    assert set(start) == set(end)
    for name in ("projections.embeddings.weight", "projections.layers.weight"):
        assert 0 < (end[name] - start[name]).norm() < 0.5 * start[name].norm()
    facts = made["intermediate", "tinybert"].run.facts
    assert facts["projections_gone_on_with"] == ["embeddings", "layers"]


def test_projections_are_kept_where_a_stage_may_follow_and_are_no_part_of_the_model(made):
    kept = {kind for kind, stored in made.items() if (stored.path / PROJECTIONS_FILE).exists()}
    assert kept == {("general", "tinybert"), ("intermediate", "tinybert"), ("general", "triple")}
    run = made["general", "tinybert"].run
    assert PROJECTIONS_FILE in run.files
    assert run.artefact_bytes == run.files["model.safetensors"].bytes


def test_a_general_run_answers_nothing_and_its_card_s_code_runs(house, made, alone):
    for method in METHODS:
        stored = made["general", method]
        assert stored.evaluations == []
        card = (stored.path / "README.md").read_text()
        assert ("fill-mask" if method == "triple" else "feature-extraction") in card
        code = re.search(r"```python\n(.*?)\n```", card, re.DOTALL)[1]
        if method != "minilm":  # one of each kind
            done = alone.run(f'{code}\nimport sys\nassert "compress" not in sys.modules', cwd=stored.path)
            assert done.returncode == 0, done.stderr
            assert "torch.Size([1," in done.stdout
        compile(code, "card", "exec")


def test_a_general_run_is_told_that_it_answers_nothing(house, made):
    general = made["general", "minilm"]
    for use in (
        lambda: api.predict(str(general.path), ["a film"]),
        lambda: api.quantize(str(general.path)),
        lambda: api.evaluate(str(general.path)),
    ):
        with pytest.raises(CompressError) as caught:
            use()
        assert "Traceback" not in str(caught.value)


def test_a_general_student_is_fine_tuned_like_any_model(house, made):
    general = made["general", "tinybert"]
    options = Options(training={"max_steps": 2, "max_length": 24, "bf16": False})
    done = api.finetune(str(general.path), task="reviews.toml", options=options)
    assert [parent.key for parent in done.run.parents] == [general.run.key]
    assert done.run.parameters > general.run.parameters  # a pooler and a classifier came


def test_another_task_seed_takes_the_teacher_and_the_general_student_as_they_are(house, made):
    for method in METHODS:
        states = {step.stage.kind: step.finished for step in plan(method, seed=2).unfold()}
        assert states.pop("finetune")
        assert states.pop("general")
        assert not any(states.values())
        anew = {step.stage.kind: step.finished for step in plan(method, general_seed=43).unfold()}
        assert not anew["general"]
        assert all(step.finished for step in plan(method).unfold())


def test_without_a_task_the_general_student_is_the_one_that_the_chain_made(house, made):
    general = made["general", "tinybert"]
    before = (general.path / "run.json").stat().st_mtime_ns
    assert distil("tinybert", task=None, seed=42).run.key == general.run.key
    assert (general.path / "run.json").stat().st_mtime_ns == before


def test_without_a_general_stage_the_student_starts_anew(house, made):
    stored = distil("tinybert", general=False, copies=0)
    roles = {parent.role: parent for parent in stored.run.parents}
    assert set(roles) == {"teacher", "student"}
    student = read_run(house / "runs" / roles["student"].origin.removeprefix("run "))
    assert {parent.role for parent in student.run.parents} == {"teacher"}
    assert stored.run.stage.augmentation is None
    assert "augmented_copies" not in stored.run.facts


def test_augmentation_is_recorded_and_what_it_made_is_learned(house, made):
    for kind in ("intermediate", "distill"):
        facts = made[kind, "tinybert"].run.facts
        assert 0 < facts["augmented_copies"] <= 80
        assert facts["augmentation_candidates"] == "masked-lm"


def test_the_history_has_each_term_apart(house, made):
    for (kind, method), stored in made.items():
        if method is not None:
            terms = set(stored.run.facts["terms"])
            steps = [line for line in stored.history if "loss" in line]
            assert steps, kind
            for line in steps:
                if len(terms) > 1:
                    assert line["loss"] == pytest.approx(
                        sum(line[name] for name in terms), rel=1e-3, abs=1e-3
                    )


def test_two_teachers_answer_together(house, made):
    teacher = made["finetune", None].path
    stored = api.distill(
        [str(teacher), str(made["distill", "minilm"].path)],
        "thin.toml",
        task="reviews.toml",
        options=Options(
            training={"max_steps": 2, "max_length": 24},
            distillation=Teaching(method="logits", teacher_weights=(3.0, 1.0), allow_weak_teacher=True),
        ),
    )
    assert stored.run.stage.teacher_weights == (0.75, 0.25)
    assert [parent.role for parent in stored.run.parents] == ["teacher", "teacher 2"]
    assert len(stored.run.facts["teacher_holdout_score"]) == 2


def test_records_hold_no_path_of_this_machine(house, made):
    for file in house.glob("runs/**/run.json"):
        assert str(house) not in file.read_text()
        json.loads(file.read_text())


@pytest.mark.parametrize("stage", ["general", "intermediate", "prediction"])
def test_texts_too_long_for_the_student_are_refused_before_anything_is_made(house, stage):
    """Each of the chain's stages, the last too, is looked at before the first begins."""
    changed = STUDENTS.replace(
        f"{stage}.training = {SHORT}", f"{stage}.training = {SHORT.replace('24', '65')}", 1
    )
    assert changed != STUDENTS
    (house / "long.toml").write_text(changed)
    before = find_runs(house / "runs")
    with pytest.raises(InvalidInputError, match="student takes at most 64 tokens, not 65"):
        api.distill(
            "teachers/tiny-teacher.toml", "long.toml", task="reviews.toml", options=teaching("tinybert")
        )
    assert find_runs(house / "runs") == before
