"""The rehearsal goes through, from documents to a report, and a second time from the cache."""

import pytest

from compress.recipes.resolve import resolve_student
from compress.reporting import check_report
from compress.runs import find_runs
from tests.benchmarks.chain import main, parse, scale_of
from tests.benchmarks.links import SCALES, Made, noting_problems, write_student
from tests.conftest import STUDENT, write_teacher
from tests.pretraining.test_learning import MORE

QUICK = """
[distill.minilm.small.general.training]
max_steps = 3
max_length = 24
bf16 = false
"""


@pytest.fixture
def student(tmp_path):
    file = tmp_path / "tiny-albert.toml"
    thin = STUDENT.replace("hidden_size = 32", "hidden_size = 36")
    file.write_text(thin.replace("num_attention_heads = 2", "num_attention_heads = 3") + QUICK)
    return file


def test_a_rehearsal_makes_all_of_it_and_then_finds_it(tmp_path, student, task_file, corpus_folder, capsys):
    store, output = tmp_path / "runs", tmp_path / "out"
    arguments = [
        *("--scale", "rehearsal", "--corpus", str(corpus_folder), "--minutes", "0.03", "--rounds", "0"),
        *("--teacher", str(write_teacher(tmp_path / "tiny-bert.toml", MORE)), "--student", str(student)),
        *("--task", str(task_file), "--store", str(store), "--output-dir", str(output)),
    ]
    main(arguments)
    told = capsys.readouterr().out
    kinds = [stored.run.stage.kind for stored in find_runs(store)]
    assert sorted(kinds) == ["distill", "finetune", "general", "pretrain", "quantize"]
    assert check_report(output / "report") == []
    assert "| pretrain | tiny-bert" in told
    assert "| quantize |" in told
    assert "MB of weights, copied to" in told
    assert (output / "weights" / "reviews" / "model.onnx").is_file()
    assert (output / "table.md").read_text() == told
    before = {stored.run.id: stored.run.started for stored in find_runs(store)}
    main(arguments)
    assert {stored.run.id: stored.run.started for stored in find_runs(store)} == before
    assert capsys.readouterr().out == told


def test_the_rehearsals_student_is_the_bundled_one_with_a_shorter_schedule(tmp_path):
    scale = SCALES["rehearsal"]
    short, usual = (resolve_student(name) for name in (write_student(scale, tmp_path), scale.student))
    assert (short.name, short.architecture) == (usual.name, usual.architecture)
    assert short.distill.minilm.small.general.training.max_steps == 100
    assert usual.distill.minilm.small.general.training.max_steps > 100


def test_what_is_said_takes_the_place_of_what_is_usual():
    given = ["--scale", "gpu", "--minutes", "3", "--task", "rte", "--store", "s", "--output-dir", "o"]
    scale = scale_of(parse(given))
    assert (scale.minutes, scale.tasks, scale.teacher) == (3, ("rte",), "bert-base")
    assert scale_of(parse([*given, "--student", "mine.toml"])).student == "mine.toml"


def test_a_task_that_fails_is_told_of_and_the_others_go_on():
    from compress.errors import CompressError

    made = Made()
    with noting_problems(made, "bert on mrpc"):
        raise CompressError("No data.", "Bring some.")
    assert made.problems == ["bert on mrpc: No data.\nBring some."]
