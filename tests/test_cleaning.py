"""Cleaning: what may go, what never does, and what is gone afterwards."""

import fcntl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.cleaning import cache_may_go, choose, delete, delete_cache
from compress.inventory import Entry, Inventory, survey
from tests.test_inventory import DISTILL, QUANTIZE, begin, finetuned, made, put

BOTH = ("unfinished", "superseded")


@pytest.fixture
def store(tmp_path):
    return tmp_path / "runs"


def an_entry(id_, **changes):
    fields = {
        "id": id_,
        "state": "finished",
        "task": "sst2",
        "model": "m",
        "stage": "finetune",
        "scores": {},
        "disk_bytes": 1,
        "changed": "2026-01-01T00:00:00+00:00",
        "held": False,
    }
    return Entry.model_validate(fields | changes)


def an_inventory(*entries, cache_bytes=0):
    return Inventory(store="runs", entries=entries, cache_bytes=cache_bytes)


def test_only_what_is_asked_for_is_chosen():
    inventory = an_inventory(
        an_entry("a", state="unfinished"), an_entry("b", superseded_by="c"), an_entry("c"), an_entry("d")
    )
    assert choose(inventory, reasons=BOTH).chosen == {"a": "unfinished", "b": "superseded"}
    assert choose(inventory, reasons=["unfinished"]).chosen == {"a": "unfinished"}
    assert choose(inventory, reasons=["superseded"]).chosen == {"b": "superseded"}
    assert choose(inventory, reasons=[]).chosen == {}


def test_a_parent_of_what_stays_stays_and_so_does_its_own_parent():
    inventory = an_inventory(
        an_entry("grandparent", superseded_by="x"),
        an_entry("parent", superseded_by="x", parents=("grandparent",)),
        an_entry("child", parents=("parent",)),
        an_entry("x"),
    )
    choice = choose(inventory, reasons=BOTH)
    assert choice.chosen == {}
    assert choice.kept == {"parent": "child was made from it", "grandparent": "parent was made from it"}


def test_a_parent_goes_with_all_that_was_made_from_it():
    inventory = an_inventory(
        an_entry("parent", superseded_by="x"),
        an_entry("child", superseded_by="y", parents=("parent",)),
        an_entry("x"),
        an_entry("y"),
    )
    assert set(choose(inventory, reasons=BOTH).chosen) == {"parent", "child"}


def test_what_a_process_holds_stays():
    inventory = an_inventory(an_entry("a", state="unfinished", held=True), an_entry("b", state="unfinished"))
    choice = choose(inventory, reasons=BOTH)
    assert choice.chosen == {"b": "unfinished"}
    assert "another process" in choice.kept["a"]


@pytest.mark.parametrize("opaque", [{"state": "unfinished", "held": True}, {"state": "unreadable"}])
def test_while_parents_are_unknown_superseded_runs_of_the_task_stay(opaque):
    inventory = an_inventory(
        an_entry("a", superseded_by="b"),
        an_entry("b"),
        an_entry("c", **opaque),
        an_entry("d", superseded_by="b", task="rte"),
        an_entry("e", state="unfinished"),
    )
    assert set(choose(inventory, reasons=BOTH).chosen) == {"d", "e"}


@given(st.data())
def test_no_choice_takes_a_parent_from_what_stays(data):
    names = [f"r{number}" for number in range(data.draw(st.integers(1, 8)))]
    entries = [
        an_entry(
            name,
            state=data.draw(st.sampled_from(["finished", "finished", "unfinished", "unreadable"])),
            superseded_by=data.draw(st.sampled_from([None, "newer"])),
            held=data.draw(st.integers(0, 5)) == 0,
            task=data.draw(st.sampled_from(["a", "b"])),
            parents=tuple(data.draw(st.lists(st.sampled_from(names[:place]), max_size=2)) if place else ()),
        )
        for place, name in enumerate(names)
    ]
    choice = choose(an_inventory(*entries), reasons=BOTH)
    needed = {parent for entry in entries if entry.id not in choice.chosen for parent in entry.parents}
    assert not needed & set(choice.chosen)
    assert not {entry.id for entry in entries if entry.held} & set(choice.chosen)
    assert not set(choice.kept) & set(choice.chosen)


def test_a_whole_store_is_cleaned_and_the_rest_untouched(store):
    teacher = finetuned(1)
    students = [made(DISTILL, 2, teacher), made(DISTILL, 3, teacher)]
    small = made(QUANTIZE, 4, students[0])
    for run in (teacher, *students, small):
        put(store, run)
    begin(store, "rte/m/distill-00000009")
    (store / "sst2" / "notes.txt").write_text("mine")
    inventory = survey(store)
    choice = choose(inventory, reasons=BOTH)
    assert set(choice.chosen) == {"rte/m/distill-00000009"}  # small needs students[0]
    for entry in inventory.entries:
        if entry.id in choice.chosen:
            assert delete(store, entry)
    assert not (store / "rte").exists()  # nor its empty parents
    assert (store / "sst2" / "notes.txt").read_text() == "mine"
    assert {entry.id for entry in survey(store).entries} == {
        teacher.id,
        *(run.id for run in students),
        small.id,
    }


def test_an_interrupted_redo_goes_and_the_run_stays(store):
    run = put(store, finetuned(1))
    begin(store, run.run.id)
    (redo,) = (entry for entry in survey(store).entries if entry.state == "unfinished")
    assert delete(store, redo)
    assert [path.name for path in run.path.parent.iterdir()] == [run.path.name]


@pytest.mark.parametrize("place", ["", ".redo"])
def test_what_is_held_since_the_survey_is_not_deleted(store, place):
    put(store, finetuned(1))
    (entry,) = survey(store).entries
    folder = store / f"{entry.id}{place}"
    folder.mkdir(exist_ok=True)
    with (folder / ".lock").open("a+") as lock:
        fcntl.flock(lock.fileno(), fcntl.LOCK_EX)
        assert not delete(store, entry)
    assert (store / entry.id / "run.json").is_file()
    assert delete(store, entry)


def test_what_was_finished_since_the_survey_is_not_deleted(store):
    begin(store, finetuned(1).id)
    (entry,) = survey(store).entries
    put(store, finetuned(1))
    assert not delete(store, entry)
    assert (store / entry.id / "run.json").is_file()


def test_what_is_gone_since_the_survey_is_no_failure(store):
    begin(store, "sst2/m/distill-00000002")
    (entry,) = survey(store).entries
    assert delete(store, entry)
    assert not delete(store, entry)


@pytest.mark.parametrize("caches", [(".teacher-cache", ".augmentation-cache"), (".tokenizer-cache",)])
def test_the_caches_go_only_while_no_run_is_made(store, caches):
    assert not cache_may_go(an_inventory())
    assert cache_may_go(an_inventory(an_entry("a"), cache_bytes=1))
    assert not cache_may_go(an_inventory(an_entry("a", held=True), cache_bytes=1))
    put(store, finetuned(1))
    for cache in caches:
        (store / cache / "key").mkdir(parents=True)
    delete_cache(store)
    assert [path.name for path in store.iterdir()] == ["sst2"]
