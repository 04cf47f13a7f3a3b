"""Which stages a method has, what each starts from; and what cannot work is refused before any work."""

import shutil
from types import SimpleNamespace

import pytest
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    ElectraForPreTraining,
    set_seed,
)
from typer.testing import CliRunner

from compress.chains import plan_distillation
from compress.cli.commands import app
from compress.errors import CompressError, InvalidInputError, UnknownNameError
from compress.planning import Options, Teaching, Workplace
from compress.recipes.methods import SMALL_TINYBERT, Masking, MiniLm, TinyBert, Triple
from compress.recipes.stages import Finetune, Pretrain
from compress.recipes.terms import HardTerm, SoftTerm
from compress.recipes.values import Training
from compress.runs import Parent, list_files
from compress.sources import model_of_run, resolve_model
from compress.tasks import resolve_task
from compress.workspace import Workspace
from tests.conftest import STUDENT, tiny_config, write_corpus, write_task
from tests.test_runs import a_run

LONG = {"max_position_embeddings": 514}
"""As many positions as the texts of the usual schedules need."""
TWO_HEADS = STUDENT.replace("max_position_embeddings = 64", "max_position_embeddings = 512")
THREE_HEADS = TWO_HEADS.replace("hidden_size = 32", "hidden_size = 36").replace(
    "num_attention_heads = 2", "num_attention_heads = 3"
)
KINDS = {
    "logits": ["distill"],
    "minilm": ["general", "distill"],
    "triple": ["general", "distill"],
    "tinybert": ["general", "intermediate", "distill"],
}


@pytest.fixture(scope="module")
def house(tmp_path_factory, tokenizer):
    """Models with and without an MLM head, a classifier, an ELECTRA discriminator; students, a task, documents."""
    root = tmp_path_factory.mktemp("house")

    def save(name, model):
        model.save_pretrained(root / name)
        tokenizer.save_pretrained(root / name)

    set_seed(0)
    whole = AutoModelForMaskedLM.from_config(tiny_config("bert", tokenizer, **LONG))
    save("tiny-bert", whole)
    save("headless", whole.bert)
    save("discriminator", ElectraForPreTraining(tiny_config("electra", tokenizer, **LONG)))
    config = tiny_config("bert", tokenizer, **LONG, id2label={0: "bad", 1: "good"})
    save("classifier", AutoModelForSequenceClassification.from_config(config))
    config.max_position_embeddings = 66
    save("short", AutoModelForSequenceClassification.from_config(config))
    (root / "tiny.toml").write_text(THREE_HEADS)
    (root / "two-heads.toml").write_text(TWO_HEADS)
    (root / "short.toml").write_text(STUDENT)
    (root / "empty").mkdir()
    write_corpus(root / "corpus")
    write_task(root, train=40, validation=20)
    return root


@pytest.fixture
def plan(house, monkeypatch):
    """Plan in the house; nothing may have been written when it is done."""
    monkeypatch.chdir(house)

    def run(
        method=None, *, teacher="tiny-bert", student="tiny.toml", task="reviews.toml", seed=1, **teaching
    ):
        given = Teaching(**({"method": method, "corpus": "corpus"} | teaching))
        teachers = [teacher] if isinstance(teacher, str) else teacher
        place = Workplace(house / "runs")
        return plan_distillation(
            teachers, student, task, place, seed=seed, options=Options(distillation=given)
        )

    yield run
    assert not (house / "runs").exists()


def kinds(step):
    return [part.stage.kind for part in step.unfold()]


def general_of(step):
    (found,) = [part for part in step.unfold() if part.stage.kind == "general"]
    return found


@pytest.mark.parametrize("method", KINDS)
def test_a_method_is_its_stages_and_the_last_one_s_teacher_knows_the_task(plan, method):
    step = plan(method)
    assert list(dict.fromkeys(kind for kind in kinds(step) if kind != "finetune")) == KINDS[method]
    assert kinds(step).count("finetune") == 1  # although two stages ask for it
    assert step.inputs["teacher"].stage.kind == "finetune"
    assert step.seed == 1
    assert step.stage.method == method
    assert step.inputs["teacher"].seed == 42


def test_a_general_stage_is_taught_by_who_was_not_fine_tuned(plan):
    general = general_of(plan("tinybert"))
    assert general.stage.kind == "general"
    assert general.inputs["teacher"].name == "tiny-bert"
    assert (general.task, general.answers, general.subject) == (None, None, "corpus")
    assert general.directory.parts[-3:-1] == ("corpus", "tiny")


def test_stages_start_from_one_another(plan):
    last = plan("tinybert")
    intermediate = last.inputs["student"]
    assert intermediate.stage.kind == "intermediate"
    assert intermediate.inputs["student"].stage.kind == "general"
    assert intermediate.inputs["teacher"].key == last.inputs["teacher"].key
    assert set(plan("minilm").inputs) == {"teacher", "student"}
    assert plan("minilm").inputs["student"].stage.kind == "general"


def test_task_seeds_share_their_general_student(plan):
    one, two, other = plan("tinybert"), plan("tinybert", seed=2), plan("tinybert", general_seed=7)
    general = [general_of(step).key for step in (one, two, other)]
    assert general[0] == general[1] != general[2]
    assert len({one.key, two.key, other.key}) == 3


def test_without_a_general_stage_the_student_is_built_by_the_next(plan):
    step = plan("tinybert", general=False)
    assert "general" not in kinds(step)
    assert set(step.inputs["student"].inputs) == {"teacher", "candidates"}
    step = plan("minilm", general=False, corpus=None)
    assert kinds(step) == ["finetune", "distill"]
    assert set(step.inputs) == {"teacher"}


def test_without_copies_nothing_is_augmented(plan):
    step = plan("tinybert", copies=0)
    assert (step.stage.augmentation, step.inputs["student"].stage.augmentation) == (None, None)
    assert "candidates" not in step.inputs
    step = plan("tinybert", copies=3)
    assert step.stage.augmentation.copies == step.inputs["student"].stage.augmentation.copies == 3
    assert step.inputs["candidates"].name == "tiny-bert"
    assert plan("tinybert").stage.augmentation.copies == 1  # the small budget's
    assert plan("minilm").stage.augmentation is None


@pytest.mark.parametrize(
    ("method", "usual"), [("tinybert", TinyBert()), ("minilm", MiniLm()), ("triple", Triple())]
)
def test_the_published_schedule_is_the_paper_s(plan, method, usual):
    step = plan(method, budget="published", copies=0)
    general = general_of(step).stage
    assert (general.budget, step.stage.budget) == ("published", "published")
    assert general.training.model_dump(exclude={"bf16"}) == usual.general.training.model_dump(
        exclude={"bf16"}
    )
    assert general.terms == usual.general.terms
    assert step.stage.training.learning_rate == 3e-5
    small = general_of(plan(method, copies=0)).stage
    assert (small.budget, small.training.max_steps) == ("small", 4000)
    if method == "tinybert":
        intermediate = step.inputs["student"].stage
        assert (intermediate.training.num_train_epochs, intermediate.training.lr_scheduler_type) == (
            20,
            "constant",
        )


def test_published_schedules_differ_by_task():
    usual = TinyBert()
    assert usual.intermediate.training_on("cola").num_train_epochs == 50
    assert usual.intermediate.training_on("mnli").num_train_epochs == 10
    assert usual.intermediate.training_on("mnli").learning_rate == 5e-5
    assert usual.intermediate.training_on("rte").num_train_epochs == 20
    assert [usual.augmentation.copies_on(task) for task in ("rte", "sst2", "mnli", "mine")] == [
        30,
        20,
        10,
        20,
    ]


def test_the_small_budget_copies_mrpc_more_often():
    """Guards MRPC with one copy a text, which kept 93 % of its teacher's accuracy where five kept 98 %."""
    assert [SMALL_TINYBERT.augmentation.copies_on(task) for task in ("mrpc", "rte", "sst2")] == [5, 1, 1]


def test_only_triple_masks_words(plan):
    assert general_of(plan("triple")).stage.masking is not None
    assert general_of(plan("tinybert")).stage.masking is None


def test_without_a_task_the_general_student_is_all_there_is(plan):
    step = plan("minilm", task=None, seed=7)
    assert kinds(step) == ["general"]
    assert step.key == general_of(plan("minilm", general_seed=7)).key


@pytest.mark.parametrize("fields", [{"method": "logits"}, {"method": "tinybert", "general": False}])
def test_without_a_task_there_must_be_a_general_stage(plan, fields):
    with pytest.raises(InvalidInputError, match="Without --task"):
        plan(task=None, **fields)


def test_soft_and_hard_labels_are_weighted_from_the_command_line(plan):
    assert plan("logits").stage.terms == (SoftTerm(temperature=2.0),)
    assert plan("logits", soft_weight=0.3, hard_weight=0.7, temperature=4.0).stage.terms == (
        SoftTerm(weight=0.3, temperature=4.0),
        HardTerm(weight=0.7),
    )
    assert plan("triple", soft_weight=0.0).stage.terms == (HardTerm(weight=0.5),)
    with pytest.raises(InvalidInputError, match="soft and the hard labels are both 0"):
        plan("triple", soft_weight=0.0, hard_weight=0.0)
    with pytest.raises(InvalidInputError, match="both 0"):
        plan("logits", soft_weight=0.0)
    with pytest.raises(InvalidInputError, match="temperature"):
        plan("logits", temperature=0.0)


def test_several_teachers_answer_by_their_weights(plan):
    step = plan("logits", teacher=["tiny-bert", "classifier"], teacher_weights=[3.0, 1.0])
    assert step.stage.teacher_weights == (0.75, 0.25)
    assert list(step.inputs) == ["teacher", "teacher 2"]
    assert step.inputs["teacher 2"].name == "classifier"  # it knows the task
    assert plan("logits", teacher=["tiny-bert", "classifier"]).stage.teacher_weights == (0.5, 0.5)


@pytest.mark.parametrize("weights", [[1.0], [1.0, 2.0, 3.0], [1.0, 0.0], [1.0, -1.0]])
def test_weights_are_one_a_teacher_and_above_0(plan, weights):
    with pytest.raises(InvalidInputError, match="2 teachers and the weights") as caught:
        plan("logits", teacher=["tiny-bert", "classifier"], teacher_weights=weights)
    assert "--teacher-weight" in caught.value.fix


@pytest.mark.parametrize(
    ("fields", "problem", "fix"),
    [
        ({"method": "magic"}, "no method 'magic'", "logits, tinybert, minilm, triple"),
        ({"method": "tinybert", "budget": "huge"}, "no budget 'huge'", "published, small"),
        ({"method": "triple", "teacher": "discriminator"}, "ELECTRA discriminator", "minilm"),
        ({"method": "triple", "teacher": "headless"}, "no MLM head", "compress pretrain"),
        ({"method": "triple", "teacher": "classifier"}, "no MLM head", "compress pretrain"),
        (
            {"method": "tinybert", "student": "two-heads.toml"},
            "2 attention heads, the teacher 3",
            "--method minilm",
        ),
        (
            {"method": "tinybert", "student": "two-heads.toml", "general": False, "copies": 0},
            "2 attention heads, the teacher 3",
            "relations",
        ),
        (
            {"method": "minilm", "student": "short.toml"},
            "The student takes at most 64 tokens",
            "--max-length",
        ),
        ({"method": "minilm", "teacher": "short"}, "The teacher takes at most 66 tokens", "--max-length"),
        ({"method": "minilm", "corpus": "nowhere"}, "no corpus 'nowhere'", "--corpus sample"),
        ({"method": "minilm", "corpus": "empty"}, "holds no file of documents", "jsonl"),
    ],
)
def test_what_cannot_work_is_refused_with_a_way_out(plan, fields, problem, fix):
    with pytest.raises((InvalidInputError, UnknownNameError)) as caught:
        plan(**fields)
    assert problem in caught.value.problem
    assert fix in caught.value.fix


def test_the_student_s_own_corpus_is_taken_where_none_is_named(plan, house):
    """Its recipe's is a dataset of the Hub, which cannot be reached here."""
    with pytest.raises(CompressError, match="Salesforce/wikitext") as caught:
        plan("minilm", corpus=None)
    assert "--corpus sample" in caught.value.fix
    (house / "own.toml").write_text(
        THREE_HEADS.replace("[distill.logits]", '[distill]\ncorpus = "corpus"\n[distill.logits]')
    )
    assert general_of(plan("minilm", corpus=None, student="own.toml")).subject == "corpus"


def test_relations_free_the_heads(plan):
    assert kinds(plan("minilm", student="two-heads.toml"))[-1] == "distill"


def test_a_file_s_changes_reach_the_stages_and_their_keys(plan, house):
    """Guards schedules that are written down and not followed; what other methods say decides nothing."""
    text = (
        THREE_HEADS
        + "[distill.tinybert.small.intermediate.training]\nlearning_rate = 7e-5\n"
        + "[distill.tinybert.small.general]\n"
        + 'terms = [{ loss = "hidden", weight = 2.0, map = [[2, 1]] }]\n'
        + "[distill.tinybert.small.augmentation]\ncopies_for = { reviews = 2 }\n"
    )
    (house / "changed.toml").write_text(text)
    usual, changed = plan("tinybert"), plan("tinybert", student="changed.toml")
    general, intermediate = general_of(changed).stage, changed.inputs["student"].stage
    assert intermediate.training.learning_rate == 7e-5
    assert intermediate.training.num_train_epochs == 3  # the small budget's, not the schema's
    assert [(term.loss, term.weight, term.map) for term in general.terms] == [("hidden", 2.0, ((2, 1),))]
    assert intermediate.augmentation.copies == 2
    assert general_of(changed).key != general_of(usual).key
    logits = [plan("logits", student=student).stage.model_dump() for student in ("tiny.toml", "changed.toml")]
    for stage in logits:
        stage["student"].pop("name")
    assert logits[0] == logits[1]


@pytest.mark.parametrize("more", [[], ["--budget", "published"], ["--no-general", "--copies", "0"]])
def test_a_dry_run_shows_the_chain(house, monkeypatch, more):
    """Also where the number of steps is not known before the corpus is cut."""
    monkeypatch.chdir(house)
    words = [
        "distill",
        "--teacher",
        "tiny-bert",
        "--student",
        "tiny.toml",
        "--task",
        "reviews.toml",
        "--dry-run",
    ]
    result = CliRunner().invoke(app, [*words, "--method", "tinybert", "--corpus", "corpus", *more])
    assert result.exit_code == 0, result.output + result.stderr
    for kind in ("finetune", "intermediate", "distill", *(["general"] if "--no-general" not in more else [])):
        assert kind in result.stdout
    assert not (house / "runs").exists()


@pytest.fixture
def trained(house, tmp_path, monkeypatch):
    """A store with tiny-bert's pretraining gone on with, and a classifier that was fine-tuned from a given model."""
    monkeypatch.chdir(house)
    store = tmp_path / "runs"

    def keep(name, stage, source, weights, key, **fields):
        parent = Parent(role="model", name=source.name, origin=source.origin, key=source.key)
        id_ = f"{fields.pop('place')}/{name}/{stage.kind}-{key}"
        run = a_run(key, id=id_, name=name, stage=stage, parents=(parent,), **fields)
        with Workspace.open(store / id_) as workspace:
            shutil.copytree(house / weights, workspace.path, dirs_exist_ok=True)
            return workspace.finish(run.model_copy(update={"files": list_files(workspace.path)}))

    bert = resolve_model("tiny-bert", store=store)
    pretrain = Pretrain(masking=Masking(), training=Training())
    documents = {"place": "corpus", "subject": "corpus", "task": None}
    longer = model_of_run(keep("tiny-bert", pretrain, bert, "tiny-bert", "aaaaaaaa", **documents))

    def classifier(source, key="cccccccc"):
        fields = {"place": "reviews", "task": resolve_task("reviews.toml"), "subject": "reviews.toml"}
        stage = Finetune(training=Training())
        return model_of_run(keep("tiny-bert", stage, source, "classifier", key, **fields))

    return SimpleNamespace(store=store, bert=bert, longer=longer, classifier=classifier)


def planned_beside(trained, teacher, **teaching):
    given = Teaching(**({"method": "minilm", "corpus": "corpus"} | teaching))
    options = Options(distillation=given)
    return plan_distillation(
        [str(teacher.path)], "tiny.toml", "reviews.toml", Workplace(trained.store), seed=1, options=options
    )


@pytest.mark.parametrize("source", ["bert", "longer"])
def test_language_is_taught_by_whom_a_fine_tuned_teacher_was_made_from(trained, source):
    before = getattr(trained, source)
    once = trained.classifier(before)
    step = planned_beside(trained, trained.classifier(once, "dddddddd"))
    found = general_of(step).inputs["teacher"]
    assert (found.key, found.origin) == (before.key, before.origin)
    assert kinds(step) == ["general", "distill"]  # it knows the task already


def test_whom_it_was_made_from_must_still_be_there(trained):
    teacher = trained.classifier(trained.longer)
    shutil.rmtree(trained.longer.path)
    with pytest.raises(CompressError, match="cannot be found") as caught:
        planned_beside(trained, teacher)
    assert "--no-general --copies 0" in caught.value.fix
    assert kinds(planned_beside(trained, teacher, general=False)) == ["distill"]
