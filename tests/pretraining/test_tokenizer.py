"""Trained tokenizers: each family's own form, the same file each time, no text lost that its form can hold."""

import json
import logging
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from transformers import (
    AlbertConfig,
    AlbertTokenizer,
    AutoTokenizer,
    BertConfig,
    BertTokenizer,
    ElectraConfig,
    RobertaConfig,
    RobertaTokenizer,
)

from compress.cleaning import delete_cache
from compress.data.corpus import Corpus, resolve_corpus
from compress.data.masking import read_vocabulary
from compress.errors import InvalidInputError
from compress.pretraining.tokenizer import (
    ASCII,
    TRAINERS,
    choose_alphabet,
    rank_pieces,
    tokenizer_key,
    train_tokenizer,
)
from compress.recipes.pretraining import TokenizerRecipe, usual_pretraining
from compress.runs import TOKENIZER_CACHE

KINDS = ("wordpiece", "unigram", "byte-bpe")
FOREIGN = "Café naïve façade, “quoted” – déjà vu; straße, 東京 and 北京. " * 12
TEXT = "The Café's first story was unbelievably 東京-like, wasn't it? E=mc² 😀"


def sample_documents():
    documents = []
    for document in resolve_corpus("sample").documents():
        documents.append(document)
        if sum(map(len, documents)) > 50_000:
            return [*documents, FOREIGN]
    raise AssertionError


def corpus_of(documents, fingerprint="f"):
    return Corpus("mine", "mine", fingerprint, lambda: iter(documents))


def recipe_of(kind, vocab_size=700, *, lowercase=None):
    return TokenizerRecipe(
        kind=kind, vocab_size=vocab_size, lowercase=kind != "byte-bpe" if lowercase is None else lowercase
    )


@pytest.fixture(scope="module")
def corpus():
    return corpus_of(sample_documents())


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    """Kind → a tokenizer of 700 pieces and the directory that it lies in."""
    found = {}
    for kind in KINDS:
        store = tmp_path_factory.mktemp(kind)
        tokenizer = train_tokenizer(corpus, recipe_of(kind), store=store)
        (folder,) = (store / TOKENIZER_CACHE).iterdir()
        found[kind] = (tokenizer, folder)
    return found


SPECIAL = {
    "wordpiece": (BertTokenizer, {"pad": ("[PAD]", 0), "unk": ("[UNK]", 1), "mask": ("[MASK]", 4)}),
    "unigram": (AlbertTokenizer, {"pad": ("<pad>", 0), "unk": ("<unk>", 1), "mask": ("[MASK]", 4)}),
    "byte-bpe": (RobertaTokenizer, {"pad": ("<pad>", 1), "unk": ("<unk>", 3), "mask": ("<mask>", 699)}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_are_where_the_family_has_them(trained, kind):
    tokenizer, _ = trained[kind]
    family, special = SPECIAL[kind]
    begin, end = (("<s>", 0), ("</s>", 2)) if kind == "byte-bpe" else (("[CLS]", 2), ("[SEP]", 3))
    assert type(tokenizer) is family
    assert len(tokenizer) == tokenizer.vocab_size == 700
    for name, expected in {**special, "cls": begin, "sep": end}.items():
        assert (getattr(tokenizer, f"{name}_token"), getattr(tokenizer, f"{name}_token_id")) == expected
    assert len(set(tokenizer.all_special_ids)) == 5


@pytest.mark.parametrize("kind", KINDS)
def test_a_pair_has_the_familys_template(trained, kind):
    """Guards a sentence pair whose halves a model cannot tell apart: the class of ALBERT alone drops token types."""
    tokenizer, _ = trained[kind]
    a, b = (tokenizer("so " + word, add_special_tokens=False)["input_ids"] for word in ("it was", "they say"))
    pair = tokenizer("so it was", "so they say")
    begin, end = tokenizer.cls_token_id, tokenizer.sep_token_id
    if kind == "byte-bpe":
        assert dict(pair) == {
            "input_ids": [begin, *a, end, end, *b, end],
            "attention_mask": [1] * (len(a) + len(b) + 4),
        }
    else:
        assert set(pair) == {"input_ids", "token_type_ids", "attention_mask"}
        assert pair["input_ids"] == [begin, *a, end, *b, end]
        assert pair["token_type_ids"] == [0] * (len(a) + 2) + [1] * (len(b) + 1)
    assert tokenizer("so it was")["input_ids"] == [begin, *a, end]


@pytest.mark.parametrize("kind", KINDS)
def test_everything_but_the_vocabulary_is_as_the_class_in_transformers_makes_it(trained, kind):
    tokenizer, _ = trained[kind]
    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    model = parts["model"]
    if kind == "byte-bpe":
        whole = RobertaTokenizer(vocab=model["vocab"], merges=[tuple(merge) for merge in model["merges"]])
    else:
        whole = SPECIAL[kind][0](
            vocab=model["vocab"] if kind == "wordpiece" else list(map(tuple, model["vocab"]))
        )
    expected = json.loads(whole.backend_tokenizer.to_str())
    expected["added_tokens"][-1]["lstrip"] = kind != "wordpiece"
    assert parts == expected


@pytest.mark.parametrize("kind", ["unigram", "byte-bpe"])
def test_the_mask_takes_the_space_on_its_left(trained, kind):
    tokenizer, _ = trained[kind]
    so, it, masked = (
        tokenizer(text, add_special_tokens=False)["input_ids"]
        for text in ("so", " it", f"so {tokenizer.mask_token} it")
    )
    assert masked == [*so, tokenizer.mask_token_id, *it]


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("wordpiece", BertConfig()),
        ("wordpiece", ElectraConfig()),
        ("unigram", AlbertConfig()),
        ("byte-bpe", RobertaConfig()),
    ],
    ids=lambda part: getattr(part, "model_type", part),
)
def test_what_is_saved_loads_to_the_same(trained, tmp_path, kind, config):
    """Guards a class that builds itself anew on loading, without what is in the file."""
    tokenizer, _ = trained[kind]
    tokenizer.save_pretrained(tmp_path / "a")
    config.save_pretrained(tmp_path / "a")
    loaded = AutoTokenizer.from_pretrained(tmp_path / "a")
    loaded.save_pretrained(tmp_path / "b")
    assert type(loaded) is type(tokenizer)
    assert {file.name for file in (tmp_path / "b").iterdir()} == {"tokenizer.json", "tokenizer_config.json"}
    assert (tmp_path / "a" / "tokenizer.json").read_bytes() == (
        tmp_path / "b" / "tokenizer.json"
    ).read_bytes()
    texts = (TEXT, f"so {tokenizer.mask_token} it")
    assert dict(loaded(*texts)) == dict(tokenizer(*texts))
    assert loaded.decode(loaded(TEXT)["input_ids"]) == tokenizer.decode(tokenizer(TEXT)["input_ids"])


@pytest.mark.parametrize("kind", KINDS)
def test_case_and_accents_stay_where_they_are_meant_to(tmp_path, kind):
    found = train_tokenizer(
        corpus_of([FOREIGN, *["É Ö Café"] * 9]), recipe_of(kind, 400, lowercase=False), store=tmp_path
    )
    assert found.decode(found("Café É")["input_ids"], skip_special_tokens=True) == "Café É"
    (folder,) = (tmp_path / TOKENIZER_CACHE).iterdir()
    assert AutoTokenizer.from_pretrained(folder).tokenize("Café É") == found.tokenize("Café É")


TRAIN = """
import sys
from pathlib import Path
from tests.pretraining.test_tokenizer import KINDS, TRAINERS, corpus_of, recipe_of, sample_documents
for kind in KINDS:
    tokenizer = TRAINERS[kind](corpus_of(sample_documents()), recipe_of(kind))
    tokenizer.save_pretrained(Path(sys.argv[1]) / kind)
"""


def test_the_same_corpus_gives_the_same_bytes_whatever_the_threads(trained, corpus, tmp_path):
    """Guards ties that the trainers break by the order of a hash table, another one in each process and each time."""
    root = Path(__file__).parents[2]
    threads = {"RAYON_NUM_THREADS": "3", "TOKENIZERS_PARALLELISM": "true", "PYTHONPATH": str(root)}
    subprocess.run([sys.executable, "-c", TRAIN, tmp_path], env=os.environ | threads, check=True, cwd=root)
    for kind in KINDS:
        expected = (trained[kind][1] / "tokenizer.json").read_bytes()
        assert (tmp_path / kind / "tokenizer.json").read_bytes() == expected
        TRAINERS[kind](corpus, recipe_of(kind)).save_pretrained(tmp_path / "again")
        assert (tmp_path / "again" / "tokenizer.json").read_bytes() == expected


def test_a_unigram_vocabulary_has_no_chance_in_it():
    """Guards characters that the trainer gives the least score plus a step, in the order of a hash table."""
    trained = {"▁a": -1.0, "▁": -2.00004, "ab": -2.00001, "b": -5.0002, "c": -5.0, "d": -5.0001, "e": -3.0}
    swapped = trained | {"b": -5.0, "c": -5.0001, "d": -5.0002, "▁": -2.00004 + 1e-14}
    characters = {"▁", "b", "c", "d", "e", "z"}
    found = rank_pieces(trained, characters, room=8)
    assert found == rank_pieces(dict(reversed(swapped.items())), characters, room=8)
    assert [piece for piece, _ in found] == ["▁a", "ab", "▁", "e", "b", "c", "d", "z"]
    assert [piece for piece, _ in rank_pieces(trained, characters, room=7)] == [
        *("▁a", "▁", "e"),
        *("b", "c", "d", "z"),
    ]


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
WRITTEN = st.lists(
    st.sampled_from(
        [
            "the",
            "Café",
            " ",
            "\n",
            "é",
            "e\u0301",
            "東京",
            "😀",
            "'s",
            "don't",
            "``",
            "''",
            "###",
            "▁",
            "\x00",
        ]
    ),
    max_size=12,
).map("".join)
RESERVED = re.compile(r"\[(PAD|UNK|CLS|SEP|MASK)\]|<(pad|unk|s|/s|mask)>")
PROSE = (ANY_TEXT | WRITTEN).filter(lambda text: not RESERVED.search(text))
"""Without the names of special tokens, which every tokenizer of `transformers` reads as these."""


@settings(max_examples=150, deadline=None)
@given(text=PROSE)
@example(text="👩‍👩‍👧 e\u0301\u200d\ufeff\x00\x1f\r\n\t  \u3000 Ġ ▁ ##a �")
def test_bytes_give_the_very_text_back(trained, text):
    tokenizer, _ = trained["byte-bpe"]
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
@settings(max_examples=150, deadline=None)
@given(text=PROSE)
@example(text="x" * 101 + " the " + "y" * 100)
@example(text="the\u0301 ŒUVRE ½ ﬁ Ⅷ İ ß 東 ▁a▁ b😀😀c")
def test_what_the_alphabet_holds_is_never_lost(trained, kind, text):
    """Every word comes back as normalization leaves it; only characters outside the alphabet are unknown."""
    tokenizer, _ = trained[kind]
    core = tokenizer.backend_tokenizer
    alphabet = "".join(re.escape(piece) for piece in tokenizer.get_vocab() if len(piece) == 1)
    words = [word for word, _ in core.pre_tokenizer.pre_tokenize_str(core.normalizer.normalize_str(text))]
    if kind == "unigram":
        expected = "".join(re.sub(f"[^{alphabet}]+", "<unk>", word) for word in words).replace("▁", "")
    else:  # a word is known or not
        known = re.compile(f"[{alphabet}]{{1,100}}")
        expected = "".join(word if known.fullmatch(word) else "[UNK]" for word in words)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    tokens = tokenizer.convert_ids_to_tokens(ids)
    assert "".join(token.removeprefix("##").replace("▁", "") for token in tokens) == expected
    assert "".join(tokenizer.decode(ids).split()) == "".join(expected.split())


@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
def test_hardly_anything_of_its_own_corpus_is_unknown(trained, corpus, kind):
    tokenizer, _ = trained[kind]
    ids = [i for text in corpus.documents() for i in tokenizer(text, verbose=False)["input_ids"]]
    assert ids.count(tokenizer.unk_token_id) < 0.001 * len(ids)
    assert tokenizer.unk_token not in tokenizer.tokenize(ASCII)


@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
def test_no_piece_holds_letters_and_punctuation(trained, kind):
    """Guards `life.` beside `life`: a vocabulary of 30,000 would be full of them."""
    pieces = {piece.removeprefix("##").strip("▁") for piece in trained[kind][0].get_vocab()}
    pieces -= set(trained[kind][0].all_special_tokens)
    assert not [piece for piece in pieces if re.search(r"[^\W_]", piece) and not piece.isalnum()]
    assert len([piece for piece in pieces if piece.isalpha()]) > 400


def test_an_alphabet_covers_its_text():
    counts = {"a": 90_000, "é": 9_989, "b": 6, "z": 4, "c": 1, " ": 50_000, "\x00": 70_000, "\u200d": 9_000}
    assert choose_alphabet(counts) == ["a", "b", "é"]
    assert choose_alphabet(counts, always="zA") == ["A", "a", "b", "z", "é"]
    assert choose_alphabet({"b": 1, "a": 1}) == ["a", "b"]
    tie = {"x": 99_989, "c": 5, "b": 5, "a": 5}
    assert choose_alphabet(tie) == choose_alphabet(dict(reversed(tie.items()))) == ["a", "x"]


@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
def test_a_rare_character_is_unknown_and_its_neighbours_are_not(tmp_path, kind):
    documents = ["the quick brown fox jumps over it " * 400, "the 龘 fox"]
    found = train_tokenizer(corpus_of(documents), recipe_of(kind, 200), store=tmp_path)
    assert "龘" not in found.get_vocab()
    ids = found("the 龘 fox", add_special_tokens=False)["input_ids"]
    assert ids.count(found.unk_token_id) == 1
    assert found.decode(ids, skip_special_tokens=True).split() == ["the", "fox"]


@pytest.mark.parametrize("kind", KINDS)
def test_masking_knows_where_words_begin(trained, kind):
    tokenizer, _ = trained[kind]
    encoded = tokenizer(
        " unbelievably few extraordinary afternoons were remembered", add_special_tokens=False
    )
    words = encoded.word_ids()
    begins = [place == 0 or words[place - 1] != word for place, word in enumerate(words)]
    vocabulary = read_vocabulary(tokenizer)
    assert len(set(words)) == 6 < len(words)
    assert vocabulary.word_starts[encoded["input_ids"]].tolist() == begins
    assert np.flatnonzero(vocabulary.special).tolist() == sorted(tokenizer.all_special_ids)
    assert vocabulary.mask_id == tokenizer.mask_token_id


@pytest.mark.parametrize("kind", KINDS)
def test_the_smallest_vocabulary_is_named_and_works(corpus, tmp_path, kind):
    text = next(corpus.documents())[:4000]
    corpus = corpus_of([text])
    with pytest.raises(InvalidInputError) as error:
        train_tokenizer(corpus, recipe_of(kind, 60), store=tmp_path)
    smallest = int(re.search(r"vocab_size to (\d+) or more", error.value.fix)[1])
    with pytest.raises(InvalidInputError, match=f"vocabulary of {smallest - 1} pieces has no room for 5"):
        train_tokenizer(corpus, recipe_of(kind, smallest - 1), store=tmp_path)
    for size in (smallest, smallest + 1, smallest + 7):
        found = train_tokenizer(corpus, recipe_of(kind, size), store=tmp_path)
        assert len(found) == size == len(set(found.get_vocab().values()))
        assert found.unk_token_id not in found(text)["input_ids"]


def test_bytes_are_counted_before_the_corpus_is_read(tmp_path):
    def unread():
        raise AssertionError

    with pytest.raises(
        InvalidInputError, match=r"vocabulary of 260 pieces .* 5 special tokens and 256 bytes"
    ):
        train_tokenizer(Corpus("mine", "mine", "f", unread), recipe_of("byte-bpe", 260), store=tmp_path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["a", "so it was " * 30])
def test_a_corpus_that_gives_fewer_pieces_gives_what_it_has(tmp_path, caplog, kind, text):
    with caplog.at_level(logging.WARNING):
        found = train_tokenizer(corpus_of([text]), recipe_of(kind, 5000), store=tmp_path)
    assert 60 < len(found) < 300
    assert f"gives {len(found)} pieces; 5000 were asked for" in caplog.text
    assert found.decode(found(text)["input_ids"], skip_special_tokens=True).strip() == text.strip()
    if kind == "byte-bpe":
        assert found.mask_token_id == len(found) - 1


@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
def test_a_corpus_of_nothing_to_print_is_refused(tmp_path, kind):
    with pytest.raises(InvalidInputError, match="nothing that can be printed"):
        train_tokenizer(corpus_of(["\x00\x01 \u200d"]), recipe_of(kind), store=tmp_path)


@pytest.fixture
def counted(tmp_path):
    """Train; how often the documents were read."""
    reads = []

    def documents():
        reads.append(1)
        return iter(["a lovely story, and so bright " * 9])

    def call():
        reads.clear()
        corpus = Corpus("mine", "mine", "f", documents)
        return train_tokenizer(corpus, recipe_of("byte-bpe", 280), store=tmp_path), len(reads)

    return call


def test_what_is_whole_is_taken(counted, tmp_path):
    first, reads = counted()
    assert reads == 1
    second, reads = counted()
    assert reads == 0
    assert first.backend_tokenizer.to_str() == second.backend_tokenizer.to_str()
    (folder,) = (tmp_path / TOKENIZER_CACHE).iterdir()
    about = json.loads((folder / "about.json").read_text())
    assert (about["corpus"], about["recipe"]["kind"], about["vocab_size"]) == ("mine", "byte-bpe", 280)
    assert {file.name for file in folder.iterdir()} == {
        *(".lock", "about.json"),
        *("tokenizer.json", "tokenizer_config.json"),
    }
    delete_cache(tmp_path)
    assert counted()[1] == 1


@pytest.mark.parametrize("damage", ["one byte", "gone", "no record", "broken record"])
def test_what_is_damaged_is_made_again_to_the_same_bits(counted, tmp_path, damage):
    counted()
    (folder,) = (tmp_path / TOKENIZER_CACHE).iterdir()
    file, record = folder / "tokenizer.json", folder / "about.json"
    whole = file.read_bytes()
    if damage == "one byte":
        file.write_bytes(whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:])
    elif damage == "gone":
        file.unlink()
    elif damage == "no record":
        record.unlink()
    else:
        record.write_text("{")
    assert counted()[1] == 1
    assert file.read_bytes() == whole


@pytest.mark.parametrize("kind", KINDS)
def test_what_goes_wrong_while_reading_is_told_as_it_is(tmp_path, kind):
    """Guards an error of the corpus that the trainer's own hides, and half a tokenizer that looks whole."""

    def torn():
        yield FOREIGN
        raise InvalidInputError("Row 1 is no text.", "Mend it.")

    with pytest.raises(InvalidInputError, match="Row 1 is no text"):
        train_tokenizer(Corpus("mine", "mine", "f", torn), recipe_of(kind), store=tmp_path)
    (folder,) = (tmp_path / TOKENIZER_CACHE).iterdir()
    assert [file.name for file in folder.iterdir()] == [".lock"]


def test_a_second_process_waits_and_reads_nothing(tmp_path):
    busy, go_on, reads, found = threading.Event(), threading.Event(), [], []

    def documents():
        reads.append(1)
        busy.set()
        go_on.wait(timeout=20)
        return iter([FOREIGN])

    corpus = Corpus("mine", "mine", "f", documents)

    def work():
        found.append(train_tokenizer(corpus, recipe_of("byte-bpe", 280), store=tmp_path))

    one, two = threading.Thread(target=work), threading.Thread(target=work)
    one.start()
    assert busy.wait(timeout=20)
    two.start()
    two.join(timeout=0.5)
    assert two.is_alive()
    go_on.set()
    one.join()
    two.join()
    assert (len(reads), len(found)) == (1, 2)


def test_what_decides_the_cache():
    one = tokenizer_key(corpus_of([]), recipe_of("wordpiece"))
    assert one == tokenizer_key(corpus_of(["x"]), recipe_of("wordpiece")), (
        "the fingerprint stands for the text"
    )
    others = [
        tokenizer_key(corpus_of([], "g"), recipe_of("wordpiece")),
        tokenizer_key(corpus_of([]), recipe_of("unigram")),
        tokenizer_key(corpus_of([]), recipe_of("wordpiece", 701)),
        tokenizer_key(corpus_of([]), recipe_of("wordpiece", lowercase=False)),
    ]
    assert len({one, *others}) == 5


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"kind": "byte-bpe", "lowercase": True}, "set lowercase = false"),
        ({"kind": "bpe"}, "'wordpiece', 'unigram' or 'byte-bpe'"),
        ({"vocab_size": 0}, "greater than 0"),
        ({"vocab_size": "9"}, "valid integer"),
        ({"lowercase": 1}, "valid boolean"),
        ({"min_frequency": 2}, "Extra inputs"),
    ],
)
def test_what_a_recipe_cannot_say(fields, problem):
    with pytest.raises(ValidationError, match=problem):
        TokenizerRecipe(**{"kind": "wordpiece", "vocab_size": 900, "lowercase": False} | fields)


@pytest.mark.parametrize("family", ["bert", "electra", "albert", "roberta"])
def test_the_published_sizes_are_those_of_the_teachers_recipes(family):
    """Guards a teacher whose recipe and tokenizer disagree about its vocabulary."""
    files = (Path(__file__).parents[2] / "teachers").glob(f"{family}-*.toml")
    sizes = [re.search(r"^vocab_size = (\d+)", file.read_text(), re.MULTILINE) for file in files]
    assert usual_pretraining(family, small=False)["tokenizer"]["vocab_size"] in {
        int(size[1]) for size in sizes if size
    }
