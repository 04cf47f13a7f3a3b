"""Agreement with the baseline and calibration: numbers by hand, on the page and in the terminal."""

import math

import pytest

from compress.reporting.compare import compare
from compress.reporting.data import read_data, write_data
from compress.reporting.html import render_html
from compress.reporting.markdown import render_markdown
from tests.reporting.test_terminal import printed

SURE = 1 / (1 + math.exp(-2))
"""How sure each answer of the runs made up here is."""


def test_agreement_and_calibration_by_hand(written, kit):
    teacher, student, _ = written.report.sections[0].rows
    (found,) = student.fidelity
    equal = (kit.answers(70, 2) == kit.answers(40, 1)).mean()
    assert (found.split, found.n, found.agreement.value) == ("validation", 400, pytest.approx(equal))
    assert found.agreement.low < equal < found.agreement.high
    assert equal > student.primary.score.value - 0.1
    assert found.calibration_error == pytest.approx(abs(SURE - 330 / 400))
    assert teacher.fidelity[0].agreement is None
    assert teacher.fidelity[0].calibration_error == pytest.approx(abs(SURE - 0.9))


def test_they_are_told_everywhere(written):
    (found,) = written.report.sections[0].rows[1].fidelity
    for text in (render_html(written.report), render_markdown(written.report), printed(written.report)):
        assert f"{found.agreement.value:.3f} ({found.agreement.low:.3f}–{found.agreement.high:.3f})" in text
        assert f"{found.calibration_error:.3f}" in text
        assert "tands in for" in text


def test_what_a_constant_would_agree_on_is_told(written, kit):
    """Guards a model that knows nothing and passes for a stand-in: most texts have one answer."""
    (section,) = written.report.sections
    share = max(kit.np.bincount(kit.answers(40, 1))) / kit.N
    assert section.constant_agreement == pytest.approx(share)
    for text in (render_html(written.report), render_markdown(written.report)):
        assert f"always its most frequent answer: {share:.3f}." in text


def test_of_a_regression_it_is_the_correlation_of_the_two(kit, store, tmp_path):
    task = kit.TASK.model_copy(update={"kind": "regression", "labels": None, "metrics": ("pearson",)})
    targets, noise = kit.np.linspace(0, 5, kit.N), kit.np.random.default_rng(0).normal(size=kit.N)
    runs = [
        store.add(name, kit.FINETUNE, size=9, parameters=n, task=task) for n, name in ((2, "a"), (1, "b"))
    ]
    answers = [targets + noise, targets - noise]
    for stored, each in zip(runs, answers, strict=True):
        store.evaluate(stored, each, labels=targets)
    write_data(runs, tmp_path / "r", title="T", command="c")
    (section,) = compare(read_data(tmp_path / "r")).sections
    (found,) = section.rows[1].fidelity
    assert found.agreement.value == pytest.approx(kit.np.corrcoef(*answers)[0, 1])
    assert found.calibration_error is None
    assert section.constant_agreement is None


def test_other_examples_are_not_compared_but_calibrated(trio, kit, tmp_path):
    trio.store.evaluate(trio.student, kit.answers(1), key="e0000000", data="another0")
    write_data(trio.runs, tmp_path / "r", title="T", command="c")
    (section,) = compare(read_data(tmp_path / "r")).sections
    (found,) = section.find(trio.student.run.id).fidelity
    assert found.agreement is None
    assert found.calibration_error == pytest.approx(abs(SURE - 399 / 400))
