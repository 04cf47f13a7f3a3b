"""Batches are a pure function of (seed, epoch, lengths, batch size)."""

import random

import numpy as np
import torch
from accelerate.data_loader import skip_first_batches
from hypothesis import given
from hypothesis import strategies as st

from compress.data.batching import (
    BucketSampler,
    EpochDataLoader,
    bucket_by_length,
    bucket_by_tokens,
    sort_by_length,
)

lengths_of = st.lists(st.integers(1, 60), min_size=1, max_size=400)
sizes = st.integers(1, 33)


@given(lengths_of, sizes, st.integers(0, 3), st.integers(0, 3))
def test_every_example_once_and_one_short_batch_at_the_most(lengths, size, seed, epoch):
    batches = bucket_by_length(lengths, batch_size=size, seed=seed, epoch=epoch)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert sum(len(batch) < size for batch in batches) <= 1


def test_pure_and_apart_by_seed_and_epoch():
    lengths = np.random.default_rng(0).integers(1, 60, 500).tolist()
    first = bucket_by_length(lengths, batch_size=8, seed=1, epoch=0)
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    assert bucket_by_length(lengths, batch_size=8, seed=1, epoch=0) == first
    assert bucket_by_length(lengths, batch_size=8, seed=1, epoch=1) != first
    assert bucket_by_length(lengths, batch_size=8, seed=2, epoch=0) != first


def test_draws_nothing_from_the_global_random_states():
    """Guards a sampler that would make a resumed run differ: it must leave the global states as they were."""
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    list(BucketSampler([3, 1, 2] * 20, batch_size=4, seed=0))
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before


def test_less_padding_than_random_batches():
    lengths = np.random.default_rng(0).integers(1, 60, 4000)
    bucketed = bucket_by_length(lengths.tolist(), batch_size=32, seed=0, epoch=0)
    order = np.random.default_rng(1).permutation(4000)
    plain = [order[i : i + 32] for i in range(0, 4000, 32)]

    def padded(batches):
        return sum(len(batch) * max(lengths[row] for row in batch) for batch in batches)

    assert padded(bucketed) < 1.1 * lengths.sum() < padded(plain)


@given(lengths_of, st.integers(2, 33), st.integers(1, 3))
def test_ranks_share_each_global_batch(lengths, size, world):
    whole = bucket_by_length(lengths, batch_size=size, seed=0, epoch=0)
    shares = [
        list(BucketSampler(lengths, batch_size=size, seed=0, rank=r, world_size=world)) for r in range(world)
    ]
    assert {len(share) for share in shares} == {len(whole)}
    for number, batch in enumerate(whole):
        assert set(batch) == {row for share in shares for row in share[number]}


def test_a_resumed_epoch_goes_on_where_it_was():
    """Guards the resumed epoch: Trainer skips batches, then sets the epoch, which must reach our sampler."""
    sampler = BucketSampler(list(range(1, 41)), batch_size=4, seed=0)
    loader = EpochDataLoader(list(range(40)), batch_sampler=sampler, collate_fn=list)
    loader.set_epoch(2)
    undisturbed = list(loader)
    resumed = skip_first_batches(EpochDataLoader(list(range(40)), batch_sampler=sampler, collate_fn=list), 3)
    resumed.batch_sampler.batch_sampler.set_epoch(2)
    assert list(resumed) == undisturbed[3:]


@given(lengths_of, sizes)
def test_sorted_batches_for_predictions(lengths, size):
    batches = sort_by_length(lengths, batch_size=size)
    order = [row for batch in batches for row in batch]
    assert sorted(order) == list(range(len(lengths)))
    assert [lengths[row] for row in order] == sorted(lengths)


def test_whoever_follows_is_told_of_an_epoch_that_begins_in_its_middle():
    """Guards masks of the first epoch in a resumed later one: the loader's own word stops at its wrapper."""

    class Drawing:
        epoch = 0

        def set_epoch(self, epoch):
            self.epoch = epoch

        def __call__(self, rows):
            return rows

    drawing = Drawing()
    sampler = BucketSampler([1] * 40, batch_size=4, seed=0, follower=drawing)
    resumed = skip_first_batches(
        EpochDataLoader(list(range(40)), batch_sampler=sampler, collate_fn=drawing), 3
    )
    resumed.batch_sampler.batch_sampler.set_epoch(2)  # as `transformers.Trainer` does
    assert drawing.epoch == 2
    EpochDataLoader(list(range(40)), batch_sampler=sampler, collate_fn=drawing).set_epoch(3)
    assert (drawing.epoch, sampler.epoch) == (3, 3)
    BucketSampler([1] * 4, batch_size=4, seed=0, follower=list).set_epoch(1)  # it draws nothing


@given(lengths_of, st.integers(1, 400), st.integers(0, 3), st.integers(0, 3))
def test_batches_of_equal_tokens_hold_every_example_once_and_keep_within(lengths, tokens, seed, epoch):
    batches = bucket_by_tokens(lengths, batch_tokens=tokens, seed=seed, epoch=epoch)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    padded = [len(batch) * max(lengths[row] for row in batch) for batch in batches]
    assert all(size <= tokens or len(batch) == 1 for size, batch in zip(padded, batches, strict=True))
    assert bucket_by_tokens(lengths, batch_tokens=tokens, seed=seed, epoch=epoch) == batches


def test_short_examples_come_in_larger_batches():
    lengths = np.random.default_rng(0).integers(4, 128, 4000)
    batches = bucket_by_tokens(lengths, batch_tokens=2048, seed=0, epoch=0)
    tokens = np.array([lengths[batch].sum() for batch in batches])
    assert np.mean(tokens > 0.85 * 2048) > 0.95
    assert max(map(len, batches)) > 10 * min(map(len, batches))
    other = bucket_by_tokens(lengths, batch_tokens=2048, seed=0, epoch=1)
    assert other != batches
    assert sorted(map(len, other)) == sorted(map(len, batches))


def test_a_sampler_of_equal_tokens_counts_its_batches_beforehand():
    lengths = np.random.default_rng(0).integers(4, 128, 500)
    sampler = BucketSampler(lengths, batch_size=16, batch_tokens=2048, seed=0)
    epochs = []
    for epoch in (0, 1):
        sampler.set_epoch(epoch)
        epochs.append(list(sampler))
    assert len(epochs[0]) == len(epochs[1]) == len(sampler)
    assert len(sampler) < len(BucketSampler(lengths, batch_size=16, seed=0))
    shares = [
        list(BucketSampler(lengths, batch_size=16, batch_tokens=2048, seed=0, rank=rank, world_size=2))
        for rank in (0, 1)
    ]
    assert all(sorted(a + b) == sorted(whole) for a, b, whole in zip(*shares, epochs[0], strict=True))
