"""The inventory: what is a run, what is none, who works on it, and what newer runs supersede."""

import json
import multiprocessing
import os
from pathlib import Path

import pytest

from compress.errors import InvalidInputError
from compress.inventory import find_superseded, select_below, survey
from compress.recipes.quantization import DynamicInt8
from compress.recipes.schema import Student
from compress.recipes.stages import Distill, Finetune, Quantize
from compress.recipes.terms import SoftTerm
from compress.recipes.values import Training
from compress.runs import LOCK_FILE, Parent, list_files, write_record
from compress.workspace import Workspace
from tests.test_runs import a_run

STUDENT = Student.model_validate(
    {
        "name": "s",
        "description": "",
        "family": "bert",
        "architecture": {
            "num_hidden_layers": 1,
            "hidden_size": 2,
            "num_attention_heads": 1,
            "intermediate_size": 2,
        },
    }
)
DISTILL = Distill(student=STUDENT, method="logits", terms=(SoftTerm(),), training=Training())
QUANTIZE = Quantize(method=DynamicInt8())


def finetuned(number, **changes):
    return a_run(f"{number:08x}", started=f"2026-01-{number:02}T00:00:00+00:00", **changes)


def made(stage, number, parent, **changes):
    """A run of model `s`, made from another."""
    key = f"{number:08x}"
    origin = Parent(role="teacher", name=parent.name, origin=f"run {parent.id}", key=parent.key)
    fields = {"id": f"sst2/s/{stage.kind}-{key}", "name": "s", "stage": stage, "parents": (origin,)}
    return finetuned(number, **(fields | changes))


def put(store, run):
    """A finished run on disk, as `Workspace` leaves it."""
    with Workspace.open(store / run.id) as workspace:
        (workspace.path / "model.safetensors").write_bytes(b"0" * 100)
        return workspace.finish(run.model_copy(update={"files": list_files(workspace.path)}))


def begin(store, name, *, checkpoints=True):
    """A run that was killed: nothing of ours ran after it."""
    workspace = Workspace(store / name)
    workspace.path.mkdir(parents=True)
    (workspace.path / LOCK_FILE).write_text(str(os.getpid()))
    (workspace.path / "half").write_bytes(b"0" * 10)
    if checkpoints:
        workspace.checkpoints.mkdir()
    return workspace.path


@pytest.fixture
def store(tmp_path):
    return tmp_path / "runs"


def states(store):
    return {entry.id: entry.state for entry in survey(store).entries}


def test_a_store_that_is_not_there_is_empty(store):
    assert survey(store).entries == ()
    assert survey(store).cache_bytes == 0


def test_what_is_finished_and_what_is_not(store):
    run = finetuned(1)
    put(store, run)
    begin(store, "sst2/m/distill-00000002")
    begin(store, "sst2/m/distill-00000003", checkpoints=False)
    begin(store, run.id)  # redone, and interrupted
    assert states(store) == {
        run.id: "finished",
        "sst2/m/distill-00000002": "unfinished",
        "sst2/m/distill-00000003": "unfinished",
        f"{run.id}.redo": "unfinished",
    }


def test_sizes_are_those_of_the_files(store):
    put(store, finetuned(1))
    begin(store, "sst2/m/distill-00000002")
    finished, unfinished = survey(store).entries
    assert finished.artefact_bytes == 100
    assert finished.disk_bytes == 100 + (store / finished.id / "run.json").stat().st_size
    assert unfinished.artefact_bytes is None
    assert unfinished.disk_bytes == 10 + len(str(os.getpid()))  # the lock names its holder


def test_what_is_no_run_is_not_listed(store):
    put(store, finetuned(1))
    for folder in (
        "sst2/m/evaluate-00000001/evaluations",  # scores of a model from elsewhere
        "sst2/m/notes/checkpoints",
        "sst2/m/distill-00000009",  # nothing began in it
        "sst2/checkpoints",
        ".teacher-cache/x/distill-00000001/checkpoints",
        "sst2/m/finetune-00000001/inner/distill-00000001/checkpoints",
    ):
        (store / folder).mkdir(parents=True)
    (store / "sst2" / "m" / "distill-0000000a").symlink_to(store / "sst2" / "m" / "finetune-00000001")
    (store / "sst2" / "m" / "distill-0000000b").write_text("a file")
    assert list(states(store)) == [finetuned(1).id]


def test_a_redone_run_killed_before_it_took_its_place_is_left_to_its_owner(store):
    put(store, finetuned(1)).path.rename(store / f"{finetuned(1).id}.redo")
    assert states(store) == {}


@pytest.mark.parametrize("content", ["{", json.dumps({"schema_version": 99})])
def test_a_record_that_cannot_be_read_is_neither_finished_nor_unfinished(store, content):
    (put(store, finetuned(1)).path / "run.json").write_text(content)
    assert set(states(store).values()) == {"unreadable"}


def test_the_caches_are_measured(store):
    for cache, size in ((".teacher-cache", 30), (".augmentation-cache", 4)):
        (store / cache / "key").mkdir(parents=True)
        (store / cache / "key" / "content").write_bytes(b"0" * size)
    assert survey(store).cache_bytes == 34
    assert survey(store).entries == ()


def test_a_newer_run_of_the_same_kind_supersedes(store):
    for number in (2, 1, 3):
        put(store, finetuned(number))
    entries = {entry.id: entry.superseded_by for entry in survey(store).entries}
    assert entries == {
        finetuned(1).id: finetuned(3).id,
        finetuned(2).id: finetuned(3).id,
        finetuned(3).id: None,
    }


def test_times_are_compared_and_not_their_spelling():
    early = finetuned(1).model_copy(update={"started": "2026-01-01T12:00:00+10:00"})
    late = finetuned(2).model_copy(update={"started": "2026-01-01T03:00:00+00:00"})
    assert find_superseded([early, late]) == {early.id: late.id}


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 2},
        {"name": "other"},
        {"stage": DISTILL},
        {"stage": Finetune(training=Training(learning_rate=1e-3))},  # a sweep's finished work
    ],
)
def test_another_seed_model_or_stage_supersedes_nothing(changes):
    assert find_superseded([finetuned(1), finetuned(2, **changes)]) == {}


def test_quantized_students_of_two_seeds_are_siblings():
    """Guards against losing a seed: `quantize` itself runs with the same seed on both."""
    teacher = finetuned(1)
    students = [made(DISTILL, 2, teacher, seed=1), made(DISTILL, 3, teacher, seed=2)]
    small = [made(QUANTIZE, 4, students[0]), made(QUANTIZE, 5, students[1])]
    assert find_superseded([teacher, *students, *small]) == {}


def test_what_a_superseded_run_led_to_is_superseded_with_it():
    teacher = finetuned(1)
    students = [made(DISTILL, 2, teacher), made(DISTILL, 3, teacher)]
    small = [made(QUANTIZE, 4, students[0]), made(QUANTIZE, 5, students[1])]
    found = find_superseded([teacher, *students, *small])
    assert found == {students[0].id: students[1].id, small[0].id: small[1].id}


def test_a_copy_under_another_name_supersedes_nothing_and_is_not_superseded(store):
    put(store, finetuned(1))
    copy = store / "sst2" / "kept" / "finetune-00000002"
    copy.mkdir(parents=True)
    write_record(copy / "run.json", finetuned(2))
    assert {entry.superseded_by for entry in survey(store).entries} == {None}
    assert len(survey(store).entries) == 2


def test_parents_are_runs_and_not_packages(store):
    teacher = finetuned(1)
    run = made(DISTILL, 2, teacher)
    packaged = Parent(role="tokenizer", name="t", origin="package t 1.0", key="k")
    put(store, run.model_copy(update={"parents": (*run.parents, packaged)}))
    assert survey(store).entries[0].parents == (teacher.id,)


@pytest.mark.parametrize("path", ["runs/sst2", "sst2/m", "runs/sst2/m/finetune-00000001", "runs", "."])
def test_parts_of_the_store_are_named_from_here_or_from_the_store(store, path, monkeypatch):
    monkeypatch.chdir(store.parent)
    put(store, finetuned(1))
    put(store, finetuned(2, id="rte/m/finetune-00000002"))
    shown = [entry.id for entry in select_below(survey(store), [Path(path)])]
    assert finetuned(1).id in shown
    assert ("rte/m/finetune-00000002" in shown) == (path in ("runs", "."))


def test_a_path_without_runs_is_told(store):
    put(store, finetuned(1))
    with pytest.raises(InvalidInputError, match="no run in sst3"):
        select_below(survey(store), [Path("sst3")])


def _hold(target, ready, done):
    with Workspace.open(target):
        ready.set()
        done.wait(20)


@pytest.fixture
def holder(store):
    """A function that lets another process hold a run until the test ends."""
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    processes = []

    def hold(name):
        process = context.Process(target=_hold, args=(store / name, ready, done))
        process.start()
        processes.append(process)
        assert ready.wait(60)

    yield hold
    done.set()
    for process in processes:
        process.join()


def test_what_another_process_makes_is_held(store, holder):
    begin(store, "sst2/m/distill-00000002")
    put(store, finetuned(1))
    assert not any(entry.held for entry in survey(store).entries)
    holder("sst2/m/distill-00000002")
    assert {entry.id: entry.held for entry in survey(store).entries} == {
        finetuned(1).id: False,
        "sst2/m/distill-00000002": True,
    }


def test_a_run_that_another_process_redoes_is_held_with_its_workspace(store, holder):
    put(store, finetuned(1))
    holder(finetuned(1).id)
    assert [entry.held for entry in survey(store).entries] == [True, True]
