"""A score is held by as few layers as will do, on examples that are never reported."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from compress.errors import CompressError
from compress.quantization import sensitivity
from compress.quantization.sensitivity import Trial, keep_what_hurts
from compress.recipes.quantization import DynamicInt8, OpenVinoInt8, PackedInt4, QuantoInt4
from compress.rewriting import quantize

HURTS = {"table": 0.0, "query": 0.02, "ffn": 0.05, "pooler": 0.005}


class Pretended:
    """A trial whose scores and errors follow from what is quantized: so much is lost by each module."""

    full_score = 0.9
    data = SimpleNamespace(held_out=range(20))

    def __init__(self, max_drop):
        self.max_drop = max_drop
        self.attempts = []

    def attempt(self, kept):
        self.attempts.append(kept)
        return frozenset(HURTS) - kept

    def score(self, quantized):
        return self.full_score - sum(HURTS[module] for module in quantized)

    def error(self, quantized):
        return sum(HURTS[module] for module in quantized)


@pytest.mark.parametrize(
    ("max_drop", "kept"),
    [
        (0.1, set()),
        (0.03, {"ffn"}),
        (0.01, {"ffn", "query"}),
        (0.0, {"ffn", "query", "pooler"}),
    ],
)
def test_what_hurts_most_is_kept_first(max_drop, kept):
    trial = Pretended(max_drop)
    found = keep_what_hurts(list(HURTS), trial.attempt, trial)
    assert found.modules == kept
    assert found.facts["holdout_score"] >= 0.9 - max_drop - 1e-9
    assert found.facts["sensitivity"] == ({} if not kept else pytest.approx(HURTS))
    assert len(trial.attempts) == 1 + (1 + len(HURTS) + len(kept) if kept else 0)


def test_what_is_asked_for_is_kept_in_any_case():
    trial = Pretended(0.03)
    found = keep_what_hurts(list(HURTS), trial.attempt, trial, always=frozenset({"table"}))
    assert found.modules == {"table", "ffn"}
    assert all(
        "table" in kept or kept == set(HURTS) - {module}
        for kept in trial.attempts
        for module in HURTS
        if module not in kept
    )


def test_a_score_that_full_precision_does_not_reach_is_told():
    """Where a model was trained for fewer bits, it is the score from before that is to be kept."""
    trial = Pretended(0.0)
    trial.score = lambda quantized: Pretended.score(trial, quantized) - 0.01
    with pytest.raises(CompressError, match=r"from 0\.9000 to 0\.8900 with every layer"):
        keep_what_hurts(list(HURTS), trial.attempt, trial)
    assert trial.attempts == [frozenset(), frozenset(HURTS)]  # before the sensitivities, which take long


def test_the_score_to_be_kept_is_the_reference_s_and_errors_are_the_model_s(encoder_of, data, monkeypatch):
    reference, encoder = encoder_of("bert"), encoder_of("albert")
    asked = []

    def answer(who, inputs):
        asked.append(who)
        return np.zeros((len(inputs["input_ids"]), 2), dtype=np.float32)

    monkeypatch.setattr(sensitivity, "_answer", answer)
    trial = Trial(encoder, replace(data, reference=reference), 0.1)
    assert 0 < trial.full_score < 1
    assert all(who is reference for who in asked)
    asked.clear()
    assert trial.error(partial(answer, encoder)) == 0
    assert all(who is encoder for who in asked)


FEWER = ("*.attention.*", "*embedding*")
"""Kept in any case where each attempt takes seconds."""


@pytest.mark.parametrize(
    ("method", "keep"), [(DynamicInt8, ()), (PackedInt4, ()), (OpenVinoInt8, FEWER), (QuantoInt4, ())]
)
def test_a_model_that_bits_break_is_mended_by_keeping_layers(
    method, keep, encoder_of, export_once, data, tmp_path, monkeypatch
):
    """The score of random weights is noise, so it is pretended that any error of the logits costs."""
    encoder = encoder_of("albert")
    monkeypatch.setattr(Trial, "score", lambda self, answer: -self.error(answer))
    for name in ("loose", "strict"):
        encoder.model.config.save_pretrained(tmp_path / name)
    loose = quantize(method(keep=keep, max_drop=0.5), encoder, tmp_path / "loose", data)
    always = set(loose.facts["kept_modules"])
    assert bool(always) == bool(keep)
    error = -loose.facts["holdout_score"]
    summary = quantize(method(keep=keep, max_drop=error / 2), encoder, tmp_path / "strict", data)
    assert always < set(summary.facts["kept_modules"]) < always | summary.facts["sensitivity"].keys()
    assert summary.facts["holdout_score"] >= -error / 2
    assert summary.bytes > loose.bytes
    worst = max(summary.facts["sensitivity"], key=summary.facts["sensitivity"].get)
    assert worst in set(summary.facts["kept_modules"]) - always


def test_scores_are_taken_on_what_training_held_out(encoder_of, data):
    trial = Trial(encoder_of("albert"), data, 0.1)
    assert len(data.held_out) == 20
    assert 0 < trial.full_score < 1
    assert trial.error(partial(sensitivity._answer, trial.encoder)) == 0
    learned = set(data.sample(1000).texts)
    assert len(data.sample(1000)) == 180
    assert len(data.sample(16)) == 16
    assert sum(text in learned for text in data.held_out.texts) < 3  # chance twins of generated sentences
