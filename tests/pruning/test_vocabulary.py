"""Vocabulary pruning: what keeps its pieces keeps its tokens and its logits, in all families and algorithms."""

import copy
from collections import Counter

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    ByT5Tokenizer,
    PreTrainedTokenizerFast,
    set_seed,
)

from compress.data.corpus import Corpus, resolve_corpus
from compress.encoder import Encoder, save_encoder
from compress.errors import InvalidInputError
from compress.pretraining.tokenizer import TRAINERS
from compress.pruning.pieces import merged_parts, read_merges, read_state, special_ids
from compress.pruning.vocabulary import (
    choose_pieces,
    count_corpus,
    count_pieces,
    prune_vocabulary,
    tokens_changed,
)
from compress.recipes.pretraining import TokenizerRecipe
from tests.conftest import FAMILIES, tiny_config

KIND = {"bert": "wordpiece", "electra": "wordpiece", "roberta": "byte-bpe", "albert": "unigram"}
KINDS = ("wordpiece", "byte-bpe", "unigram")
SIZE = 700
ADDED = "qwxz"
"""Added by a user after training."""
FOREIGN = "Café naïve façade, “quoted” – déjà vu; 東京 and 北京. " * 9


@pytest.fixture(scope="module")
def documents():
    """The first documents are what is used, the others what else there is."""
    found = []
    for document in resolve_corpus("sample").documents():
        found.append(document)
        if sum(map(len, found)) > 30_000:
            return [*found, FOREIGN]
    raise AssertionError


@pytest.fixture(scope="module")
def texts(documents):
    """Short ones, so that many use few pieces."""
    words = " ".join(documents).split()
    return [" ".join(words[start : start + 4]) for start in range(0, len(words), 4)]


@pytest.fixture(scope="module")
def used(texts):
    return [*texts[:60], f"so {ADDED} it was", "Café déjà vu"]


@pytest.fixture(scope="module")
def tokenizers(documents):
    """Kind → a trained tokenizer with an added token."""
    found = {}
    for kind in KINDS:
        recipe = TokenizerRecipe(kind=kind, vocab_size=SIZE, lowercase=kind != "byte-bpe")
        found[kind] = TRAINERS[kind](Corpus("mine", "mine", "f", lambda: iter(documents)), recipe)
        found[kind].add_tokens([ADDED])
    return found


@pytest.fixture(scope="module")
def counts(tokenizers, used):
    return {kind: count_pieces(used, tokenizers[kind]) for kind in KINDS}


@pytest.fixture(scope="module")
def chosen(tokenizers, counts):
    """(kind, which) → what is kept: "used" pieces, or 40 "fewer"."""
    found = {}
    for kind, tokenizer in tokenizers.items():
        found[kind, "used"] = choose_pieces(counts[kind], tokenizer, keep=None)
        found[kind, "fewer"] = choose_pieces(counts[kind], tokenizer, keep=len(found[kind, "used"]) - 40)
    return found


@pytest.fixture(scope="module")
def pruned(tokenizers, chosen):
    """(kind, which) → the tokenizer that is left."""
    return {
        (kind, which): prune_vocabulary(build("bert", tokenizers[kind]), kept).tokenizer
        for (kind, which), kept in chosen.items()
    }


def build(family, tokenizer, auto=AutoModelForSequenceClassification, **changes):
    set_seed(0)
    config = tiny_config(family, tokenizer, bos_token_id=tokenizer.cls_token_id, **changes)
    return Encoder(auto.from_config(config).eval(), tokenizer)


@torch.no_grad()
def answer(encoder, *texts, **options):
    batch = encoder.tokenizer(*map(list, texts), padding=True, return_tensors="pt", **options)
    return encoder.model(**batch).logits


def wordpiece(*pieces):
    """A tokenizer written by hand, its special tokens behind other pieces as BERT's are."""
    vocab = {piece: number for number, piece in enumerate(pieces)}
    core = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer()
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(token, vocab[token]) for token in ("[SEP]", "[CLS]")]
    core.post_processor = processors.Sequence([processors.BertProcessing(*ends)])
    return as_fast(core)


def as_fast(core):
    names = {"unk": "[UNK]", "pad": "[PAD]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    return PreTrainedTokenizerFast(
        tokenizer_object=core, **{f"{name}_token": token for name, token in names.items()}
    )


HAND = ("[unused0]", "[unused1]", "[PAD]", "[unused2]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LETTERS = ("a", "b", "c", "ж", "##a", "##b", "##c", "##ж")


@pytest.mark.parametrize("which", ["used", "fewer"])
@pytest.mark.parametrize("family", FAMILIES)
def test_texts_of_kept_pieces_have_the_same_tokens_and_the_very_same_logits(
    tokenizers, chosen, texts, used, family, which
):
    encoder, kept = build(family, tokenizers[KIND[family]]), chosen[KIND[family], which]
    smaller = prune_vocabulary(encoder, kept)
    known, others = (
        [text for text in some if set(encoder.tokenizer(text)["input_ids"]) <= kept]
        for some in (used, texts[60:])
    )
    assert known == used if which == "used" else len(used) > len(known) > 5
    assert len(others) > 5
    mixed = [*known[-20:], *others[:5], f"so {encoder.tokenizer.mask_token} it was"]
    for cut in ({"truncation": True, "max_length": 60}, {"truncation": True, "max_length": 9}):
        for columns in ([mixed], [mixed, mixed[::-1]]):
            old, new = (
                [
                    each.tokenizer.convert_ids_to_tokens(ids)
                    for ids in each.tokenizer(*columns, **cut)["input_ids"]
                ]
                for each in (encoder, smaller)
            )
            assert new == old
            assert torch.equal(answer(smaller, *columns, **cut), answer(encoder, *columns, **cut))
    table = smaller.model.get_input_embeddings()
    assert len(table.weight) == table.num_embeddings == smaller.model.config.vocab_size == len(kept)
    width = table.embedding_dim
    assert encoder.parameters - smaller.parameters == (len(encoder.tokenizer) - len(kept)) * width


@pytest.mark.parametrize("which", ["used", "fewer"])
@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_of_kept_characters_is_spelled_and_decodes_to_itself(
    tokenizers, pruned, used, kind, which, data
):
    """Guards words that become unknown, and, where all pieces stay, any other way of cutting them."""
    before, after = tokenizers[kind], pruned[kind, which]
    words = sorted({word for text in used for word in text.split()})
    letters = sorted({*"".join(words), *map(chr, range(33, 127))})
    word = st.one_of(st.sampled_from(words), st.text(st.sampled_from(letters), min_size=1, max_size=12))
    text = " ".join(data.draw(st.lists(word, min_size=1, max_size=8)))
    old, new = (cut(each, text) for each in (before, after))
    if before.unk_token not in old:
        assert after.unk_token not in new
        assert decode(after, text) == decode(before, text)
        if set(old) <= after.get_vocab().keys():
            assert new == old


def cut(tokenizer, text):
    """The pieces by their ids: a unigram's unknown token calls itself by what it stands for."""
    return tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=False)["input_ids"])


def decode(tokenizer, text):
    return tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whichever_pieces_are_kept_texts_of_them_are_cut_as_before(tokenizers, used, kind, data):
    """Guards merges that go with a piece which no text has as a token, but others are made of."""
    before = tokenizers[kind]
    texts = data.draw(st.lists(st.sampled_from(used), min_size=1, max_size=4))
    other = data.draw(st.sets(st.sampled_from(sorted(before.get_vocab().values())), max_size=30))
    kept = choose_pieces(count_pieces(texts, before) + Counter(other), before, keep=None)
    after = prune_vocabulary(build("bert", before), kept).tokenizer
    for text in texts:
        assert cut(after, text) == cut(before, text)


def test_a_kept_byte_pair_piece_is_made_of_kept_merges(tokenizers, chosen):
    before = tokenizers["byte-bpe"]
    merges = read_merges(read_state(before)["model"])
    pieces = {number: piece for piece, number in before.get_vocab().items()}
    kept = {pieces[number] for number in chosen["byte-bpe", "fewer"]}
    for piece in kept - {*before.all_special_tokens, ADDED}:
        assert merged_parts(piece, merges) <= kept
    assert merged_parts("Ġthe", merges) == {"Ġt", "he", "Ġthe"}


@pytest.mark.parametrize("kind", KINDS)
def test_as_many_pieces_are_kept_as_asked_for_the_most_used_first(tokenizers, counts, chosen, kind):
    tokenizer, used = tokenizers[kind], chosen[kind, "used"]
    fewer = chosen[kind, "fewer"]
    assert fewer < used
    assert len(fewer) == len(used) - 40
    for keep in (len(used) + 9, len(tokenizer)):
        kept = choose_pieces(counts[kind], tokenizer, keep=keep)
        assert used < kept
        assert len(kept) == keep
    if kind != "byte-bpe":  # there, a piece's parts come with it, however rare
        least = min(counts[kind][number] for number in fewer if len(piece_letters(tokenizer, number)) > 1)
        assert least >= max(counts[kind][number] for number in used - fewer)


def piece_letters(tokenizer, number):
    """Of a special token none."""
    if number in special_ids(tokenizer):
        return ""
    return tokenizer.convert_ids_to_tokens(number).removeprefix("##")


def test_ids_move_together_wherever_they_are_written():
    """Guards the template's, the configuration's, the padding row's ids: unused pieces before the special ones go."""
    tokenizer = wordpiece(*HAND, *LETTERS, "ab", "abc")
    tokenizer.add_tokens(["zz"])
    names = {"eos_token_id": tokenizer.sep_token_id, "sep_token_id": tokenizer.sep_token_id}
    encoder = build("bert", tokenizer, **names)
    encoder.model.config.decoder_start_token_id = 0  # [unused0] goes, so nothing is there any more
    smaller = prune_vocabulary(
        encoder, choose_pieces(count_pieces(["abc zz"], tokenizer), tokenizer, keep=None)
    )
    after, config = smaller.tokenizer, smaller.model.config
    order = ("[UNK]", "[CLS]", "[PAD]", "[SEP]", "[MASK]", "a", "b", "c", "##a", "##b", "##c", "abc", "zz")
    assert after.get_vocab() == {piece: number for number, piece in enumerate(order)}
    assert after("abc zz")["input_ids"] == [1, 11, 12, 3]
    assert after("abc", "zz")["input_ids"] == [1, 11, 3, 12, 3]
    assert after.pad_token_id == config.pad_token_id == tokenizer.pad_token_id == 2
    assert smaller.model.get_input_embeddings().padding_idx == 2
    assert (config.bos_token_id, config.eos_token_id, config.sep_token_id) == (1, 3, 3)
    assert config.decoder_start_token_id is None
    rows = tokenizer.convert_tokens_to_ids(order)
    old, new = (each.model.get_input_embeddings().weight for each in (encoder, smaller))
    assert torch.equal(new, old[rows])


def test_the_least_score_stays_for_unknown_characters_are_scored_by_it():
    scores = {"▁ab": -15.0, "cé": -15.0, "▁abc": -1.0, "rare": -30.0, **dict.fromkeys("▁abc", -12.0)}
    special = [(token, 0.0) for token in HAND if "unused" not in token]
    core = Tokenizer(models.Unigram([*special, *scores.items()], unk_id=1))
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer = as_fast(core)
    texts = ["abcé", "abc"]
    assert [tokenizer.tokenize(text) for text in texts] == [["▁ab", "cé"], ["▁abc"]]
    kept = choose_pieces(count_pieces(texts, tokenizer), tokenizer, keep=None)
    after = prune_vocabulary(build("albert", tokenizer), kept).tokenizer
    assert after.tokenize("abcé") == ["▁ab", "cé"]
    assert after.get_vocab().keys() == tokenizer.get_vocab().keys()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_that_guesses_pieces_loses_their_rows_too(tokenizers, counts, tmp_path, family, tied):
    kind = KIND[family]
    encoder = build(family, tokenizers[kind], AutoModelForMaskedLM, tie_word_embeddings=tied)
    head = encoder.model.get_output_embeddings()
    torch.nn.init.normal_(head.bias)
    kept = choose_pieces(counts[kind], encoder.tokenizer, keep=450)
    smaller = prune_vocabulary(encoder, kept)
    text = [f"so {encoder.tokenizer.mask_token} it was"]
    rows = encoder.tokenizer.convert_tokens_to_ids(
        smaller.tokenizer.convert_ids_to_tokens(list(range(len(kept))))
    )
    torch.testing.assert_close(answer(smaller, text), answer(encoder, text)[..., rows])
    new = smaller.model.get_output_embeddings()
    assert new.out_features == len(kept)
    shared = new.weight is smaller.model.get_input_embeddings().weight
    assert shared == (head.weight is encoder.model.get_input_embeddings().weight)
    save_encoder(smaller, tmp_path, max_length=64)
    loaded, report = AutoModelForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    assert torch.equal(answer(Encoder(loaded.eval(), smaller.tokenizer), text), answer(smaller, text))


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_saved_loads_to_the_same_and_no_other_vocabulary_lies_beside_it(
    tokenizers, counts, used, tmp_path, family
):
    kind = KIND[family]
    encoder = build(family, tokenizers[kind])
    smaller = prune_vocabulary(encoder, choose_pieces(counts[kind], encoder.tokenizer, keep=None))
    save_encoder(smaller, tmp_path / "a", max_length=60)
    loaded = Encoder(
        AutoModelForSequenceClassification.from_pretrained(tmp_path / "a").eval(),
        AutoTokenizer.from_pretrained(tmp_path / "a"),
    )
    save_encoder(loaded, tmp_path / "b", max_length=60)
    files = {file.name for file in (tmp_path / "b").iterdir()}
    assert files == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    for name in ("tokenizer.json", "config.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert type(loaded.tokenizer) is type(encoder.tokenizer)
    few = used[-9:]
    assert torch.equal(answer(loaded, few), answer(smaller, few))
    assert loaded.tokenizer("so " * 99, truncation=True)["input_ids"] == [
        *smaller.tokenizer("so " * 99)["input_ids"][:59],
        smaller.tokenizer.sep_token_id,
    ]
    for name in ("pad", "cls", "sep", "unk", "mask"):
        old, new = (getattr(each.tokenizer, f"{name}_token") for each in (encoder, loaded))
        assert new == old


def test_the_encoder_that_was_given_and_the_random_state_stay_as_they_were(tokenizers, counts):
    encoder = build("roberta", tokenizers["byte-bpe"], AutoModelForMaskedLM)
    before = copy.deepcopy(encoder.model.state_dict()), encoder.tokenizer.get_vocab(), torch.get_rng_state()
    smaller = prune_vocabulary(encoder, choose_pieces(counts["byte-bpe"], encoder.tokenizer, keep=None))
    for name, tensor in encoder.model.state_dict().items():
        assert torch.equal(tensor, before[0][name])
    assert encoder.tokenizer.get_vocab() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])
    assert smaller.tokenizer.pad_token_id == smaller.model.config.pad_token_id == 1
    with torch.no_grad():
        smaller.model.get_input_embeddings().weight.zero_()
    assert encoder.model.get_input_embeddings().weight.any()


def test_the_share_of_changed_tokens_counts_what_is_not_found_at_its_place():
    tokenizer = wordpiece(*HAND, *LETTERS, "ab", "abc", "##bc")
    kept = set(tokenizer.get_vocab().values()) - {tokenizer.convert_tokens_to_ids("abc")}
    after = prune_vocabulary(build("bert", tokenizer), kept).tokenizer
    assert after.tokenize("abc ab") == ["ab", "##c", "ab"]
    assert tokens_changed(["abc ab", "ab a"], tokenizer, after) == 1 / 4
    assert tokens_changed(iter(["abc ab"]), tokenizer, tokenizer) == 0
    assert tokens_changed(["a" * 200], tokenizer, after) == 0


def test_a_character_that_becomes_unknown_is_a_changed_token(tokenizers, pruned):
    """Guards a unigram's unknown token, which calls itself by what it stands for."""
    for kind in ("unigram", "wordpiece"):
        before, after = tokenizers[kind], pruned[kind, "used"]
        assert before.unk_token not in cut(before, "京")
        assert after.unk_token in cut(after, "京")
        assert tokens_changed(["京"], before, after) == tokens_changed(["京"], after, before) > 0


def test_texts_are_counted_whole_whatever_the_tokenizer_was_last_told(tokenizers):
    tokenizer = copy.deepcopy(tokenizers["wordpiece"])
    tokenizer("a", truncation=True, max_length=4, padding="max_length")
    text = "so it was " * 50
    assert count_pieces([text], tokenizer) == Counter(
        tokenizers["wordpiece"](text, add_special_tokens=False)["input_ids"]
    )
    assert tokens_changed([text], tokenizer, tokenizers["wordpiece"]) == 0


def test_a_corpus_is_counted_once_for_the_same_pieces(tokenizers, texts):
    """Where a plan has counted 28 million words, the work need not; other documents are counted anew."""
    read = []
    tokenizer = tokenizers["wordpiece"]

    def corpus(fingerprint):
        return Corpus("mine", "mine", fingerprint, lambda: iter([read.append(fingerprint) or texts[0]]))

    assert count_corpus(corpus("one"), tokenizer) == count_pieces(texts[:1], tokenizer)
    assert count_corpus(corpus("one"), copy.deepcopy(tokenizer)) == count_pieces(texts[:1], tokenizer)
    assert read == ["one"]
    count_corpus(corpus("one"), tokenizers["byte-bpe"])
    count_corpus(corpus("two"), tokenizers["byte-bpe"])
    assert read == ["one", "one", "two"]


@pytest.mark.parametrize("texts", [[], ["", ""]])
def test_no_texts_are_refused(tokenizers, texts):
    for tokenizer in tokenizers.values():
        with pytest.raises(InvalidInputError, match="There is no text"):
            count_pieces(texts, tokenizer)
        with pytest.raises(InvalidInputError, match="There is no text"):
            tokens_changed(texts, tokenizer, tokenizer)


@pytest.mark.parametrize("kind", KINDS)
def test_the_least_number_of_pieces_is_named_and_is_enough(tokenizers, counts, kind):
    tokenizer = tokenizers[kind]
    with pytest.raises(InvalidInputError, match="vocabulary of 7 pieces has no room for 6 special") as caught:
        choose_pieces(counts[kind], tokenizer, keep=7)
    least = int(caught.value.fix.split()[-1])
    kept = choose_pieces(counts[kind], tokenizer, keep=least)
    assert len(kept) == least
    assert kept >= special_ids(tokenizer)
    with pytest.raises(InvalidInputError, match=f"vocabulary of {least - 1} pieces"):
        choose_pieces(counts[kind], tokenizer, keep=least - 1)
    with pytest.raises(
        InvalidInputError, match=f"{SIZE + 2} pieces are to be kept of a vocabulary that has {SIZE + 1}"
    ):
        choose_pieces(counts[kind], tokenizer, keep=SIZE + 2)


def test_other_tokenizers_are_refused():
    words = as_fast(
        Tokenizer(models.WordLevel({token: n for n, token in enumerate(HAND)}, unk_token="[UNK]"))
    )
    letters = as_fast(Tokenizer(models.BPE({token: n for n, token in enumerate((*HAND, *LETTERS))}, [])))
    for tokenizer, name in (
        (words, "WordLevel"),
        (letters, "BPE over characters"),
        (ByT5Tokenizer(), "slow"),
    ):
        with pytest.raises(InvalidInputError, match=name):
            choose_pieces({1: 1}, tokenizer, keep=None)


def test_a_padding_id_that_positions_are_counted_from_may_not_move(tokenizers, counts):
    """Guards a RoBERTa that reads other rows of its position table than it learned."""
    encoder = build("roberta", tokenizers["byte-bpe"])
    encoder.model.config.pad_token_id = 650
    kept = choose_pieces(counts["byte-bpe"], encoder.tokenizer, keep=400)
    with pytest.raises(InvalidInputError, match="counts positions from its padding id, 650"):
        prune_vocabulary(encoder, kept)
