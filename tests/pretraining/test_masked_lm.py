"""Pretraining goes on: a model learns to guess hidden words, with a head of its own where it had none."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer, ElectraForPreTraining

import compress
from compress.errors import CompressError, InvalidInputError
from compress.heads import guess_tokens, has_mlm_head
from compress.losses.masked_lm import masked_lm_loss
from compress.planning import Options
from compress.pretraining.masked_lm import MaskedLmObjective
from compress.schooling import plan_further_pretraining
from compress.sources import resolve_model
from compress.steps import Workplace
from tests.conftest import FAMILIES, tiny_config

IDS = torch.tensor([[2, 6, 12, 4, 3], [2, 7, 9, 3, 0]])
MASK = (IDS != 0).long()
LABELS = torch.tensor([[-100, 11, -100, 12, -100], [-100, -100, 8, -100, -100]])
QUICK = {"max_steps": 40, "learning_rate": 3e-3, "max_length": 16, "bf16": False}


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "stories"
    folder.mkdir()
    lines = ["a good film and a fine plot", "the bad film was dull and slow", "the plot was good and fine"]
    documents = [{"text": "\n".join(lines[i % 3 :] + lines[: i % 3])} for i in range(60)]
    (folder / "all.jsonl").write_text("\n".join(map(json.dumps, documents)), encoding="utf-8")
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_the_head_runs_on_hidden_words_alone_and_says_what_it_says_on_all(tokenizer, family):
    model = AutoModelForMaskedLM.from_config(tiny_config(family, tokenizer)).eval()
    inputs = {"input_ids": IDS, "attention_mask": MASK}
    with torch.no_grad():
        whole = model(**inputs).logits
        hidden = model.base_model(**inputs).last_hidden_state
        torch.testing.assert_close(guess_tokens(model, hidden), whole)
        judged = MaskedLmObjective()(model, {**inputs, "labels": LABELS})
    term = judged.terms["masked_lm"]
    assert term.count == 3
    torch.testing.assert_close(term.value, masked_lm_loss(whole, LABELS))


def test_a_checkpoint_without_a_head_gets_one_and_can_teach(teacher_directory, corpus, tmp_path):
    store = tmp_path / "runs"
    assert not has_mlm_head(teacher_directory)
    options = Options(training=QUICK)
    stored = compress.pretrain(source=str(teacher_directory), corpus=str(corpus), options=options, runs=store)
    assert stored.path.parent == store / "stories" / teacher_directory.name
    assert has_mlm_head(stored.path)
    losses = [line["eval_loss"] for line in stored.history if "eval_loss" in line]
    vocabulary = len(AutoTokenizer.from_pretrained(stored.path))
    assert losses[-1] < np.log(vocabulary) - 0.5  # it has learned which words there are
    model = AutoModelForMaskedLM.from_pretrained(stored.path)  # plain transformers
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert not stored.evaluations
    assert "fill-mask" in (stored.path / "README.md").read_text(encoding="utf-8")
    # Cached, and found by its place.
    again = compress.pretrain(source=str(teacher_directory), corpus=str(corpus), options=options, runs=store)
    assert again.run.started == stored.run.started
    found = resolve_model(str(stored.path.parent), store=store, stages=frozenset({"pretrain"}))
    assert found.key == stored.run.key


def test_what_cannot_guess_words_is_refused_before_the_work(tokenizer, corpus, tmp_path, teacher_directory):
    folder = tmp_path / "discriminator"
    ElectraForPreTraining(tiny_config("electra", tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    with pytest.raises(CompressError, match="ELECTRA discriminator"):
        plan_further_pretraining(
            str(folder), "mlm", str(corpus), Workplace(tmp_path / "runs"), seed=0, options=Options()
        )
    with pytest.raises(InvalidInputError, match="no objective 'clm'"):
        compress.pretrain(
            source=str(teacher_directory), corpus=str(corpus), objective="clm", runs=tmp_path / "runs"
        )
    assert not (tmp_path / "runs").exists()
