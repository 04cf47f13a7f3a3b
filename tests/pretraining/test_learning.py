"""From documents to a checkpoint that transformers loads, with each family's own objective."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForPreTraining,
    AutoTokenizer,
    ElectraForMaskedLM,
    TrainerControl,
    TrainerState,
)

import compress
from compress.planning import Options, Schooling, Teaching
from compress.pretraining.plateau import LOOKS_GRANTED, BaseRateGuard, UnigramGuard, unigram_entropy
from compress.sources import STARTING_STAGES, resolve_model
from tests.conftest import FAMILIES, STUDENT, write_corpus, write_task, write_teacher

MORE = """
max_position_embeddings = 130
hidden_dropout_prob = 0.1

[pretraining.small]
longer = { max_length = 24 }

[pretraining.small.training]
learning_rate = 3e-3
per_device_train_batch_size = 8
max_length = 24
bf16 = false

[training]
max_length = 24
bf16 = false
"""
ASKED = {
    "bert": {"masked_lm", "next_sentence"},
    "roberta": {"masked_lm"},
    "electra": {"masked_lm", "replaced_tokens"},
    "albert": {"masked_lm", "sentence_order"},
}


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A teacher of each family, pretrained from nothing for a few steps."""
    root = tmp_path_factory.mktemp("pretrained")
    corpus = write_corpus(root / "stories", documents=40)
    options = Options(training={"max_steps": 30}, pretraining=Schooling(vocab_size=330))
    return {
        family: compress.pretrain(
            str(write_teacher(root / f"tiny-{family}.toml", MORE, family=family)),
            corpus=str(corpus),
            options=options,
            runs=root / "runs",
        )
        for family in FAMILIES
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_what_transformers_loads_whole(pretrained, family):
    stored = pretrained[family]
    model, report = AutoModelForPreTraining.from_pretrained(stored.path, output_loading_info=True)
    assert model.config.model_type == family
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    tokenizer = AutoTokenizer.from_pretrained(stored.path)
    assert len(tokenizer) == model.config.vocab_size
    assert model.config.hidden_dropout_prob == 0.1  # off only while it was pretrained
    assert stored.run.stage.dropout == 0.0


@pytest.mark.parametrize("family", FAMILIES)
def test_what_it_learns_is_in_the_history(pretrained, family):
    stored = pretrained[family]
    looks = [line for line in stored.history if "eval_loss" in line]
    terms = {name.removeprefix("eval_") for name in looks[-1]}
    assert ASKED[family] <= terms
    assert {f"{name}_accuracy" for name in ASKED[family]} <= terms
    assert looks[-1]["eval_loss"] < looks[0]["eval_loss"] or len(looks) == 1
    assert stored.run.facts["tokens_read"] > 1000
    assert 0 < stored.run.facts["unigram_entropy"] < math.log(330)
    assert len(stored.run.facts["corpus_fingerprint"]) == 16
    assert not stored.evaluations


def test_electras_generator_lies_beside_it_and_shares_its_table(pretrained):
    path = pretrained["electra"].path
    assert isinstance(pretrained["electra"].run.facts["discriminator_on_the_plateau"], bool)
    generator, report = ElectraForMaskedLM.from_pretrained(path / "generator", output_loading_info=True)
    assert not report["missing_keys"]
    table = load_file(path / "model.safetensors")["electra.embeddings.word_embeddings.weight"]
    torch.testing.assert_close(generator.get_input_embeddings().weight, table)
    assert generator.get_output_embeddings().weight is generator.get_input_embeddings().weight
    assert not list((path / "generator").glob("run.json"))


def test_a_further_stage_goes_on_with_the_generator(pretrained, tmp_path):
    """One step at a rate of nothing: the generator is the one that was there."""
    before = pretrained["electra"]
    corpus = write_corpus(tmp_path / "more", documents=30)
    stored = compress.pretrain(
        source=str(before.path),
        objective="rtd",
        corpus=str(corpus),
        options=Options(training={"max_steps": 1, "learning_rate": 1e-12, "max_length": 24, "bf16": False}),
        runs=tmp_path / "runs",
    )
    assert stored.run.stage.generator == before.run.stage.generator
    old, new = (load_file(run.path / "generator" / "model.safetensors") for run in (before, stored))
    assert old.keys() == new.keys()
    for name, tensor in old.items():
        torch.testing.assert_close(new[name], tensor, atol=1e-6, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_it_teaches_by_every_method_that_its_family_allows(pretrained, family, tmp_path):
    store = pretrained[family].path.parents[2]
    task = write_task(tmp_path, train=120, validation=40)
    student = tmp_path / "tiny-albert.toml"
    thin = STUDENT.replace("hidden_size = 32", "hidden_size = 36")
    quick = "".join(
        f"\n[distill.{method}.small.{part}.training]\nmax_steps = 4\nmax_length = 24\nbf16 = false\n"
        for method, parts in {
            "tinybert": ("general", "intermediate"),
            "minilm": ("general",),
            "triple": ("general",),
        }.items()
        for part in parts
    )
    student.write_text(thin.replace("num_attention_heads = 2", "num_attention_heads = 3") + quick)
    methods = ["logits", "tinybert", "minilm", *(["triple"] if family != "electra" else [])]
    for method in methods:
        stored = compress.distill(
            str(pretrained[family].path),
            str(student),
            task=str(task),
            runs=store,
            options=Options(
                training={"max_steps": 4, "max_length": 24, "bf16": False},
                distillation=Teaching(
                    method=method, corpus=str(store.parent / "stories"), copies=0, allow_weak_teacher=True
                ),
            ),
        )
        assert stored.evaluations


def test_its_name_stands_for_it(pretrained):
    stored = pretrained["bert"]
    store = stored.path.parents[2]
    file = store.parent / "tiny-bert.toml"
    found = resolve_model(str(file), store=store, stages=STARTING_STAGES)
    assert found.key == stored.run.key


def test_a_budget_of_tokens_is_kept_to_the_batch(tmp_path):
    corpus = write_corpus(tmp_path / "stories", documents=40)
    stored = compress.pretrain(
        str(write_teacher(tmp_path / "tiny-roberta.toml", MORE, family="roberta")),
        corpus=str(corpus),
        options=Options(pretraining=Schooling(vocab_size=330, max_tokens=2000)),
        runs=tmp_path / "runs",
    )
    assert 2000 <= stored.run.facts["tokens_read"] < 2000 + 8 * 24
    rates = [line["learning_rate"] for line in stored.history if "learning_rate" in line]
    assert rates[-1] < 0.15 * max(rates)


def test_static_masks_are_those_of_the_example(pretrained, tmp_path):
    """Whatever epoch and batch it is in; a copy of it has others."""
    from compress.data.corpus import resolve_corpus
    from compress.data.inputs import arrange_sentences
    from compress.data.masked_batches import MaskingCollator
    from compress.data.sentences import split_corpus
    from compress.recipes.methods import Masking

    tokenizer = AutoTokenizer.from_pretrained(pretrained["bert"].path)
    corpus = resolve_corpus(str(write_corpus(tmp_path / "stories")))
    sentences = split_corpus(corpus, tokenizer, store=tmp_path / "runs")
    examples = arrange_sentences(
        sentences, tokenizer, arrangement="full-sentences", max_length=24, seed=1, copies=2
    )
    collate = MaskingCollator(tokenizer, Masking(), sequences=examples, seed=1, static=True)
    alone = collate(examples.__getitems__([3]))["labels"]
    collate.set_epoch(5)
    together = collate(examples.__getitems__([1, 3, 7]))["labels"]
    width = alone.shape[1]
    assert torch.equal(together[1, :width], alone[0])
    assert not torch.equal(together[0, :width], alone[0])


class TestPlateau:
    @pytest.fixture
    def look(self, caplog):
        caplog.set_level("WARNING")

        def looked(guard, loss, **more):
            guard.on_evaluate(None, TrainerState(), TrainerControl(), {guard.term: loss, **more})
            return caplog.text

        return looked

    def test_who_guesses_by_frequency_is_told(self, look):
        guard = UnigramGuard(6.5)
        for _ in range(LOOKS_GRANTED - 1):
            assert not look(guard, 6.5)
        assert "guesses by frequency alone: its loss is 6.50" in look(guard, 6.5)
        assert guard.facts == {"unigram_entropy": 6.5, "holdout_masked_lm": 6.5, "on_the_plateau": True}

    def test_who_has_left_it_is_not(self, look):
        guard = UnigramGuard(6.5)
        for _ in range(LOOKS_GRANTED):
            assert not look(guard, 5.9)
        assert not guard.facts["on_the_plateau"]

    def test_a_short_training_is_told_at_its_end(self, look, caplog):
        guard = UnigramGuard(6.5)
        look(guard, 6.4)
        guard.on_train_end(None, None, None)
        assert "guesses by frequency" in caplog.text

    def test_a_discriminator_that_knows_the_share_alone_is_told(self, look):
        guard, share = BaseRateGuard(50.0), 0.125
        entropy = -(share * math.log(share) + (1 - share) * math.log(1 - share))
        for _ in range(LOOKS_GRANTED - 1):
            assert not look(guard, 50 * entropy, eval_replaced_tokens_share=share)
        assert "its loss is 0.377, the entropy of that share 0.377" in look(
            guard, 50 * entropy, eval_replaced_tokens_share=share
        )
        assert guard.facts == {
            "base_rate_entropy": 0.3768,
            "holdout_replaced_tokens": 0.3768,
            "discriminator_on_the_plateau": True,
        }

    @pytest.mark.parametrize(
        ("loss", "share"), [(0.3, 0.125), (0.01, 0.0)], ids=["it tells", "nothing to tell"]
    )
    def test_a_discriminator_that_tells_is_not(self, look, loss, share):
        guard = BaseRateGuard(50.0)
        for _ in range(LOOKS_GRANTED):
            assert not look(guard, 50 * loss, eval_replaced_tokens_share=share)
        assert not guard.facts["discriminator_on_the_plateau"]

    def test_the_entropy_is_that_of_single_tokens(self, tokenizer, tmp_path):
        from compress.data.corpus import resolve_corpus
        from compress.data.sequences import tokenize_corpus

        folder = tmp_path / "two"
        folder.mkdir()
        (folder / "all.jsonl").write_text(json.dumps({"text": "good film " * 8}) + "\n", encoding="utf-8")
        sequences = tokenize_corpus(
            resolve_corpus(str(folder)), tokenizer, max_length=24, store=tmp_path / "runs"
        )
        assert unigram_entropy(sequences, len(tokenizer)) == pytest.approx(math.log(2))
