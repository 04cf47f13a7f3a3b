"""`compress runs`: what it shows, what it asks, what it deletes."""

import json

import pytest
from typer.testing import CliRunner

from compress.cli.commands import app
from compress.cli.store import age
from compress.reporting.formats import format_bytes
from tests.cli.test_commands import HEAVY, imported_by
from tests.test_inventory import begin, finetuned, put

UNFINISHED = "sst2/m/distill-00000009"


def run(*arguments, **more):
    return CliRunner().invoke(app, ["runs", *arguments], **more)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A superseded run, a newer one, an unfinished one, and a cache."""
    monkeypatch.chdir(tmp_path)
    store = tmp_path / "runs"
    put(store, finetuned(1))
    put(store, finetuned(2))
    begin(store, UNFINISHED)
    (store / ".teacher-cache" / "key").mkdir(parents=True)
    (store / ".teacher-cache" / "key" / "logits").write_bytes(b"0" * 30)
    return store


def left(store):
    return {path.name for path in (store / "sst2" / "m").iterdir()}


ALL = {"finetune-00000001", "finetune-00000002", "distill-00000009"}


@pytest.mark.parametrize("arguments", [(), ("list",), ("list", "runs/sst2"), ("list", "sst2")])
def test_the_list_shows_every_run_with_its_state(store, arguments):
    shown = run(*arguments).stdout
    for part in (
        finetuned(1).id,
        "superseded",
        finetuned(2).id,
        "finished",
        UNFINISHED,
        "unfinished",
        "30 B",
    ):
        assert part in shown, part


def test_the_list_is_one_json_object_on_request(store):
    for arguments in (["--json"], ["list", "--json"]):
        value = json.loads(run(*arguments).stdout)
        assert [entry["id"] for entry in value["runs"]] == [finetuned(1).id, finetuned(2).id, UNFINISHED]
        assert value["cache_bytes"] == 30
        assert value["disk_bytes"] == sum(entry["disk_bytes"] for entry in value["runs"])


def test_options_before_the_subcommand_are_refused_and_not_ignored(store):
    assert run("--json", "list").exit_code == 2
    assert run("--runs", "elsewhere", "clean", "--yes").exit_code == 2
    assert left(store) == ALL


def test_where_nobody_can_be_asked_nothing_is_deleted(store):
    for arguments in ([], ["--json"]):
        result = run("clean", *arguments)
        assert result.exit_code == 2
        assert UNFINISHED in result.stdout
        assert "--yes" in result.stderr
        assert left(store) == ALL


def test_a_dry_run_deletes_nothing(store):
    result = run("clean", "--dry-run", "--yes")
    assert result.exit_code == 0
    assert UNFINISHED in result.stdout
    assert left(store) == ALL


@pytest.mark.parametrize(
    ("options", "gone"),
    [
        ([], {"finetune-00000001", "distill-00000009"}),
        (["--unfinished"], {"distill-00000009"}),
        (["--superseded"], {"finetune-00000001"}),
        (["--cache"], set()),
    ],
)
def test_what_is_named_goes_and_is_told(store, options, gone):
    before = json.loads(run("--json").stdout)
    result = run("clean", "--yes", "--json", *options)
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert left(store) == ALL - gone
    assert {name.rpartition("/")[2] for name in value["deleted"]} == gone
    assert (store / ".teacher-cache").exists() == ("--cache" not in options)
    after = json.loads(run("--json").stdout)
    assert value["freed_bytes"] == sum(before[key] - after[key] for key in ("disk_bytes", "cache_bytes")) > 0


@pytest.mark.parametrize(("answer", "remaining"), [("n\n", ALL), ("\n", ALL), ("y\n", {"finetune-00000002"})])
def test_a_person_is_asked(store, answer, remaining, monkeypatch):
    monkeypatch.setattr("compress.cli.store._can_ask", lambda: True)
    result = run("clean", input=answer)
    assert result.exit_code == 0, result.output
    assert UNFINISHED in result.stderr
    assert left(store) == remaining


def test_nothing_to_delete_is_no_failure(tmp_path):
    result = run("clean", "--runs", str(tmp_path / "none"))
    assert result.exit_code == 0
    assert "nothing to delete" in result.stdout


def test_the_commands_have_examples():
    for command in ([], ["list"], ["clean"]):
        assert "Example: compress runs" in " ".join(run(*command, "--help").stdout.split())


def test_listing_imports_nothing_heavy(store):
    program = f"from compress.inventory import survey; from pathlib import Path; survey(Path({str(store)!r}))"
    assert not HEAVY & imported_by(f"{program}; import compress.cleaning, compress.cli.store")


def test_sizes_and_ages_are_short():
    assert [format_bytes(number) for number in (0, 999, 21_100_000, 5 * 10**9)] == [
        "0 B",
        "999 B",
        "21.1 MB",
        "5.00 GB",
    ]
    assert [age(seconds) for seconds in (-1, 59, 60, 7200, 2e5)] == ["0 s", "59 s", "1 min", "2 h", "2 d"]
