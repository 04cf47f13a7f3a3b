"""The run directory: atomic, held by one, readable by versions that know it."""

import json
from pathlib import Path

import pytest

from compress.environment import Environment
from compress.errors import CompressError
from compress.recipes.stages import Distill, Export, Finetune
from compress.recipes.terms import HardTerm, SoftTerm
from compress.recipes.values import Training
from compress.runs import (
    Batches,
    Evaluation,
    Run,
    Score,
    content_key,
    read_record,
    read_run,
    run_directory,
    write_atomically,
    write_record,
)
from compress.tasks import GLUE

REPORTS = Path(__file__).parent.parent / "reports"
PUBLISHED = sorted(REPORTS.glob("*/data/*/*/*/run.json"))
HERE = Environment(
    python="3.11",
    system="Linux",
    cpu="x",
    cpu_flags=(),
    cpu_count=2,
    memory_bytes=1,
    device="cpu",
    gpu=None,
    versions={},
    commit=None,
)


def a_run(key="00000000", **changes):
    fields = {
        "id": f"sst2/m/finetune-{key}",
        "name": "m",
        "key": key,
        "stage": Finetune(training=Training()),
        "parents": (),
        "task": GLUE["sst2"],
        "subject": "sst2",
        "seed": 1,
        "command": "compress finetune m --task sst2",
        "environment": HERE,
        "started": "2026-01-01T00:00:00+00:00",
        "seconds": 1.0,
        "parameters": 1,
        "facts": {},
        "files": {},
    }
    return Run(**(fields | changes))


@pytest.fixture
def target(tmp_path):
    return run_directory(tmp_path / "runs", task="sst2", name="m", stage="finetune", key="00000000")


def make(target):
    target.mkdir(parents=True)
    write_record(target / "run.json", a_run())


def test_a_newer_schema_is_refused_with_a_message(target):
    make(target)
    content = json.loads((target / "run.json").read_text())
    (target / "run.json").write_text(json.dumps({**content, "schema_version": 99}))
    with pytest.raises(CompressError, match="schema version 99"):
        read_run(target)


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"schema_version": 1}'])
def test_a_damaged_record_is_told(target, damage):
    make(target)
    (target / "run.json").write_text(damage)
    with pytest.raises(CompressError, match="damaged"):
        read_run(target)


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    file = tmp_path / "a.json"
    write_atomically(file, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(file, "new \udcff")
    assert file.read_text() == "old"


def test_keys_do_not_depend_on_the_order_of_names():
    assert content_key({"a": 1, "b": [2]}) == content_key({"b": [2], "a": 1})
    assert content_key({"a": 1}) != content_key({"a": 2})


def test_an_unlabelled_split_has_no_primary_score():
    """Guards an IndexError: GLUE's AX and the test splits are predicted, not scored."""
    score = Score(name="accuracy", value=0.5, n=2, low=0.0, high=1.0)
    fields = {
        "key": "0" * 8,
        "run": "r",
        "task": "ax",
        "split": "test",
        "data": "0" * 8,
        "engine": "pytorch",
        "batches": Batches(size=32, order="length", max_length=64),
        "truncated": 0,
        "predictions": "0.parquet",
        "environment": HERE,
    }
    assert Evaluation(scores=(), **fields).primary is None
    assert Evaluation(scores=(score,), **fields).primary == score


@pytest.mark.parametrize("file", PUBLISHED, ids=lambda file: "/".join(file.parts[-5:-1]))
def test_a_published_record_is_still_read(file):
    """Guards records of before there were terms and corpora: they named the task alone, and a method with weights."""
    run = read_record(file, Run)
    folder = "sample-corpus" if run.task is None and run.subject == "sample" else run.subject
    assert folder == (run.task.name if run.task else run.id.split("/")[0])
    assert Run.model_validate_json(run.model_dump_json()) == run


def test_an_older_method_is_read_as_terms():
    (file,) = REPORTS.glob("first-light/data/sst2/albert-tiny/distill-*/run.json")
    older = json.loads(file.read_text())
    assert older["task_name"] == "sst2"
    assert older["stage"]["method"]["temperature"] == 2.0  # or this test is about nothing
    stage = read_record(file, Run).stage
    assert isinstance(stage, Distill)
    assert (stage.method, stage.terms) == ("logits", (SoftTerm(temperature=2.0),))
    assert (stage.teacher_weights, stage.augmentation, stage.budget) == ((1.0,), None, None)


@pytest.mark.parametrize(
    ("weights", "terms"),
    [
        (
            {"soft_weight": 0.3, "hard_weight": 0.7},
            (SoftTerm(weight=0.3, temperature=4.0), HardTerm(weight=0.7)),
        ),
        ({"soft_weight": 0.0, "hard_weight": 1.0}, (HardTerm(),)),
    ],
)
def test_an_older_method_s_weights_are_its_terms(weights, terms):
    (file,) = REPORTS.glob("first-light/data/sst2/albert-tiny/distill-*/run.json")
    older = json.loads(file.read_text())
    older["stage"]["method"] = {"kind": "logits", "temperature": 4.0, **weights}
    assert Run.model_validate(older).stage.terms == terms


def test_what_was_computed_from_weights_was_learned_by_their_seed():
    """Guards a hold-out that the model was taught: it was drawn by the seed of the training, not of the export."""
    trained = a_run(seed=7)
    exported = a_run("11111111", stage=Export(), lineage=trained.descent, seed=42)
    again = a_run("22222222", stage=Export(), lineage=exported.descent, seed=43)
    assert [run.learned_by for run in (trained, exported, again)] == [7, 7, 7]
    assert a_run(stage=Export(), seed=42).learned_by == 42  # of before there was a lineage
    assert [ancestor.id for ancestor in again.lineage] == [trained.id, exported.id]
