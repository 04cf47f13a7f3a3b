"""Tasks are described right: names, columns, metrics, and the user's own files."""

from pathlib import Path

import pytest

from compress.errors import InvalidInputError, UnknownNameError
from compress.tasks import GLUE, GlueSource, resolve_task


def test_glue_is_its_nine_tasks_with_their_metrics():
    metrics = {name: task.metrics for name, task in GLUE.items()}
    assert metrics == {
        "cola": ("matthews_correlation",),
        "sst2": ("accuracy",),
        "mrpc": ("accuracy", "f1"),
        "stsb": ("pearson", "spearman"),
        "qqp": ("accuracy", "f1"),
        "mnli": ("accuracy",),
        "qnli": ("accuracy",),
        "rte": ("accuracy",),
        "wnli": ("accuracy",),
    }
    assert GLUE["mnli"].validation == ("validation_matched", "validation_mismatched")
    assert [task.num_outputs for task in GLUE.values()] == [2, 2, 2, 1, 2, 3, 2, 2, 2]


def test_the_diagnostic_set_is_mnli_s_question_and_nothing_to_learn_from():
    task, mnli = resolve_task("ax"), GLUE["mnli"]
    assert (task.text, task.labels) == (mnli.text, mnli.labels)
    assert (task.train, task.validation) == (None, ("test",))


def test_glue_from_a_clone(tmp_path, monkeypatch):
    (tmp_path / "sst2").mkdir()
    source = resolve_task("sst2", glue=tmp_path).source
    assert isinstance(source, GlueSource)
    assert source.clone == str(tmp_path)
    monkeypatch.setenv("COMPRESS_GLUE", str(tmp_path))
    assert resolve_task("sst2").source == source
    with pytest.raises(InvalidInputError, match="no folder 'rte'"):
        resolve_task("rte")


def test_a_task_file_s_paths_are_relative_to_it(task_file):
    task = resolve_task(str(task_file))
    assert task.name == "reviews"
    assert Path(task.source.train) == task_file.parent / "train.csv"
    assert task.validation == ("validation",)


def test_several_validation_files_go_by_their_stems(task_file):
    text = task_file.read_text().replace('"validation.csv"', '["easy.csv", "hard.csv"]')
    task_file.write_text(text)
    assert resolve_task(str(task_file)).validation == ("easy", "hard")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (('["accuracy", "macro_f1"]', '["pearson"]'), "not scored by"),
        (('kind = "classification"', 'kind = "regression"'), "a regression is scored by"),
        (('text = ["review"]', 'text = ["a", "b", "c"]'), "text"),
        (('train = "train.csv"', ""), "train: missing"),
        (('label = "verdict"', 'labels = ["one"]'), "two or more"),
        (('label = "verdict"', 'lable = "verdict"'), "lable: no such field"),
    ],
)
def test_a_mistake_in_a_task_file_is_named(task_file, change, complaint):
    task_file.write_text(task_file.read_text().replace(*change))
    with pytest.raises(InvalidInputError) as caught:
        resolve_task(str(task_file))
    assert complaint in caught.value.problem


def test_unknown_task():
    with pytest.raises(UnknownNameError) as caught:
        resolve_task("sst-2")
    assert "'sst2'" in caught.value.fix
    with pytest.raises(UnknownNameError, match="no task file"):
        resolve_task("nowhere/task.toml")
