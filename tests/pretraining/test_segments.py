"""Two segments: the loss is that of `transformers`' own pretraining models; what is shown beside it."""

import pytest
import torch
from transformers import AlbertForPreTraining, BertForPreTraining, set_seed

from compress.pretraining.segments import NEXT_SENTENCE, SENTENCE_ORDER, SegmentsObjective
from tests.conftest import tiny_config

IDS = torch.tensor([[2, 6, 12, 4, 3, 9, 7, 3], [2, 7, 9, 3, 4, 3, 0, 0]])
BATCH = {
    "input_ids": IDS,
    "attention_mask": (IDS != 0).long(),
    "token_type_ids": torch.tensor([[0, 0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 1, 1, 0, 0]]),
    "labels": torch.where(IDS == 4, torch.tensor([[17], [18]]), -100),
}
KINDS = {NEXT_SENTENCE: ("bert", BertForPreTraining), SENTENCE_ORDER: ("albert", AlbertForPreTraining)}


@pytest.fixture(params=KINDS)
def question(request):
    return request.param


@pytest.fixture
def model(question, tokenizer):
    family, kind = KINDS[question]
    set_seed(0)
    return kind(tiny_config(family, tokenizer, initializer_range=0.3)).eval()


def judge(question, model, answers):
    return SegmentsObjective(question)(model, {**BATCH, question: torch.tensor(answers)})


@pytest.mark.parametrize("answers", [[0, 1], [1, 1]])
def test_the_loss_is_that_of_the_model_s_own(question, model, answers):
    judged = judge(question, model, answers)
    whole = model(**BATCH, **{question: torch.tensor(answers)}).loss
    assert set(judged.terms) == {"masked_lm", question.removesuffix("_label")}
    torch.testing.assert_close(sum(term.value for term in judged.terms.values()), whole)
    assert [term.count for term in judged.terms.values()] == [2, 2]


def test_accuracies_are_shown(question, model):
    output = model(**BATCH)
    logits = output.seq_relationship_logits if question == NEXT_SENTENCE else output.sop_logits
    said = logits.argmax(dim=-1)
    name = f"{question.removesuffix('_label')}_accuracy"
    for answers, share in ((said, 1.0), (1 - said, 0.0), (torch.stack([said[0], 1 - said[1]]), 0.5)):
        assert judge(question, model, answers.tolist()).measures[name].value == share
    words = output.prediction_logits.argmax(dim=-1)
    right = (words == BATCH["labels"])[BATCH["labels"] != -100].float().mean()
    assert judge(question, model, [0, 1]).measures["masked_lm_accuracy"].value == right


def test_the_question_alone_moves_its_head(question, model):
    judged = judge(question, model, [0, 1])
    judged.terms["masked_lm"].value.backward(retain_graph=True)
    (head,) = [
        parameter
        for name, parameter in model.named_parameters()
        if "sop_classifier.classifier.weight" in name or "seq_relationship.weight" in name
    ]
    assert head.grad is None
    judged.terms[question.removesuffix("_label")].value.backward()
    assert head.grad.abs().sum() > 0
