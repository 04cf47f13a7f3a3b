"""Packed sentences: every token once, whole sentences where they fit, no room wasted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.data.formats import Plan, cut_long_sentences, plan_doc_sentences, plan_full_sentences
from compress.errors import InvalidInputError
from tests.data.test_pairing import draw_documents, homes, plan_of, table

PACKED = (plan_full_sentences, plan_doc_sentences)
tables = st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=12), min_size=1, max_size=8)


def copies_of(plan, total):
    """The plan's examples by copy: parts that make up the corpus once."""
    done = np.cumsum(plan.ends - plan.begins)
    firsts = np.searchsorted(done[plan.offsets[1:] - 1], np.arange(total, done[-1] + 1, total))
    return np.split(np.arange(len(plan)), firsts[:-1] + 1)


def tokens_of(plan, rows):
    return [np.concatenate([np.arange(part.start, part.stop) for part in plan.parts(row)]) for row in rows]


@pytest.mark.parametrize("plan", PACKED)
@settings(max_examples=80, deadline=None)
@given(documents=tables, room=st.integers(1, 50), copies=st.integers(1, 3), seed=st.integers(0, 99))
def test_every_token_is_in_one_example_of_a_copy(plan, documents, room, copies, seed):
    home = homes(documents)
    found = plan_of(plan, documents, room=room, copies=copies, seed=seed)
    groups = copies_of(found, len(home))
    assert len(groups) == copies
    for rows in groups:
        assert sorted(np.concatenate(tokens_of(found, rows))) == list(range(len(home)))
    separators = np.diff(found.offsets) - 1
    assert (found.sizes + separators <= room).all()
    assert (home[found.begins] == home[found.ends - 1]).all()
    if plan is plan_doc_sentences:
        assert (separators == 0).all()
    again = plan_of(plan, documents, room=room, copies=copies, seed=seed)
    np.testing.assert_array_equal(found.begins, again.begins)


@pytest.mark.parametrize("plan", PACKED)
@settings(max_examples=80, deadline=None)
@given(documents=tables, room=st.integers(30, 60))
def test_sentences_stay_whole_and_no_example_has_room_for_the_next(plan, documents, room):
    offsets, _ = table(documents)
    home = homes(documents)
    found = plan_of(plan, documents, room=room)
    assert np.isin(found.begins, offsets).all()
    assert np.isin(found.ends, offsets).all()
    for row in range(len(found) - 1):
        last, following = found.parts(row)[-1].stop, found.parts(row + 1)[0].start
        assert last == following, "the first copy is in the corpus's order"
        apart = home[last - 1] != home[following]
        if plan is plan_doc_sentences and apart:
            continue
        size = found.sizes[row] + found.offsets[row + 1] - found.offsets[row] - 1
        sentence = offsets[np.searchsorted(offsets, following) + 1] - following
        assert size + apart + sentence > room


def test_documents_are_parted_by_a_separator_only_within_an_example():
    found = plan_of(plan_full_sentences, [[4, 4], [2], [5, 5]], room=11)
    # 8 tokens, a separator, 2 tokens fill the room; the next document begins an example of its own.
    assert found.begins.tolist() == [0, 8, 10]
    assert found.ends.tolist() == [8, 10, 20]
    assert found.offsets.tolist() == [0, 2, 3]


def test_a_separator_takes_room():
    found = plan_of(plan_full_sentences, [[5], [5]], room=10)
    assert found.offsets.tolist() == [0, 1, 2]


def test_long_sentences_are_cut():
    offsets, documents = table([[3, 25], [40, 2]])
    cut, bounds = cut_long_sentences(offsets, documents, longest=20, size=10)
    assert np.diff(cut).tolist() == [3, 10, 10, 5, 10, 10, 10, 10, 2]
    assert bounds.tolist() == [[0, 4], [4, 9]]
    same, _ = cut_long_sentences(offsets, documents, longest=40, size=10)
    assert same is offsets


@pytest.mark.parametrize("plan", PACKED)
def test_a_view_of_some_documents_has_no_tokens_of_the_others(plan):
    offsets, documents = table([[5, 5], [6, 6, 6], [7], [8, 8]])
    found = plan(offsets, documents[[3, 1]], room=20, copies=2, generator=np.random.default_rng(0))
    tokens = np.concatenate(tokens_of(found, range(len(found))))
    assert set(tokens) == {*range(10, 28), *range(35, 51)}


@pytest.mark.parametrize("plan", PACKED)
def test_copies_are_cut_otherwise(plan):
    documents = draw_documents(60, sentences=(10, 40))
    total = len(homes(documents))
    found = plan_of(plan, documents, room=125, copies=4)
    kinds = [{tuple(tokens) for tokens in tokens_of(found, rows)} for rows in copies_of(found, total)]
    for other in kinds[1:]:
        assert len(kinds[0] & other) < 0.75 * len(kinds[0])
    counts = [len(rows) for rows in copies_of(found, total)]
    assert max(counts) < 1.15 * counts[0], "another cut takes few more examples"


def test_one_document_is_cut_otherwise_too():
    found = plan_of(plan_full_sentences, [[7] * 300], room=50, copies=2)
    first, second = copies_of(found, 2100)
    assert found.sizes[first[0]] == 49
    assert len(second) <= len(first) + 1


def test_full_sentences_leave_little_room_unused():
    documents = draw_documents(300)
    full = plan_of(plan_full_sentences, documents, room=126)
    doc = plan_of(plan_doc_sentences, documents, room=126)
    unused = [1 - plan.sizes.sum() / (126 * len(plan)) for plan in (full, doc)]
    assert unused[0] < 0.12
    assert unused[0] < unused[1]


@pytest.mark.parametrize("plan", PACKED)
def test_what_nothing_can_be_packed_of(plan):
    with pytest.raises(InvalidInputError, match="no documents"):
        plan(np.zeros(1, int), np.zeros((0, 2), int), room=20, generator=np.random.default_rng(0))
    with pytest.raises(InvalidInputError, match="room for 0 token"):
        plan_of(plan, [[3, 4]], room=0)


def test_parts_of_an_example_are_its_ranges():
    plan = Plan(begins=np.array([0, 8, 10]), ends=np.array([8, 10, 20]), offsets=np.array([0, 2, 3]))
    assert len(plan) == 2
    assert plan.sizes.tolist() == [10, 10]
    assert plan.parts(0) == [slice(0, 8), slice(8, 10)]
