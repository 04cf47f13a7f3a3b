"""Families are compared by the user's own commands; the hold-out alone chooses the rate."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from compress.cli.commands import app
from compress.runs import find_runs
from tests.benchmarks import families
from tests.benchmarks.families import Side, Trial, choose_rate, main
from tests.conftest import write_teacher
from tests.pretraining.test_learning import MORE


@pytest.fixture
def begun(monkeypatch):
    """Commands that were begun: the first in a process of its own, as all are, the others in this one."""
    run, lines = subprocess.run, []

    def begin(line, *, env, **more):
        lines.append(line)
        if len(lines) == 1:
            return run(line, env=env, **more)
        assert line[:3] == [sys.executable, "-m", "compress"]
        result = CliRunner(env=env).invoke(app, line[3:])
        assert result.exit_code == 0, result.output + result.stderr
        return SimpleNamespace(stdout=result.stdout)

    monkeypatch.setattr(families, "subprocess", SimpleNamespace(run=begin, PIPE=subprocess.PIPE))
    return lines


def test_a_comparison_goes_through_and_then_finds_all_of_it(
    tmp_path, task_file, corpus_folder, capsys, begun
):
    store, output = tmp_path / "runs", tmp_path / "report"
    arguments = [
        *("--models", str(write_teacher(tmp_path / "tiny-bert.toml", MORE)), "--corpus", str(corpus_folder)),
        *(
            "--minutes",
            "0.03",
            "--task",
            str(task_file),
            "--steps",
            "3",
            "2",
            "--rates",
            "0.001",
            "--seeds",
            "1",
        ),
        *("--store", str(store), "--output-dir", str(output), "--processes", "1"),
    ]
    main(arguments)
    told = capsys.readouterr().out
    runs = [stored.run for stored in find_runs(store)]
    assert sorted(run.stage.kind for run in runs) == ["finetune"] * 4 + ["pretrain"]
    tuned = [run.stage for run in runs if run.stage.kind == "finetune"]
    assert {(bool(stage.new), stage.training.max_steps) for stage in tuned} == {
        (new, steps) for new in (False, True) for steps in (2, 3)
    }
    baseline = json.loads((output / "data" / "report.json").read_text())["baseline"]
    assert [run.stage.new for run in runs if run.id == baseline] == [None]
    assert "nsp" in told
    assert len(begun) == 5
    before = {run.id: run.started for run in runs}
    main(arguments)
    assert begun[5:] == begun[:5]
    assert {stored.run.id: stored.run.started for stored in find_runs(store)} == before
    assert capsys.readouterr().out == told


@pytest.mark.parametrize(("scores", "chosen"), [((0.8, 0.7), 1e-4), ((0.7, 0.8), 1e-3), ((0.8, 0.8), 1e-4)])
def test_the_holdout_chooses_the_rate_and_of_equals_the_lowest(scores, chosen):
    side, other = Side("bert", "random", 250), Side("bert", "random", 1000)
    tuned = {
        Trial(side, rate, 42): SimpleNamespace(run=SimpleNamespace(facts={"holdout_score": score}))
        for rate, score in zip((1e-4, 1e-3), scores, strict=True)
    }
    tuned[Trial(other, 3e-3, 42)] = SimpleNamespace(run=SimpleNamespace(facts={"holdout_score": 1.0}))
    assert choose_rate(tuned, side) == chosen
