"""Planned examples as a model's inputs: framed as the tokenizer frames, labelled as transformers labels."""

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.utils.data import DataLoader
from transformers import AlbertForPreTraining, BertForPreTraining, PreTrainedTokenizerFast

from compress.data.batching import BucketSampler, pad_rows
from compress.data.formats import Plan
from compress.data.inputs import PAIRED, arrange_sentences
from compress.data.masked_batches import MaskingCollator
from compress.data.masking import count_tokens
from compress.data.pairs import PlannedPairs, read_pair_frame
from compress.data.sentences import Sentences, hold_out_documents
from compress.errors import CompressError, InvalidInputError
from compress.losses.masked_lm import IGNORED_LABEL
from compress.recipes.methods import Masking
from tests.conftest import tiny_config

FORMATS = ("segment-pairs", "sentence-pairs", "sentence-orders", "full-sentences", "doc-sentences")
DOCUMENTS = 26


@pytest.fixture(scope="module")
def sentences():
    """Every document has tokens of its own, 5 … 30, in sentences of 1 to 9 tokens."""
    generator = np.random.default_rng(0)
    counts = generator.integers(4, 12, DOCUMENTS)
    lengths = generator.integers(1, 10, counts.sum())
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    bounds = np.concatenate([[0], np.cumsum(counts)])
    documents = np.stack([bounds[:-1], bounds[1:]], axis=1)
    ids = np.repeat(np.arange(5, 5 + DOCUMENTS), np.diff(offsets[bounds])).astype(np.uint16)
    return Sentences(ids, offsets, documents)


def arranged(sentences, tokenizer, arrangement, **options):
    return arrange_sentences(
        sentences, tokenizer, arrangement=arrangement, **{"max_length": 32, "seed": 0} | options
    )


@pytest.mark.parametrize("kind", ["wordpiece", "byte-level", "sentencepiece"])
def test_a_pair_is_framed_as_its_tokenizer_frames_it(kinds, kind):
    """Guards a separator that is missing, or one where RoBERTa has two, and the wrong token types."""
    tokenizer = kinds[kind]
    texts = ("the film is lovely", "very very dull music")
    a, b = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts)
    ids = np.array([*a, *b])
    cut = [0, len(a)], [len(a), len(ids)]
    plan = Plan(np.array(cut[0]), np.array(cut[1]), np.array([0, 2]), np.array([1]))
    pairs = PlannedPairs(ids, plan, frame=read_pair_frame(tokenizer), label="next_sentence_label")
    expected = tokenizer(*texts)
    found = pairs[0]
    assert {name: rows[0] for name, rows in found.tokens.items()} == dict(expected)
    assert list(found.tokens) == list(expected)
    assert pairs.lengths.tolist() == [len(expected["input_ids"])]
    assert found.columns["next_sentence_label"].tolist() == [1]
    assert pairs.content(0).tolist() == ids.tolist()


def test_what_the_label_of_an_order_is_called(sentences, tokenizer):
    assert set(arranged(sentences, tokenizer, "sentence-orders")[0].columns) == {"sentence_order_label"}
    assert set(arranged(sentences, tokenizer, "sentence-pairs")[0].columns) == {"next_sentence_label"}


@pytest.mark.parametrize("arrangement", FORMATS)
def test_examples_are_as_long_as_they_say_and_no_longer_than_asked(sentences, tokenizer, arrangement):
    found = arranged(sentences, tokenizer, arrangement, copies=2)
    rows = found.__getitems__(list(range(len(found))))
    lengths = [len(text) for text in rows.tokens["input_ids"]]
    assert lengths == found.lengths.tolist()
    assert max(lengths) <= 32
    assert all(
        len(kinds) == length for kinds, length in zip(rows.tokens["token_type_ids"], lengths, strict=True)
    )
    assert list(rows.numbers) == list(range(len(found)))
    assert found.facts == {"corpus_sequences": len(found), "corpus_tokens": sum(lengths)}
    again = arranged(sentences, tokenizer, arrangement, copies=2)
    assert again.__getitems__([3, 1]).tokens == found.__getitems__([3, 1]).tokens


def test_documents_are_separated_where_they_meet(sentences, tokenizer):
    found = arranged(sentences, tokenizer, "full-sentences")
    separated = 0
    for row in range(len(found)):
        (text,) = found[row].tokens["input_ids"]
        assert text[0] == tokenizer.cls_token_id
        assert text[-1] == tokenizer.sep_token_id
        assert found[row].tokens["token_type_ids"] == [[0] * len(text)]
        inner = text[1:-1]
        for before, token, after in zip(inner, inner[1:], inner[2:], strict=False):
            assert token == tokenizer.sep_token_id or before in (token, tokenizer.sep_token_id)
            if token == tokenizer.sep_token_id:
                assert before != after
                separated += 1
        assert found.content(row).tolist() == [token for token in inner if token != tokenizer.sep_token_id]
    assert separated > 10
    assert len({len(set(found.content(row).tolist())) for row in range(len(found))}) > 1


@pytest.mark.parametrize("arrangement", ["segment-pairs", "full-sentences"])
def test_a_loader_takes_it_and_masks_are_reproducible(sentences, tokenizer, arrangement):
    found = arranged(sentences, tokenizer, arrangement)

    def batches():
        collate = MaskingCollator(tokenizer, Masking(), sequences=found, seed=0)
        sampler = BucketSampler(found.lengths, batch_size=8, seed=0, follower=collate)
        return list(DataLoader(found, batch_sampler=sampler, collate_fn=collate))

    first, second = batches(), batches()
    assert sum(len(batch["labels"]) for batch in first) == len(found)
    for one, two in zip(first, second, strict=True):
        assert one.keys() == two.keys()
        assert all(torch.equal(one[name], two[name]) for name in one)
        asked = one["labels"] != IGNORED_LABEL
        assert (one["labels"][asked] >= 5).all(), "special tokens are never asked for"


@pytest.mark.parametrize(
    ("arrangement", "family", "model"),
    [("segment-pairs", "bert", BertForPreTraining), ("sentence-orders", "albert", AlbertForPreTraining)],
)
def test_the_model_that_it_is_for_takes_it(sentences, tokenizer, arrangement, family, model):
    found = arranged(sentences, tokenizer, arrangement)
    batch = pad_rows(found.__getitems__(list(range(8))), tokenizer=tokenizer)
    batch["labels"] = batch["input_ids"]
    built = model(tiny_config(family, tokenizer)).eval()
    assert torch.isfinite(built(**batch).loss)


def test_tokens_are_counted_without_special_ones(sentences, tokenizer):
    found = arranged(sentences, tokenizer, "full-sentences")
    np.testing.assert_array_equal(count_tokens(found, 32), np.bincount(sentences.ids, minlength=32))


@pytest.mark.parametrize("arrangement", FORMATS)
def test_what_is_held_out_is_not_learned(sentences, tokenizer, arrangement):
    """Guards a random segment that was drawn from the other side."""
    rest, held = hold_out_documents(sentences, seed=0, share=0.3)
    seen = []
    for view in (rest, held):
        found = arranged(view, tokenizer, arrangement, copies=3)
        contents = [set(found.content(row).tolist()) for row in range(len(found))]
        seen.append(set().union(*contents))
    assert len(seen[0] & seen[1]) <= 1, "one document may have its beginning held out"
    assert len(seen[1]) > 3


def test_what_cannot_be_arranged(sentences, tokenizer):
    for arrangement in FORMATS:
        with pytest.raises(InvalidInputError, match="max_length"):
            arranged(sentences, tokenizer, arrangement, max_length=2)
    core = Tokenizer(models.WordLevel({"<unk>": 0, "<pad>": 1, "a": 2}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    plain = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", pad_token="<pad>")
    for arrangement in FORMATS:
        message = "between two texts" if arrangement in PAIRED else "separates documents"
        with pytest.raises(CompressError, match=message):
            arranged(sentences, plain, arrangement)
