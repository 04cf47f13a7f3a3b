"""Documents, and tokenizers of three kinds that know their words."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from compress.data.corpus import Corpus

WORDS = ("the", "film", "is", "lovely", "story", "and", "dull", "music", "very", "scenes")
DOCUMENTS = [
    " ".join(WORDS) + "\n\n" + "so lovelys, was. " * 40 + "\nthe end of a story is very very grim.",
    "too short",
    "a plot with music\n" * 30,
    "the story was dull and cold and so very stale .",
]


def corpus_of(documents, fingerprint="f"):
    return Corpus("mine", "mine", fingerprint, lambda: iter(documents))


@pytest.fixture(scope="module")
def kinds(tokenizer):
    """WordPiece as BERT, byte-level BPE as RoBERTa, Unigram with ▁ as ALBERT."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    names = {
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "mask_token": "<mask>",
        "cls_token": "<s>",
        "sep_token": "</s>",
    }
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        DOCUMENTS, trainers.BpeTrainer(vocab_size=330, special_tokens=special, initial_alphabet=alphabet)
    )
    unigram = Tokenizer(models.Unigram())
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    unigram.train_from_iterator(
        DOCUMENTS, trainers.UnigramTrainer(vocab_size=80, special_tokens=special, unk_token="<unk>")
    )
    for core in (bpe, unigram):
        core.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    build = PreTrainedTokenizerFast
    return {
        "wordpiece": tokenizer,
        "byte-level": build(tokenizer_object=bpe, model_input_names=["input_ids", "attention_mask"], **names),
        "sentencepiece": build(tokenizer_object=unigram, **names),
    }
