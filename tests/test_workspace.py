"""The directory in which a run is made: held by one process, finished or as if nothing had been."""

import multiprocessing

import pytest

from compress.errors import CompressError
from compress.runs import (
    CHECKPOINTS,
    REDO_SUFFIX,
    RUN_FILE,
    find_runs,
    list_files,
    read_run,
    run_directory,
    write_record,
)
from compress.workspace import Workspace, complete
from tests.test_runs import a_run


@pytest.fixture
def target(tmp_path):
    return run_directory(tmp_path / "runs", task="sst2", name="m", stage="finetune", key="00000000")


def make(target, content="one"):
    with Workspace.open(target) as workspace:
        (workspace.path / "model.safetensors").write_text(content)
        workspace.checkpoints.mkdir(exist_ok=True)
        return workspace.finish(a_run(files=list_files(workspace.path)))


def test_a_finished_run_reads_back_and_leaves_nothing_else(target):
    stored = make(target)
    assert read_run(target).run == stored.run
    assert sorted(path.name for path in target.iterdir()) == ["model.safetensors", "run.json"]
    assert stored.run.artefact_bytes == 3


def test_an_unfinished_directory_is_no_run(target):
    with pytest.raises(ZeroDivisionError), Workspace.open(target) as workspace:
        (workspace.path / "model.safetensors").write_text("half")
        raise ZeroDivisionError
    assert find_runs(target.parent.parent.parent) == []
    with pytest.raises(CompressError, match="no finished run"):
        read_run(target)
    make(target)
    assert len(find_runs(target.parent.parent.parent)) == 1


def test_a_redone_run_that_fails_leaves_the_old_one_whole(target):
    make(target, "one")
    with pytest.raises(ZeroDivisionError), Workspace.open(target) as workspace:
        (workspace.path / "model.safetensors").write_text("half")
        raise ZeroDivisionError
    assert (target / "model.safetensors").read_text() == "one"
    assert len(find_runs(target.parent)) == 1
    make(target, "two")
    assert (target / "model.safetensors").read_text() == "two"
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def _hold(target, ready, done):
    with Workspace.open(target):
        ready.set()
        done.wait(20)


def test_a_second_process_is_told_who_holds_the_run(target):
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(target, ready, done))
    process.start()
    assert ready.wait(20)
    with pytest.raises(CompressError, match=f"pid {process.pid}"), Workspace.open(target):
        pass
    done.set()
    process.join()
    with Workspace.open(target):
        pass


def test_a_read_only_store_is_told(tmp_path, monkeypatch):
    (tmp_path / "runs").write_text("a file where a directory should be")
    with pytest.raises(CompressError, match="cannot be written"), Workspace.open(tmp_path / "runs" / "x"):
        pass


def test_a_kill_between_the_last_two_moments_costs_nothing(target):
    """Guards hours lost after `run.json` was written: checkpoints still there, or the redone run beside its place."""
    make(target)
    (target / CHECKPOINTS).mkdir()
    complete(target)
    assert not (target / CHECKPOINTS).exists()
    redone = target.with_name(target.name + REDO_SUFFIX)
    target.rename(target.with_name(f".{target.name}.superseded"))
    redone.mkdir()
    write_record(redone / RUN_FILE, a_run(seconds=2.0))
    complete(target)
    assert read_run(target).run.seconds == 2.0
    assert not redone.exists()


def test_a_redone_run_that_is_begun_again_is_finished_no_longer(target):
    """Guards a torn artefact that reads as finished: a kill had kept the redone run from taking its place."""
    make(target)
    redone = target.with_name(target.name + REDO_SUFFIX)
    redone.mkdir()
    write_record(redone / RUN_FILE, a_run())
    with pytest.raises(ZeroDivisionError), Workspace.open(target) as workspace:
        assert workspace.path == redone
        assert not (redone / RUN_FILE).exists()
        raise ZeroDivisionError
    assert read_run(target)


def test_checkpoints_outlive_a_record_that_could_not_be_written(target, monkeypatch):
    """Guards training lost to a disk that is full at the very end."""

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("compress.workspace.write_record", full)
    with pytest.raises(CompressError, match="No space left"), Workspace.open(target) as workspace:
        workspace.checkpoints.mkdir()
        (workspace.checkpoints / "weights").write_text("hours")
        workspace.finish(a_run())
    assert (target / CHECKPOINTS / "weights").read_text() == "hours"
