"""Batches with hidden words: the same for everybody who asks for the same batch, others the next epoch."""

import numpy as np
import pytest
import torch

from compress.data.batching import BucketSampler, EpochDataLoader, Rows
from compress.data.masked_batches import MaskingCollator
from compress.data.sequences import Frame, Sequences
from compress.errors import InvalidInputError
from compress.losses.masked_lm import IGNORED_LABEL
from compress.recipes.methods import Masking

FRAME = Frame(before=(2,), after=(3,), inputs=("input_ids", "attention_mask"))


@pytest.fixture
def sequences():
    generator = np.random.default_rng(0)
    ids = generator.integers(5, 20, 600)
    return Sequences(ids, np.arange(0, 601, 20), np.arange(30), frame=FRAME)


def collator(tokenizer, sequences, *, seed=0, epoch=0, **masking):
    made = MaskingCollator(tokenizer, Masking(**masking), sequences=sequences, seed=seed)
    made.set_epoch(epoch)
    return made


def shown(collate, sequences, rows):
    return collate(sequences.__getitems__(rows))


@pytest.mark.parametrize("masking", [{}, {"smoothing": 0.7}, {"whole_words": True, "max_ngram": 3}])
def test_a_batch_is_decided_by_seed_epoch_and_rows(tokenizer, sequences, masking):
    rows = [3, 1, 7, 12]
    first = shown(collator(tokenizer, sequences, **masking), sequences, rows)
    for other, same in (
        (collator(tokenizer, sequences, **masking), True),
        (collator(tokenizer, sequences, epoch=1, **masking), False),
        (collator(tokenizer, sequences, seed=1, **masking), False),
    ):
        assert torch.equal(shown(other, sequences, rows)["labels"], first["labels"]) == same
    # What was asked before changes nothing: a resumed run asks for fewer batches.
    late = collator(tokenizer, sequences, **masking)
    shown(late, sequences, [5, 6])
    assert torch.equal(shown(late, sequences, rows)["input_ids"], first["input_ids"])


@pytest.mark.parametrize("masking", [{}, {"whole_words": True, "max_ngram": 3}])
def test_an_examples_masks_are_its_own(tokenizer, sequences, masking):
    """Whatever batch it is in, and whichever process has that batch; unless rare words are drawn over the batch."""
    collate = collator(tokenizer, sequences, **masking)
    together = shown(collate, sequences, [3, 1, 7, 12])
    alone = [shown(collate, sequences, [row]) for row in (3, 1, 7, 12)]
    for name in ("input_ids", "labels"):
        assert torch.equal(together[name], torch.cat([batch[name] for batch in alone]))


def test_an_example_that_the_tokenizer_does_not_know_is_left_alone(tokenizer, sequences):
    collate = collator(tokenizer, sequences)
    unknown = [2, *[tokenizer.unk_token_id] * 8, 3]
    rows = Rows(
        tokens={"input_ids": [unknown, [2, *range(5, 13), 3]], "attention_mask": [[1] * 10] * 2},
        columns={},
        numbers=[0, 1],
    )
    batch = collate(rows)
    assert batch["input_ids"][0].tolist() == unknown
    assert (batch["labels"][0] == IGNORED_LABEL).all()
    assert (batch["labels"][1] != IGNORED_LABEL).any()
    alone = Rows(tokens={name: [texts[0]] for name, texts in rows.tokens.items()}, columns={}, numbers=[0])
    with pytest.raises(InvalidInputError, match="nothing but special tokens"):
        collate(alone)


def test_who_helps_to_load_makes_the_same_batches(tokenizer, sequences):
    """Each epoch with its own masks, although the processes that make them are others than the one that is told."""

    def load(workers):
        collate = collator(tokenizer, sequences)
        sampler = BucketSampler(sequences.lengths, batch_size=4, seed=1, follower=collate)
        loader = EpochDataLoader(sequences, batch_sampler=sampler, collate_fn=collate, num_workers=workers)
        seen = []
        for epoch in (0, 1):
            loader.set_epoch(epoch)
            seen += [batch["labels"] for batch in loader]
        return seen

    alone, helped = load(0), load(2)
    assert len(alone) == len(helped) == 16
    assert all(torch.equal(a, b) for a, b in zip(alone, helped, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(alone[:8], alone[8:], strict=True))


def test_two_batches_of_an_epoch_hide_other_places(tokenizer, sequences):
    collate = collator(tokenizer, sequences, probability=0.5)
    hidden = [shown(collate, sequences, [row])["labels"] != IGNORED_LABEL for row in range(8)]
    assert len({tuple(places[0].tolist()) for places in hidden}) == 8


def test_labels_are_the_words_that_stood_there(tokenizer, sequences):
    collate = collator(tokenizer, sequences, probability=0.5)
    plain = sequences.__getitems__([0, 1])
    batch = collate(plain)
    asked = batch["labels"] != IGNORED_LABEL
    original = torch.tensor(plain.tokens["input_ids"])
    assert asked.any()
    assert torch.equal(batch["labels"][asked], original[asked])
    assert torch.equal(batch["input_ids"][~asked], original[~asked])
    assert not asked[:, [0, -1]].any()  # special tokens


def test_padding_is_never_hidden(tokenizer, sequences):
    collate = collator(tokenizer, sequences, probability=0.9)
    rows = Rows(
        tokens={"input_ids": [[2, *range(5, 15), 3], [2, 6, 3]], "attention_mask": [[1] * 12, [1] * 3]},
        columns={},
        numbers=[0, 1],
    )
    batch = collate(rows)
    padded = batch["attention_mask"] == 0
    assert padded.any()
    assert (batch["labels"][padded] == IGNORED_LABEL).all()
    assert (batch["input_ids"][padded] == tokenizer.pad_token_id).all()
