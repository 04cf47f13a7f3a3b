"""Which words are replaced, how often, and what becomes of the copies: no models."""

import re
from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError

from compress.data.augmentation import (
    augment_rows,
    augment_text,
    draw_replacements,
    enlarge,
    find_words,
)
from compress.data.task_data import Split
from compress.recipes.methods import Augmentation

OPTIONS = ("kiwi", "lemon", "mango", "grape")
LINE = "Dull   plots, stale jokes: the WITTY heroine (aged 12) doesn't laugh once-more -- café, mp3s!"
MANY = " ".join(f"{a}{b}{c}" for a in "bdfgk" for b in "oaui" for c in "lpx")


class Fruit:
    """Gives the same candidates everywhere, and remembers for which words it was asked."""

    kind = "embeddings"

    def __init__(self, options=OPTIONS):
        self.options = options
        self.asked = []

    def find(self, texts, words):
        self.asked += [
            (text, {word.text for word in some.values()}) for text, some in zip(texts, words, strict=True)
        ]
        return [dict.fromkeys(some, self.options) for some in words]


def copies_of(texts, *, copies=20, seed=0, first=0, source=None, **changes):
    return augment_rows(
        texts,
        Augmentation(**changes),
        copies=copies,
        first=first,
        seed=seed,
        candidates=source or Fruit(),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("the film is a triumph of taste", ["film", "triumph", "taste"]),
        ("It WAS The Movie", ["movie"]),
        ("I don't know , he 's sure we ca n't", ["know", "sure"]),
        ("they won’t act; actors didn't", ["act", "actors"]),
        ("café mp3 naïve x_y 2nd résumé cafe\u0301 film", ["film"]),
        ("well-made 'quoted' end.", ["quoted", "end"]),
        ("does doing having theirs just", []),
        ("...", []),
        ("", []),
    ],
)
def test_stop_words_and_words_not_of_a_to_z_are_never_replaced(text, words):
    found = [word.text for word in find_words(text)]
    assert [word for word in found if word != "made"] == words


def test_what_is_no_word_stays_as_it_is():
    texts, _ = copies_of([LINE], copies=200)
    words = [text for text, _ in ((LINE[word.start : word.end], word) for word in find_words(LINE))]
    assert words == ["Dull", "plots", "stale", "jokes", "WITTY", "heroine", "aged", "laugh"]
    pattern = re.escape(LINE)
    for word in words:
        pattern = pattern.replace(word, "([A-Za-z]+)", 1)
    assert len(texts) > 150
    assert all(re.fullmatch(pattern, text) for text in texts)


def test_a_capital_at_the_beginning_is_kept():
    texts, _ = copies_of(["Dull jokes"], replace_probability=1.0)
    assert set(texts) <= {f"{first.capitalize()} {second}" for first in OPTIONS for second in OPTIONS}
    assert len(texts) > 5


@pytest.mark.parametrize("probability", [0.2, 0.4, 0.9])
def test_each_word_is_replaced_with_the_probability(probability):
    """Guards a word that may be replaced by itself, or one drawn again until something changes."""
    words = MANY.split()
    texts, _ = copies_of([MANY], copies=300, replace_probability=probability)
    changed = np.array([[new != old for new, old in zip(text.split(), words, strict=True)] for text in texts])
    assert len(texts) == 300  # nothing was lost to duplicates, so nothing is biased
    deviation = np.sqrt(probability * (1 - probability) / changed.size)
    assert abs(changed.mean() - probability) < 4 * deviation
    assert abs(np.corrcoef(changed[:, 0], changed[:, 1])[0, 1]) < 4 / np.sqrt(300)


def test_all_candidates_are_as_likely():
    texts, _ = copies_of([MANY], copies=300, replace_probability=1.0)
    counts = Counter(" ".join(texts).split())
    total = sum(counts.values())
    assert counts.keys() == set(OPTIONS)
    assert all(abs(count / total - 1 / 4) < 4 * np.sqrt(3 / 16 / total) for count in counts.values())


def test_a_word_without_candidates_stays():
    words = find_words("grim scenes")
    draws = draw_replacements(2, copies=5, probability=1.0, generator=np.random.default_rng(0))
    assert augment_text("grim scenes", words, {1: ("plots",)}, draws) == ["grim plots"]
    assert augment_text("grim scenes", words, {0: ()}, draws) == []


def test_copies_of_a_row_are_distinct_and_none_is_the_original():
    texts, origin = copies_of(["grim film", "the"], copies=2000)
    one_or_both = {f"{a} {b}" for a in ("grim", *OPTIONS) for b in ("film", *OPTIONS)} - {"grim film"}
    assert Counter(texts) == Counter(one_or_both)
    assert origin.tolist() == [0] * len(one_or_both)
    texts, _ = copies_of(["grim film"], source=Fruit(("film", "grim")), copies=100)
    assert sorted(texts) == ["film film", "film grim", "grim grim"]


def test_pairs_vary_one_side_at_a_time_against_the_original_of_the_other():
    """Guards the published code's slip, which sets the last copy of one side beside those of the other."""
    pairs = [("a grim film", "stale jokes fall flat"), ("warm music", "the")]
    texts, origin = copies_of(pairs, copies=30)
    for (left, right), row in zip(texts, origin, strict=True):
        assert (left == pairs[row][0]) != (right == pairs[row][1])
    sides = Counter((int(row), left != pairs[row][0]) for (left, _), row in zip(texts, origin, strict=True))
    assert sides[0, True] > 10
    assert sides[0, False] > 20
    assert max(sides.values()) <= 30
    assert (1, False) not in sides


def test_only_words_that_are_drawn_are_asked_about():
    """Guards passes of a model for words that no copy replaces."""
    source = Fruit()
    texts, _ = copies_of([MANY], copies=1, source=source)
    replaced = {old for old, new in zip(MANY.split(), texts[0].split(), strict=True) if old != new}
    assert source.asked == [(MANY, replaced)]
    assert 10 < len(replaced) < 40


def test_a_row_is_the_same_whatever_is_augmented_beside_it():
    rows = ["grim film", "warm music", "stale jokes fall flat", "bright tender story"]
    texts, origin = copies_of(rows)
    parts = [copies_of([row], first=number) for number, row in enumerate(rows)]
    assert texts == [text for part, _ in parts for text in part]
    assert origin.tolist() == [row for _, part in parts for row in part.tolist()]
    assert copies_of([rows[0]], first=0)[0] != copies_of([rows[0]], first=1)[0]


def test_the_seed_decides():
    assert copies_of([MANY], seed=3)[0] == copies_of([MANY], seed=3)[0]
    assert not set(copies_of([MANY], seed=3)[0]) & set(copies_of([MANY], seed=4)[0])


def test_originals_stay_in_order_and_copies_follow_with_their_origins_labels():
    train = Split("train", ["good", "bad", "good"], np.array([1, 2, 0]))
    whole = enlarge(train, ["fine", "poor", "bad", "fine", "meh"], np.array([0, 2, 2, 1, 2]))
    assert whole.split.texts == ["good", "bad", "good", "fine", "poor", "meh"]
    assert whole.origin.tolist() == [0, 1, 2, 0, 2, 2]
    assert whole.origin.dtype == np.int64
    assert whole.split.labels.tolist() == [1, 2, 0, 1, 0, 0]
    assert whole.split.name == "train"
    assert whole.duplicates == 2  # another row's original, and another row's copy


def test_a_split_without_copies_is_itself():
    train = Split("train", [("a", "b")], np.array([0.5]))
    whole = enlarge(train, [], np.array([], dtype=np.int64))
    assert whole.split.texts == train.texts
    assert whole.origin.tolist() == [0]


def test_the_published_numbers():
    recipe = Augmentation()
    published = {"mnli": 10, "qqp": 10, "cola": 30, "mrpc": 30, "rte": 30, "stsb": 30, "sst2": 20, "qnli": 20}
    assert {task: recipe.copies_on(task) for task in published} == published
    assert recipe.copies_on("reviews") == recipe.copies == 20
    assert (recipe.replace_probability, recipe.candidates, recipe.min_confidence) == (0.4, 15, None)


@pytest.mark.parametrize(
    "field",
    [
        {"copies": -1},
        {"copies": "20"},
        {"copies_for": {"sst2": 2.0}},
        {"replace_probability": 0.0},
        {"replace_probability": 1.1},
        {"candidates": 0},
        {"min_confidence": 1.5},
        {"copy": 3},
    ],
)
def test_a_recipe_refuses_what_makes_no_sense(field):
    with pytest.raises(ValidationError):
        Augmentation(**field)
