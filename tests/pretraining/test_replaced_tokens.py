"""ELECTRA: what is drawn, what counts as replaced, and who learns from what."""

import pytest
import torch
from scipy.stats import chisquare
from transformers import ElectraForMaskedLM, ElectraForPreTraining, set_seed

from compress.objective import Learner
from compress.pretraining import replaced_tokens
from compress.pretraining.replaced_tokens import (
    GENERATOR_FOLDER,
    ReplacedTokensObjective,
    build_generator,
    draw_tokens,
    fill_in,
    save_generator,
)
from tests.conftest import tiny_config

IDS = torch.tensor([[2, 6, 4, 12, 4, 3], [2, 4, 9, 3, 0, 0]])
ORIGINAL = torch.tensor([[2, 6, 11, 12, 7, 3], [2, 8, 9, 3, 0, 0]])
BATCH = {
    "input_ids": IDS,
    "attention_mask": (IDS != 0).long(),
    "labels": torch.where(IDS == 4, ORIGINAL, -100),
}


@pytest.fixture
def model(tokenizer):
    set_seed(0)
    return ElectraForPreTraining(tiny_config("electra", tokenizer, initializer_range=0.3)).eval()


@pytest.fixture
def objective(model):
    set_seed(1)
    return ReplacedTokensObjective(build_generator(model, share=1 / 3).eval())


def always(tokens, monkeypatch):
    """Let the generator draw these tokens."""
    monkeypatch.setattr(replaced_tokens, "draw_tokens", lambda logits: torch.tensor(tokens))


def test_the_generator_is_narrower_and_shares_its_embeddings(model, objective):
    generator = objective.generator
    shape = generator.config
    assert (shape.hidden_size, shape.num_attention_heads, shape.intermediate_size) == (8, 1, 16)
    assert shape.num_hidden_layers == model.config.num_hidden_layers
    table = model.electra.embeddings.word_embeddings.weight
    assert generator.electra.embeddings is model.electra.embeddings
    assert generator.generator_lm_head.weight is table
    names = [name for name, each in Learner(model, objective).named_parameters() if each is table]
    assert len(names) == 1  # the optimizer moves it once


def test_the_losses_are_those_of_the_models_own(model, objective, monkeypatch):
    always([20, 7, 21], monkeypatch)
    judged = objective(model, BATCH)
    shown = torch.tensor([[2, 6, 20, 12, 7, 3], [2, 21, 9, 3, 0, 0]])  # 7 is what stood there
    inputs = {"input_ids": shown, "attention_mask": BATCH["attention_mask"]}
    own = model(**inputs, labels=(shown != ORIGINAL).long()).loss
    torch.testing.assert_close(judged.terms["replaced_tokens"].value, 50 * own)
    torch.testing.assert_close(judged.terms["masked_lm"].value, objective.generator(**BATCH).loss)
    assert (judged.terms["masked_lm"].count, int(judged.terms["replaced_tokens"].count)) == (3, 10)


def test_what_is_drawn_as_it_was_is_no_replacement(model, objective, monkeypatch):
    always([11, 7, 8], monkeypatch)
    judged = objective(model, BATCH)
    inputs = {"input_ids": ORIGINAL, "attention_mask": BATCH["attention_mask"]}
    own = model(**inputs, labels=torch.zeros_like(ORIGINAL)).loss
    torch.testing.assert_close(judged.terms["replaced_tokens"].value, 50 * own)
    assert int(judged.measures["replaced_tokens_recall"].count) == 0


def test_the_generator_learns_from_its_guesses_alone(model, objective):
    """Guards a gradient through the draw; the table, which both have, learns from both."""

    def gradients(weight):
        objective.weight = weight
        for part in (model, objective):
            part.zero_grad()
        torch.manual_seed(5)
        sum(term.value for term in objective(model, BATCH).terms.values()).backward()
        own = {
            name: each.grad.clone()
            for name, each in objective.generator.named_parameters()
            if "embeddings." not in name and "lm_head.weight" not in name
        }
        return own, model.electra.embeddings.word_embeddings.weight.grad.clone()

    (without, table), (with_it, shared) = gradients(0.0), gradients(50.0)
    assert all(torch.equal(without[name], with_it[name]) for name in without)
    assert not torch.allclose(table, shared)


def test_draws_follow_the_distribution():
    """Chi-square over 20,000 draws of five tokens; a false alarm once in a million."""
    torch.manual_seed(0)
    shares = torch.tensor([0.5, 0.25, 0.15, 0.07, 0.03])
    logits = shares.log().expand(20_000, 5)
    counts = torch.bincount(draw_tokens(logits), minlength=5)
    assert chisquare(counts.numpy(), (shares * 20_000).double().numpy()).pvalue > 1e-6
    assert chisquare(counts.numpy(), [4000] * 5).pvalue < 1e-6


def test_drawn_tokens_stand_where_words_were_hidden():
    shown = fill_in(IDS, BATCH["labels"], torch.tensor([20, 21, 22]))
    assert shown.tolist() == [[2, 6, 20, 12, 21, 3], [2, 22, 9, 3, 0, 0]]


def test_measures_say_how_well_it_tells(model, objective, monkeypatch):
    always([20, 7, 21], monkeypatch)
    with torch.no_grad():
        model.discriminator_predictions.dense_prediction.weight.zero_()
        for bias, accuracy, recall in ((1.0, 0.2, 1.0), (-1.0, 0.8, 0.0)):
            model.discriminator_predictions.dense_prediction.bias.fill_(bias)
            measures = objective(model, BATCH).measures
            assert measures["replaced_tokens_accuracy"].value == pytest.approx(accuracy)
            assert measures["replaced_tokens_recall"].value == recall
            assert measures["replaced_tokens_share"].value == pytest.approx(0.2)


def test_the_generator_lies_beside_the_model(objective, tmp_path):
    save_generator(objective.generator, tmp_path)
    again = ElectraForMaskedLM.from_pretrained(tmp_path / GENERATOR_FOLDER).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(**BATCH).logits, objective.generator(**BATCH).logits)
