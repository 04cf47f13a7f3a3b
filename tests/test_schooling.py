"""Plans of pretraining: which stages there are, and what is refused before the work."""

import pytest

from compress.errors import CompressError, InvalidInputError
from compress.planning import Options, Schooling
from compress.recipes.stages import Pretrain
from compress.schooling import plan_pretraining
from compress.sources import STARTING_STAGES, resolve_model
from compress.steps import Workplace
from tests.conftest import FAMILIES, write_corpus, write_teacher


@pytest.fixture
def plan(tmp_path):
    write_teacher(tmp_path / "mine.toml")
    corpus = str(write_corpus(tmp_path / "corpus"))

    def planned(teacher="mine.toml", *, training=None, source=None, objective=None, **given):
        return plan_pretraining(
            str(tmp_path / teacher) if (teacher or "").endswith(".toml") else teacher,
            corpus,
            Workplace(tmp_path / "runs"),
            source=source,
            objective=objective,
            seed=1,
            options=Options(training=training or {}, pretraining=Schooling(**given)),
        )

    return planned


def stages_of(step):
    return [part.stage for part in step.unfold()]


def test_longer_inputs_are_a_stage_of_their_own_at_the_rate_that_is_left(plan):
    first, last = stages_of(plan(budget="published"))
    assert (first.training.max_steps, last.training.max_steps) == (900_000, 100_000)
    assert (first.training.max_length, last.training.max_length) == (128, 512)
    assert last.training.learning_rate == pytest.approx(0.1 * first.training.learning_rate)
    assert last.training.warmup_steps == 0
    assert first.new is not None
    assert first.tokenizer is not None
    assert last.new is None
    assert last.tokenizer is None
    assert (first.objective, first.arrangement, first.static_copies) == ("nsp", "segment-pairs", 10)
    assert (last.objective, last.arrangement, last.static_copies) == ("nsp", "segment-pairs", 10)


def test_hidden_words_alone_come_first_where_a_recipe_says_so(plan):
    first, last = stages_of(plan("albert-mini"))
    assert (first.objective, first.arrangement) == ("mlm", "full-sentences")
    assert (last.objective, last.arrangement) == ("sop", "sentence-orders")
    assert (first.masking.whole_words, first.masking.max_ngram) == (False, 1)
    assert (last.masking.whole_words, last.masking.max_ngram) == (True, 3)
    (only,) = stages_of(plan("albert-mini", training={"max_length": 128}))
    assert only.objective == "sop"


def test_who_asks_for_the_long_inputs_from_the_start_gets_one_stage(plan):
    (stage,) = stages_of(plan(budget="published", training={"max_length": 512}))
    assert stage.training.max_steps == 1_000_000


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"max_tokens": 1000}, ("max_tokens", 900, 100)),
        ({"max_minutes": 20.0}, ("max_minutes", 18.0, 2.0)),
    ],
)
def test_a_budget_of_any_kind_is_parted(plan, given, found):
    name, first, last = found
    assert [getattr(stage, name) for stage in stages_of(plan(budget="published", **given))] == [
        pytest.approx(first),
        pytest.approx(last),
    ]


def test_a_budget_on_the_command_line_takes_the_place_of_the_recipes(plan):
    assert [stage.max_minutes for stage in stages_of(plan())] == [25, 25]
    for stage, steps in zip(stages_of(plan(training={"max_steps": 8})), (4, 4), strict=True):
        assert (stage.max_minutes, stage.training.max_steps) == (None, steps)
    for stage, tokens in zip(stages_of(plan(max_tokens=500)), (250, 250), strict=True):
        assert (stage.max_minutes, stage.max_tokens) == (None, tokens)


def test_the_small_budget_begins_with_very_short_inputs(plan):
    short, long = stages_of(plan())
    assert (short.training.max_length, long.training.max_length) == (32, 128)
    tokens = [
        stage.training.max_length * stage.training.per_device_train_batch_size for stage in (short, long)
    ]
    assert tokens == [1024, 2048]
    assert (short.initial_embeddings, long.initial_embeddings) == ("ppmi-svd", "random")
    assert stages_of(plan(budget="published"))[0].initial_embeddings == "random"


@pytest.mark.parametrize(
    "given", [{"max_minutes": 60.0}, {"max_tokens": 10**6}, {"training": {"max_steps": 5000}}]
)
def test_a_shorter_schedule_warms_up_for_the_same_share_of_it(plan, given):
    """Guards the published 10,000 steps of warm-up on a schedule that is at its end before they are."""
    stage, _ = stages_of(plan(budget="published", **given))
    assert stage.training.warmup_steps == pytest.approx(10_000 / 1_000_000)
    training = {"warmup_steps": 0.5} | given.get("training", {})
    stage, _ = stages_of(plan(budget="published", **given | {"training": training}))
    assert stage.training.warmup_steps == 0.5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"max_minutes": 5.0, "training": {"warmup_steps": 7.0}},
            "warmup_steps is a share of these, below 1",
        ),
        ({"max_tokens": 5, "max_minutes": 5.0}, "--max-tokens and --max-minutes contradict"),
        ({"max_tokens": 5, "training": {"max_steps": 5}}, "--max-steps and --max-tokens contradict"),
        ({"max_minutes": -1.0}, "max_minutes"),
        ({"budget": "huge"}, "no budget 'huge'"),
        ({"arrangement": "full-sentences"}, "nsp cannot be learned from full-sentences"),
        ({"objective": "mlm"}, "the objective that its file names"),
        ({"source": "minilm-l6"}, "one of both is to be named"),
        ({"teacher": None}, "one of both is to be named"),
        ({"training": {"max_length": 600}}, "positions for 512 tokens, not for 600"),
        ({"tokenizer": "minilm-l6", "vocab_size": 500}, "--tokenizer and --vocab-size contradict"),
    ],
)
def test_what_contradicts_itself_is_refused(plan, given, message):
    with pytest.raises(InvalidInputError, match=message):
        plan(**given)


@pytest.mark.parametrize("objective", ["nsp", "sop", "rtd"])
def test_only_its_own_family_learns_by_an_objective(plan, tiny_model, tokenizer, tmp_path, objective):
    fit = {"nsp": "bert", "sop": "albert", "rtd": "electra"}[objective]
    for family in FAMILIES:
        path = tmp_path / family
        tiny_model(family).save_pretrained(path)
        tokenizer.save_pretrained(path)
        if family == fit:
            stage = plan(None, source=str(path), objective=objective).stage
            assert isinstance(stage, Pretrain)
            assert (stage.generator is not None) == (objective == "rtd")
            assert stage.masking.max_ngram == (3 if objective == "sop" else 1)
        else:
            with pytest.raises(InvalidInputError, match=f"cannot learn by {objective}"):
                plan(None, source=str(path), objective=objective)


def test_what_is_for_a_model_from_nothing_is_refused_beside_weights(plan, teacher_directory):
    with pytest.raises(InvalidInputError, match="--budget, --vocab-size: that is for a model"):
        plan(None, source=str(teacher_directory), budget="small", vocab_size=50)


def test_a_teacher_that_is_nowhere_published_says_how_it_is_made(tmp_path):
    with pytest.raises(CompressError, match="compress pretrain roberta-mini"):
        resolve_model("roberta-mini", store=tmp_path / "runs", stages=STARTING_STAGES)
