"""Pairs of segments: whose continuation, drawn how often, cut where. Statistical tests raise a false alarm once in a million seeds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from compress.data.pairing import (
    _truncate,
    plan_segment_pairs,
    plan_sentence_orders,
    plan_sentence_pairs,
)
from compress.errors import InvalidInputError

FALSE_ALARM = 1e-6
NEXT = (plan_segment_pairs, plan_sentence_pairs)
PAIRED = (*NEXT, plan_sentence_orders)


def table(documents):
    """Lengths of sentences by document → offsets and bounds."""
    lengths = [length for document in documents for length in document]
    bounds = np.concatenate([[0], np.cumsum([len(document) for document in documents])])
    return np.concatenate([[0], np.cumsum(lengths)]), np.stack([bounds[:-1], bounds[1:]], axis=1)


def homes(documents):
    """For each token the number of its document."""
    return np.repeat(np.arange(len(documents)), [sum(document) for document in documents])


def draw_documents(count, *, seed=0, sentences=(1, 30), tokens=(1, 40)):
    generator = np.random.default_rng(seed)
    sizes = generator.integers(*sentences, size=count)
    return [generator.integers(*tokens, size=size).tolist() for size in sizes]


def plan_of(plan, documents, *, seed=0, **options):
    return plan(*table(documents), generator=np.random.default_rng(seed), **options)


def ranges(plan):
    """Beginnings and ends of A and of B, each `[N]`."""
    return plan.begins[::2], plan.ends[::2], plan.begins[1::2], plan.ends[1::2]


def assert_share(hits, trials, share):
    assert stats.binomtest(int(hits), int(trials), share).pvalue > FALSE_ALARM


def assert_shares(counts, shares=None):
    expected = None if shares is None else np.asarray(shares) * np.sum(counts)
    assert stats.chisquare(counts, expected).pvalue > FALSE_ALARM


@pytest.mark.parametrize("plan", PAIRED)
@pytest.mark.parametrize("sentences", [(20, 60), (2, 5), (1, 4)])
def test_a_fair_coin_decides(plan, sentences):
    """Guards a share that documents of few sentences push up: it was 50 % only on long ones."""
    found = plan_of(plan, draw_documents(2500, sentences=sentences), room=60, copies=3)
    assert len(found) > 1000
    assert_share(found.labels.sum(), len(found), 0.5)


@pytest.mark.parametrize("plan", NEXT)
def test_a_label_says_where_the_second_segment_is_from(plan):
    documents = draw_documents(300)
    home = homes(documents)
    found = plan_of(plan, documents, room=50, copies=2)
    a, a_end, b, _ = ranges(found)
    other = home[a] != home[b]
    assert (other == (found.labels == 1)).all()
    follows = found.labels == 0
    assert (a_end[follows] <= b[follows]).all()
    whole = follows & (found.sizes < 50)  # nothing was taken from either
    assert whole.sum() > 20
    assert (a_end[whole] == b[whole]).all()


def test_orders_are_of_neighbours_and_half_of_them_are_swapped():
    documents = draw_documents(300)
    home = homes(documents)
    found = plan_of(plan_sentence_orders, documents, room=50, copies=2)
    a, a_end, b, b_end = ranges(found)
    assert (home[a] == home[b]).all()
    swapped = found.labels == 1
    assert (b_end[swapped] <= a[swapped]).all()
    assert (a_end[~swapped] <= b[~swapped]).all()
    whole = found.sizes < 50
    assert (b_end[swapped & whole] == a[swapped & whole]).all()
    assert (a_end[~swapped & whole] == b[~swapped & whole]).all()


tables = st.lists(st.lists(st.integers(1, 50), min_size=1, max_size=12), min_size=2, max_size=8)


@pytest.mark.parametrize("plan", PAIRED)
@settings(max_examples=60, deadline=None)
@given(documents=tables, room=st.integers(2, 70), copies=st.integers(1, 3), seed=st.integers(0, 99))
def test_segments_lie_within_documents_and_fit(plan, documents, room, copies, seed):
    documents = [*documents, [3, 4]]
    home = homes(documents)
    found = plan_of(plan, documents, room=room, copies=copies, seed=seed)
    assert found.offsets.tolist() == list(range(0, 2 * len(found) + 1, 2))
    assert (found.begins < found.ends).all()
    assert (home[found.begins] == home[found.ends - 1]).all()
    assert (found.sizes <= room).all()
    again = plan_of(plan, documents, room=room, copies=copies, seed=seed)
    for name in ("begins", "ends", "labels"):
        np.testing.assert_array_equal(getattr(found, name), getattr(again, name))


@pytest.mark.parametrize("plan", PAIRED)
def test_another_seed_and_another_copy_pair_otherwise(plan):
    documents = draw_documents(40, sentences=(10, 40))

    def pairs(**options):
        found = plan_of(plan, documents, room=60, **options)
        return set(zip(*(part.tolist() for part in ranges(found)), strict=True))

    one = pairs()
    assert len(one & pairs(seed=1)) < 0.7 * len(one)
    assert len(pairs(copies=4)) > 2 * len(one)


@pytest.mark.parametrize("plan", PAIRED)
@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=2, max_size=8), st.integers(0, 99))
def test_no_sentence_of_a_document_is_left_out(plan, counts, seed):
    """Of sentences of one token nothing is ever taken away."""
    documents = [[1] * count for count in [*counts, 2]]
    found = plan_of(plan, documents, room=7, seed=seed)
    own = np.ones(2 * len(found), dtype=bool)
    if plan in NEXT:
        own[1::2] = found.labels == 0
    seen = np.unique(
        np.concatenate([np.arange(b, e) for b, e in zip(found.begins[own], found.ends[own], strict=True)])
    )
    home = homes(documents)
    paired = [number for number, document in enumerate(documents) if len(document) > 1]
    assert seen.tolist() == np.flatnonzero(np.isin(home, paired)).tolist()


@pytest.mark.parametrize("plan", NEXT)
def test_a_document_of_one_sentence_is_a_random_second_segment_only(plan):
    documents = [[5], [4, 6, 3, 7] * 30, [8]]
    home = homes(documents)
    found = plan_of(plan, documents, room=40, copies=5)
    a, _, b, _ = ranges(found)
    assert set(home[a]) == {1}
    assert set(home[b[found.labels == 1]]) == {0, 2}


def test_random_segments_are_drawn_evenly_from_the_other_documents():
    """As published: every document as often, however long it is; within it every sentence as often."""
    counts = (40, 1, 3, 8, 20)
    documents = [[1] * count for count in counts]
    found = plan_of(plan_sentence_pairs, documents, room=10, copies=400)
    a, _, b, b_end = ranges(found)
    home = homes(documents)
    drawn = (found.labels == 1) & (home[a] == 0)
    assert (b_end[drawn] - b[drawn] == 1).all()
    assert_shares(np.bincount(home[b[drawn]], minlength=5)[1:])
    begins = np.concatenate([[0], np.cumsum(counts)])
    for number in (3, 4):
        within = b[drawn & (home[b] == number)] - begins[number]
        assert_shares(np.bincount(within, minlength=counts[number]))


def test_one_pair_in_ten_has_a_shorter_target():
    """Sentences of one token reach every target exactly: from 2 to the room, each as often; all others are full."""
    found = plan_of(plan_sentence_orders, [[1] * 300_000], room=20)
    sizes = np.bincount(found.sizes[:-2], minlength=21)[2:]  # the last ones meet the document's end
    shares = np.full(19, 0.1 / 19)
    shares[-1] += 0.9
    assert_shares(sizes, shares)
    assert (plan_of(plan_sentence_orders, [[1] * 2000], room=20, short_share=0.0).sizes == 20).all()


def test_the_first_segment_ends_after_any_sentence():
    found = plan_of(plan_sentence_orders, [[1] * 60_000], room=6, short_share=0.0)
    a, a_end, _, _ = ranges(found)
    first = np.where(found.labels == 0, a_end - a, 6 - (a_end - a))
    assert_shares(np.bincount(first, minlength=6)[1:])


@given(st.integers(1, 60), st.integers(1, 60), st.integers(2, 60))
def test_the_longer_segment_is_cut_as_published(first, second, room):
    sizes = [first, second]
    while sum(sizes) > room:
        sizes[0 if sizes[0] > sizes[1] else 1] -= 1
    a, b = np.array([[100], [100 + first]]), np.array([[500], [500 + second]])
    begin, end, begin_b, end_b = _truncate(a, b, room=room, generator=np.random.default_rng(0))
    assert [int(end[0] - begin[0]), int(end_b[0] - begin_b[0])] == sizes
    assert 100 <= begin[0] < end[0] <= 100 + first
    assert 500 <= begin_b[0] < end_b[0] <= 500 + second


def test_each_token_is_taken_from_the_front_or_the_back_at_random():
    a = np.tile([[0], [30]], 5000)
    b = np.tile([[30], [34]], 5000)
    begin, _, begin_b, end_b = _truncate(a, b, room=24, generator=np.random.default_rng(0))
    assert_share(begin.sum(), 10 * len(begin), 0.5)
    front = np.bincount(begin, minlength=11)
    assert_shares(
        front[2:9],
        stats.binom.pmf(np.arange(2, 9), 10, 0.5) / stats.binom.pmf(np.arange(2, 9), 10, 0.5).sum(),
    )
    assert (begin_b == 30).all()
    assert (end_b == 34).all()


def test_a_sentence_longer_than_the_room_is_cut_and_not_lost():
    found = plan_of(plan_sentence_orders, [[1000]], room=20, short_share=0.0)
    assert (found.sizes == 20).all()
    seen = np.concatenate([np.arange(b, e) for b, e in zip(found.begins, found.ends, strict=True)])
    assert sorted(seen) == list(range(1000))


def test_a_last_sentence_alone_is_first_or_second_by_the_coin():
    """Of three short sentences the last one is left where the first pair took two, or one and a random one twice."""
    documents = [[10, 10, 10]] * 2000
    found = plan_of(plan_segment_pairs, documents, room=20, short_share=0.0)
    a, _, b, _ = ranges(found)
    last_first = a % 30 == 20
    last_second = (found.labels == 0) & (b % 30 == 20) & (a % 30 == 10)
    assert last_first.sum() > 200
    assert last_second.sum() > 200
    assert (found.labels[last_first] == 1).all()


@pytest.mark.parametrize("plan", NEXT)
def test_next_sentences_take_two_documents(plan):
    for documents in ([[3, 4, 5]], [[3], [4]]):
        with pytest.raises(InvalidInputError, match="two documents, one of two sentences or more"):
            plan_of(plan, documents, room=20)


def test_orders_take_one_document_of_two_sentences():
    assert len(plan_of(plan_sentence_orders, [[3, 4, 5], [6]], room=50, short_share=0.0)) == 1
    with pytest.raises(InvalidInputError, match="of 1 document"):
        plan_of(plan_sentence_orders, [[3]], room=20)


@pytest.mark.parametrize("plan", PAIRED)
def test_what_no_pair_can_be_made_of(plan):
    with pytest.raises(InvalidInputError, match="no documents"):
        plan(np.zeros(1, int), np.zeros((0, 2), int), room=20, generator=np.random.default_rng(0))
    with pytest.raises(InvalidInputError, match="room for 1 token"):
        plan_of(plan, [[3, 4], [5, 6]], room=1)
