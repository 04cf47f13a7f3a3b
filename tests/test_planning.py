"""From a command's words to what will be done."""

import pytest

from compress.errors import InvalidInputError
from compress.planning import Options, Workplace, plan_finetuning
from compress.recipes.stages import Finetune


def test_a_name_that_is_a_teacher_s_and_a_student_s_is_told_by_the_tokenizer(
    tmp_path, monkeypatch, task_file, teacher_directory, student_file
):
    """Guards that a teacher of a student's name makes the student unreachable."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "teachers").mkdir()
    teacher = (
        student_file.read_text().partition("[distill")[0]
        + f'[source]\nkind = "local"\npath = "{teacher_directory}"\n'
    ).replace('description = "tiny"', 'description = "taught"\nvocab_size = 32')
    (tmp_path / "teachers" / "tiny-albert.toml").write_text(teacher)

    def plan(tokenizer):
        place = Workplace(store=tmp_path / "runs")
        return plan_finetuning(
            "tiny-albert", str(task_file), place, seed=1, options=Options(), tokenizer=tokenizer
        )

    as_student = plan(str(teacher_directory))
    assert isinstance(as_student.stage, Finetune)
    assert as_student.stage.student.description == "tiny"
    assert set(as_student.inputs) == {"tokenizer"}
    assert plan(None).stage.student is None
    (tmp_path / "teachers" / "tiny-albert.toml").unlink()
    with pytest.raises(InvalidInputError, match="no vocabulary of its own"):
        plan(None)
