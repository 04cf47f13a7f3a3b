"""From a command's words to what will be done."""

import json

import pytest

from compress.encoder import load_tokenizer
from compress.errors import InvalidInputError
from compress.pipeline import execute
from compress.planning import Options, Workplace, plan_finetuning
from compress.recipes.resolve import resolve_student, resolve_teacher
from compress.recipes.schema import NewModel
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


@pytest.mark.parametrize(("model", "longest"), [("tiny-bert", 130), ("students/tiny-albert.toml", 64)])
def test_texts_longer_than_a_model_has_positions_are_refused_before_anything_runs(
    tmp_path, monkeypatch, task_file, teacher_directory, student_file, model, longest
):
    monkeypatch.chdir(tmp_path)
    tokenizer = str(teacher_directory) if model.endswith(".toml") else None

    def plan(length):
        options = Options(training={"max_length": length})
        place = Workplace(store=tmp_path / "runs")
        return plan_finetuning(model, str(task_file), place, seed=1, options=options, tokenizer=tokenizer)

    assert plan(longest).stage.training.max_length == longest
    with pytest.raises(InvalidInputError, match=f"at most {longest} tokens, not {longest + 1}") as caught:
        plan(longest + 1)
    assert f"--max-length {longest}" in caught.value.fix


def test_a_teachers_shape_with_somebodys_tokenizer_starts_from_random_weights(
    tmp_path, task_file, teacher_directory
):
    """What pretraining is worth is seen beside the same architecture, trained by the same recipe, without it."""
    place = Workplace(store=tmp_path / "runs")

    def plan(model, tokenizer=str(teacher_directory), *, random=True):
        return plan_finetuning(
            model,
            str(task_file),
            place,
            seed=1,
            options=Options(training={"max_steps": 2, "max_length": 32, "bf16": False}),
            tokenizer=tokenizer,
            random=random,
        )

    step = plan("electra-mini")
    recipe = resolve_teacher("electra-mini")
    assert step.stage.new == NewModel(family="electra", architecture=recipe.architecture)
    assert step.stage.training.learning_rate == recipe.training.learning_rate
    assert (set(step.inputs), step.name) == ({"tokenizer"}, "electra-mini")
    assert Finetune.model_validate_json(step.stage.model_dump_json()) == step.stage
    stored = execute(step)
    config = json.loads((stored.path / "config.json").read_text(encoding="utf-8"))
    assert (config["model_type"], config["hidden_size"]) == ("electra", 256)
    assert config["vocab_size"] == len(load_tokenizer(teacher_directory))
    with pytest.raises(InvalidInputError, match="brings its own tokenizer"):
        plan(str(teacher_directory))
    with pytest.raises(InvalidInputError, match="brings its own tokenizer"):
        plan("electra-mini", random=False)  # never silently
    with pytest.raises(InvalidInputError, match="have no vocabulary"):
        plan("electra-mini", None)
    usual = Finetune(training=step.stage.training)
    assert "new" not in usual.model_dump()


def test_rewording_a_recipe_is_no_other_run(tmp_path, task_file, teacher_directory, student_file):
    """Guards hours of work redone for a better description, or for a default that the command line overrides."""

    def key(*changes, rate=None):
        text = student_file.read_text()
        for change in changes:
            assert change[0] in text
            student_file.write_text(student_file.read_text().replace(*change))
        options = Options(training={"learning_rate": rate})
        plan = plan_finetuning(
            str(student_file),
            str(task_file),
            Workplace(store=tmp_path / "runs"),
            seed=1,
            options=options,
            tokenizer=str(teacher_directory),
        )
        student_file.write_text(text)
        return plan.key

    assert key(('"tiny"', '"very small"')) == key()
    assert key(("learning_rate = 5e-3", "learning_rate = 1e-3")) != key()
    assert key(("learning_rate = 5e-3", "learning_rate = 1e-3"), rate=2e-3) == key(rate=2e-3)
    assert key(("hidden_size = 32", "hidden_size = 64")) != key()


def test_a_teacher_trains_longer_where_its_recipe_says_so(
    tmp_path, monkeypatch, task_file, teacher_directory
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "teachers").mkdir()
    text = (
        'description = "t"\nfamily = "bert"\nvocab_size = 32\n'
        f'[source]\nkind = "local"\npath = "{teacher_directory}"\n'
        "[architecture]\nnum_hidden_layers = 2\nhidden_size = 24\nnum_attention_heads = 3\nintermediate_size = 48\n"
        "[training]\nlearning_rate = 1e-3\nnum_train_epochs = 3\n"
        "[training_for.reviews]\nnum_train_epochs = 7\n[training_for.rte]\nlearning_rate = 9.0\n"
    )
    file = tmp_path / "teachers" / "mine.toml"
    file.write_text(text)

    def schedule(**changes):
        options = Options(training=changes)
        plan = plan_finetuning("mine", str(task_file), Workplace(tmp_path / "runs"), seed=1, options=options)
        return plan.stage.training.num_train_epochs, plan.stage.training.learning_rate

    assert schedule() == (7.0, 1e-3)  # the rate is not reset to the schema's default
    assert schedule(num_train_epochs=1.0) == (1.0, 1e-3)
    file.write_text(text.replace("num_train_epochs = 7", "num_train_epoch = 7"))
    with pytest.raises(InvalidInputError, match=r"training_for\.reviews\.num_train_epoch: no such field"):
        schedule()


def test_a_name_of_a_student_and_of_a_teacher_is_the_teachers_where_random_weights_are_asked_for(
    tmp_path, teacher_directory, task_file
):
    """Guards a comparison with the teacher's shape in which the student's, half as wide again, took its place."""

    def plan(model, **more):
        place = Workplace(tmp_path / "runs")
        tokenizer = str(teacher_directory)
        options = Options()
        return plan_finetuning(
            model, str(task_file), place, seed=1, options=options, tokenizer=tokenizer, **more
        )

    assert plan("bert-mini", random=True).stage.new.architecture == resolve_teacher("bert-mini").architecture
    assert plan("bert-mini").stage.student.architecture == resolve_student("bert-mini").architecture
    assert plan("albert-tiny", random=True).stage.student is not None
