"""The arithmetic of pretraining is what is computed, its account adds up, its table says so; nothing is timed here."""

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig

from compress.flops import count_flops
from compress.heads import build_learner
from compress.losses.masked_lm import IGNORED_LABEL
from compress.pretraining.learning import build_objective
from compress.pretraining.replaced_tokens import ReplacedTokensObjective
from compress.recipes.methods import Masking
from compress.recipes.pretraining import Generator
from compress.recipes.schema import Architecture
from compress.recipes.stages import NewModel, Pretrain
from compress.recipes.values import Training
from tests.benchmarks import pretraining
from tests.benchmarks.arithmetic import Shape, Step, count_trunk, multiply
from tests.benchmarks.lessons import PHASES, Learned, Lesson, Watch, start_lessons
from tests.benchmarks.pretraining import COLUMNS, add_share, describe_turns, render_table
from tests.conftest import FAMILIES, tiny_config, write_corpus, write_teacher
from tests.pretraining.test_learning import MORE

OBJECTIVES = {"bert": "nsp", "roberta": "mlm", "electra": "rtd", "albert": "sop"}
LABELS = {"bert": "next_sentence_label", "albert": "sentence_order_label"}


def test_a_step_of_bert_by_hand():
    config = BertConfig(
        vocab_size=50, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=48
    )
    texts, length, hidden = 3, 10, 5
    a_token = 4 * 24 * 24 + 2 * 24 * 48 + 2 * length * 24  # projections, FFN, scores and values
    guesses = hidden * (24 * 24 + 24 * 50)
    questions = texts * (24 * 24 + 24 * 2)  # pooler, next sentence
    forward = 2 * (2 * texts * length * a_token + guesses + questions)
    assert Step(config, "nsp").count(Shape(texts, length, hidden)) == 3 * forward
    assert Step(config, "mlm").count(Shape(texts, length, hidden)) == 3 * (forward - 2 * questions)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_trunk_is_a_polynomial_in_the_length(family, tokenizer):
    config = tiny_config(family, tokenizer)
    head = 2 * (config.hidden_size**2 + config.hidden_size * config.num_labels)
    expected = count_flops(config, batch=3, length=11) - 3 * head
    assert count_trunk(config).count(Shape(3, 11, 0)) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_counted_is_what_our_objectives_multiply(family, tokenizer):
    """Guards a share of the peak that leaves out a head, or counts one on words that nobody hid."""
    shape = Architecture(
        num_hidden_layers=2,
        hidden_size=24,
        num_attention_heads=3,
        intermediate_size=48,
        embedding_size=16 if family in ("electra", "albert") else None,
        max_position_embeddings=66,
        share="all" if family == "albert" else "none",
    )
    stage = Pretrain(
        objective=OBJECTIVES[family],
        masking=Masking(),
        training=Training(),
        generator=Generator(share=0.5) if family == "electra" else None,
    )
    encoder = build_learner(
        NewModel(family=family, architecture=shape), tokenizer, objective=stage.objective, dropout=0.0, seed=0
    )
    objective = build_objective(encoder, stage, seed=0, before=None)
    rtd = isinstance(objective, ReplacedTokensObjective)
    for model in (encoder.model, *([objective.generator] if rtd else [])):
        model.set_attn_implementation("eager")  # whose products can be seen one by one
    labels = torch.full((3, 10), IGNORED_LABEL)
    labels[0, 2:5] = labels[2, 7:9] = 6
    batch = {
        "input_ids": torch.randint(5, len(tokenizer), (3, 10)),
        "attention_mask": torch.ones(3, 10, dtype=torch.long),
        "labels": labels,
        **({LABELS[family]: torch.tensor([0, 1, 0])} if family in LABELS else {}),
    }
    counter = FlopCounterMode(display=False)
    with counter:
        terms = objective(encoder.model, batch).terms.values()
        torch.stack([term.value for term in terms]).sum().backward()
    step = Step(encoder.model.config, stage.objective, objective.generator.config if rtd else None)
    assert counter.get_total_flops() == step.count(Shape(3, 10, 5))


def test_a_few_steps_are_taken_by_the_products_own_trainer(tmp_path):
    corpus = write_corpus(tmp_path / "stories", documents=40)
    take = start_lessons(
        Lesson(
            model=str(write_teacher(tmp_path / "tiny-electra.toml", MORE, family="electra")),
            length=24,
            batch=4,
            budget="small",
            corpus=str(corpus),
            store=tmp_path / "runs",
            warmup=1,
            steps=3,
        )
    )
    loaded, fixed, account = take(), take(fixed=True), take(by_phase=True)
    assert not loaded.phases
    assert loaded.computed >= loaded.tokens > 0
    assert fixed.tokens % 3 == 0  # one batch, three times
    assert account.phases.keys() == set(PHASES)
    assert sum(account.phases.values()) == pytest.approx(account.seconds, rel=0.05)
    assert min(account.phases.values()) > 0
    assert (loaded.tokens, loaded.flops) == (account.tokens, account.flops)
    known = take(described=True)
    assert (known["batch"], known["objective"], known["dtype"]) == (4, "rtd", "float32")


class Here:
    """An engine that takes its turns in this process."""

    def __init__(self, name, engine):
        self.take = engine.start(*engine.arguments)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


def test_a_run_prints_its_table_and_keeps_its_record(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pretraining, "Awake", Here)
    monkeypatch.setitem(pretraining.DEFAULTS, "cpu", {**pretraining.DEFAULTS["cpu"], "sides": (64,)})
    corpus = write_corpus(tmp_path / "stories", documents=40)
    file = tmp_path / "record.json"
    models = ",".join(
        str(write_teacher(tmp_path / f"tiny-{family}.toml", MORE, family=family))
        for family in ("bert", "electra")
    )
    pretraining.main(
        [
            *("--models", models, "--lengths", "16,24", "--batch", "4", "--corpus", str(corpus)),
            *("--rounds", "2", "--steps", "1", "--output", str(file)),
        ]
    )
    record = json.loads(file.read_text())
    assert [case["length"] for case in record["cases"].values()] == [16, 24, 16, 24]
    assert record["peak_gflops"].keys() == {"float32", "bfloat16"}
    assert record["environment"]["cpu_count"] > 0
    for case in record["cases"].values():
        assert case["tokens_per_second"]["low"] > 0
        assert 0 < case["share_of_peak"]["low"] <= case["share_of_peak"]["high"]
        assert all(seconds > 0 for seconds in case["account_seconds_a_step"].values())
    told = capsys.readouterr().out
    assert told.count("| tiny-bert ") == told.count("| tiny-electra ") == 2


def test_padding_is_computed_and_not_counted():
    watch = Watch(warmup=0, steps=1, by_phase=False)
    mask, labels = torch.tensor([[1, 1, 1], [1, 0, 0]]), torch.full((2, 3), IGNORED_LABEL)
    labels[0, 1] = 7
    watch._begin_forward(None, (), {"attention_mask": mask, "labels": labels})
    assert watch.batches == [(Shape(texts=2, length=3, hidden=1), 4)]


@pytest.fixture
def case():
    fast, slow = Learned(2.0, 800, 1000, 4_000_000_000, {}), Learned(4.0, 800, 1000, 4_000_000_000, {})
    ready = Learned(1.0, 900, 1000, 4_000_000_000, {})
    account = Learned(2.0, 800, 1000, 4_000_000_000, {"data": 0.5, "forward": 0.4, "backward": 1.1})
    found = describe_turns([(fast, ready), (slow, ready)], account, steps=2)
    return add_share(
        {"length": 128, "batch": 8, "dtype": "bfloat16", **found}, {"bfloat16": 10.0, "float32": 5.0}
    )


def test_shares_are_of_the_same_round_and_the_same_precision(case):
    assert case["tokens_per_second"] == {"median": 300, "low": 200, "high": 400}
    assert case["loader_share"] == {"median": 0.625, "low": 0.5, "high": 0.75}
    assert case["padding_share"] == 0.2
    assert case["gflop_a_step"] == 2
    assert case["share_of_peak"] == {"median": 0.15, "low": 0.1, "high": 0.2}
    assert case["account_seconds_a_step"] == {
        "data": 0.25,
        "forward": 0.2,
        "backward": 0.55,
        "optimizer": 0.0,
        "rest": 0.0,
    }


def test_the_table_has_a_line_for_each_case(case):
    lines = render_table({"bert-mini 128": case}, {"bfloat16": 10.0, "float32": 5.0}).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:3]]
    assert cells[0] == list(COLUMNS)
    found = dict(zip(COLUMNS, cells[2], strict=True))
    assert found["model"] == "bert-mini"
    assert found["tokens/s"] == "300 [200, 400]"
    assert found["loader"] == "62.5%"
    assert found["of peak"] == "15.0% [10.0%, 20.0%]"
    assert found["backward"] == "550.0"
    assert len({len(line) for line in lines[:3]}) == 1
    assert "bfloat16 0.01 TFLOP/s" in lines[-1]


def test_the_peak_is_that_of_the_product():
    assert multiply("float32", 256) > 0.1
