"""How teachers are pretrained: as their families were published, or as their files say."""

import pytest

from compress.errors import InvalidInputError
from compress.recipes.pretraining import ARRANGEMENTS, LEARNERS, Pretraining, overlay, usual_pretraining
from compress.recipes.resolve import list_recipes, resolve_teacher
from compress.recipes.stages import Pretrain
from tests.conftest import write_teacher

PUBLISHED = {
    "bert-base": ("nsp", "segment-pairs", "wordpiece", 1_000_000, 256, 1e-4),
    "roberta-base": ("mlm", "full-sentences", "byte-bpe", 500_000, 8_192, 6e-4),
    "electra-small": ("rtd", "doc-sentences", "wordpiece", 1_000_000, 128, 5e-4),
    "electra-base": ("rtd", "doc-sentences", "wordpiece", 766_000, 256, 2e-4),
    "albert-base": ("sop", "sentence-orders", "unigram", 125_000, 4_096, 4e-4),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_family_is_pretrained_as_published(name):
    how = resolve_teacher(name).pretraining.published
    training = how.training
    batch = training.per_device_train_batch_size * training.gradient_accumulation_steps
    found = (
        how.objective,
        how.arrangement,
        how.tokenizer.kind,
        training.max_steps,
        batch,
        training.learning_rate,
    )
    assert found == PUBLISHED[name]


def test_what_the_papers_say_of_masks():
    """BERT: ten static copies; ELECTRA: 85 % become the mask, none another word; ALBERT: n-grams of whole words."""
    bert, electra, albert, roberta = (
        resolve_teacher(name).pretraining.published
        for name in ("bert-base", "electra-base", "albert-base", "roberta-base")
    )
    assert (bert.static_copies, roberta.static_copies) == (10, 0)
    assert (electra.masking.mask_share, electra.masking.random_share) == (0.85, 0.0)
    assert (albert.masking.whole_words, albert.masking.max_ngram) == (True, 3)
    assert roberta.training.adam_beta2 == 0.98
    assert bert.longer is not None
    assert (bert.longer.share, bert.longer.max_length) == (0.1, 512)


@pytest.mark.parametrize("name", list_recipes("teachers"))
def test_every_teacher_has_both_ways(name):
    teacher = resolve_teacher(name)
    for how in (teacher.pretraining.published, teacher.pretraining.small):
        assert teacher.family in LEARNERS[how.objective]
        assert how.arrangement in ARRANGEMENTS[how.objective]
    small = teacher.pretraining.small
    assert small.max_minutes is not None
    assert small.dropout == 0.0


@pytest.fixture
def write(tmp_path):
    def written(more, family="bert"):
        return str(write_teacher(tmp_path / "mine.toml", more, family=family))

    return written


def test_a_file_says_only_what_differs(write):
    file = write("[pretraining.small]\nmax_minutes = 5\n[pretraining.small.training]\nmax_length = 64\n")
    how = resolve_teacher(file).pretraining
    usual = resolve_teacher(write("")).pretraining
    assert how.published == usual.published
    assert how.small.max_minutes == 5
    assert how.small.training == usual.small.training.model_copy(update={"max_length": 64})


@pytest.mark.parametrize(
    ("family", "text", "message"),
    [
        ("bert", 'objective = "sop"\narrangement = "sentence-orders"', "has no heads for the objective sop"),
        ("bert", 'arrangement = "full-sentences"', "nsp cannot be learned from full-sentences"),
        ("bert", "[pretraining.small.generator]", "rtd, and it alone, has a generator"),
        ("roberta", "[pretraining.small.tokenizer]\nlowercase = true", "keeps every byte"),
        ("electra", "[pretraining.small.generator]\nshare = 1.5", "pretraining.small.generator.share"),
        ("roberta", "words_first = true", "mlm asks nothing about segments"),
        ("bert", "max_minutes = 0", "pretraining.small.max_minutes"),
        ("bert", "minutes = 5", "pretraining.small.minutes"),
    ],
)
def test_what_does_not_go_together_is_told(write, family, text, message):
    with pytest.raises(InvalidInputError, match=message):
        resolve_teacher(write(f"[pretraining.small]\n{text}\n", family))


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("", (50.0, None, -1)),
        ("max_tokens = 99", (None, 99, -1)),
        ("max_minutes = 9", (9.0, None, -1)),
        ("[pretraining.small.training]\nmax_steps = 9", (None, None, 9)),
    ],
)
def test_a_budget_takes_the_place_of_any_other(write, said, found):
    how = resolve_teacher(write(f"[pretraining.small]\n{said}\n")).pretraining.small
    assert (how.max_minutes, how.max_tokens, how.training.max_steps) == found


def test_tables_are_laid_over_each_other():
    assert overlay({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"c": 4}, "d": None}) == {
        "a": {"b": 1, "c": 4},
        "d": None,
    }
    first = usual_pretraining("bert", small=False)
    first["training"]["max_steps"] = 1
    assert usual_pretraining("bert", small=False)["training"]["max_steps"] == 1_000_000


def test_a_stage_of_before_there_were_objectives_keeps_its_key():
    how = Pretraining()
    stage = Pretrain(masking=how.masking, training=how.training)
    assert stage.model_dump(mode="json").keys() == {"kind", "objective", "masking", "training"}
    assert Pretrain.model_validate_json(stage.model_dump_json()) == stage
    assert "dropout" in Pretrain(masking=how.masking, training=how.training, dropout=0.0).model_dump()
