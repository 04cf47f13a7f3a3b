"""Strings in, logits out: padding and order never matter."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification

from compress.encoder import Encoder
from compress.errors import CompressError
from compress.inference import Predictor, load, texts_of
from tests.conftest import FAMILIES, FILLER, GOOD, tiny_config

TEXTS = st.lists(
    st.lists(st.sampled_from(FILLER + GOOD), min_size=1, max_size=20).map(" ".join), min_size=1, max_size=12
)


@pytest.fixture(scope="module", params=FAMILIES)
def predictor(request, tokenizer):
    model = AutoModelForSequenceClassification.from_config(tiny_config(request.param, tokenizer))
    return Predictor.of_encoder(Encoder(model, tokenizer))


@settings(max_examples=15, deadline=None)
@given(texts=TEXTS)
def test_padding_and_company_never_change_a_logit(predictor, texts):
    together, _ = predictor.logits(texts, batch_size=5)
    alone = np.concatenate([predictor.logits([text])[0] for text in texts])
    assert np.abs(together - alone).max() < 1e-5


def test_predictions_are_probabilities_in_the_order_of_the_texts(predictor):
    texts = ["film", "a very very very long story", "music is lovely"]
    answers = predictor.predict(texts)
    logits, _ = predictor.logits(texts)
    assert [answer.label for answer in answers] == [predictor.labels[i] for i in logits.argmax(axis=1)]
    assert all(0.5 <= answer.score <= 1 for answer in answers)
    assert predictor.predict([]) == []


def test_bfloat16_is_another_engine_and_near(predictor):
    texts = ["film", "a very very very long story", "music is lovely"]
    whole, encoder = predictor, Encoder(copy.deepcopy(predictor.engine._model), predictor.tokenizer)
    half = Predictor.of_encoder(encoder, bf16=True)
    assert (whole.engine.name, half.engine.name) == ("pytorch", "pytorch-bf16")
    difference = np.abs(whole.logits(texts)[0] - half.logits(texts)[0]).max()
    assert 0 < difference < 0.02


def test_no_model_no_traceback(tmp_path):
    with pytest.raises(CompressError, match="no model"):
        load(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "model.onnx").write_bytes(b"no onnx")
    with pytest.raises(CompressError):
        load(tmp_path)


def test_pairs_are_parted_by_a_tab():
    assert texts_of(["a\tb", "c\td"]) == [("a", "b"), ("c", "d")]
    assert texts_of(["a", "c\td"]) == ["a", "c\td"]
