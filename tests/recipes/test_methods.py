"""Methods: the papers' numbers, the smaller ones, and what a file changes of either."""

import pytest
from pydantic import ValidationError

from compress.recipes.methods import SMALL_TINYBERT, Distillation, TinyBert


@pytest.mark.parametrize("budget", ["published", "small"])
def test_a_file_changes_number_by_number(budget):
    usual = getattr(Distillation().tinybert, budget)
    said = {"tinybert": {budget: {"general": {"training": {"max_steps": 7}}}}}
    changed = getattr(Distillation.model_validate(said).tinybert, budget)
    assert changed.general.training.max_steps == 7
    assert changed.general.training.learning_rate == usual.general.training.learning_rate
    assert changed.general.terms == usual.general.terms
    assert changed.intermediate == usual.intermediate
    assert changed.augmentation == usual.augmentation


def test_what_differs_on_a_task_survives_a_change_beside_it():
    said = {"tinybert": {"small": {"intermediate": {"terms": [{"loss": "hidden"}]}}}}
    changed = Distillation.model_validate(said).tinybert.small.intermediate
    assert [term.loss for term in changed.terms] == ["hidden"]
    for task in ("sst2", "rte", "mrpc"):
        assert changed.training_on(task) == SMALL_TINYBERT.intermediate.training_on(task)


def test_who_says_how_many_copies_means_every_task():
    said = {"tinybert": {"published": {"augmentation": {"copies": 5}}}}
    assert Distillation.model_validate(said).tinybert.published.augmentation.copies_on("cola") == 5
    assert TinyBert().augmentation.copies_on("cola") == 30


def test_the_published_schedule_is_the_paper_s():
    stages = TinyBert()
    assert [term.loss for term in stages.general.terms] == ["hidden", "attention"]
    assert stages.intermediate.training_on("cola").num_train_epochs == 50
    assert stages.intermediate.training_on("mrpc").num_train_epochs == 20
    assert stages.intermediate.training.lr_scheduler_type == "constant"
    assert stages.prediction.training.learning_rate == 3e-5
    triple = Distillation().triple.published
    assert [(term.loss, term.weight) for term in triple.general.terms] == [
        ("soft", 5.0),
        ("masked_lm", 2.0),
        ("cosine", 1.0),
    ]
    assert triple.masking.smoothing == 0.7


def test_a_term_that_does_not_exist_is_refused():
    with pytest.raises(ValidationError, match="hiden"):
        Distillation.model_validate({"logits": {"terms": [{"loss": "hiden"}]}})
