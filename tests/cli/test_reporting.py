"""`report` says where a report is, where its runs are, and how each of its commands is given."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from compress.cli.commands import app

REPORT = Path(__file__).resolve().parents[2] / "reports" / "rehearsal"
"""Small, and of one task."""


@pytest.fixture
def reports(tmp_path, monkeypatch):
    """The working directory, with two reports in `reports`."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        shutil.copytree(REPORT, tmp_path / "reports" / name)
    return tmp_path / "reports"


def refused(*arguments, status):
    done = CliRunner().invoke(app, ["report", *arguments])
    assert done.exit_code == status, done.output
    assert done.stdout == ""
    return done.stderr.removeprefix("Error: ").splitlines()


@pytest.mark.parametrize(
    ("mode", "command"),
    [
        ("--check", "compress report --check --output-dir DIR"),
        ("--again", "compress report --again --output-dir DIR"),
        ("runs", "compress report RUNS --output-dir reports/NAME"),
    ],
)
def test_a_missing_directory_is_named_in_the_command_that_was_given(mode, command):
    assert refused(mode, status=2) == ["A report needs a directory.", f"Name it: {command}"]


COMPARE = ("--compare", "A", "B")


@pytest.mark.parametrize(
    ("arguments", "problem", "fix"),
    [
        ((*COMPARE, "--output-dir", "nowhere"), "nowhere is no report, and holds none.", "Make one: "),
        (
            (*COMPARE, "--output-dir", "reports"),
            "reports is no report, but holds a, b.",
            "Name one of them: --output-dir reports/a",
        ),
        (
            (*COMPARE, "--output-dir", "reports/a/data"),
            "reports/a/data is no report",
            "Did you mean reports/a?",
        ),
        (
            ("--check", "--output-dir", "reports/a/data"),
            "reports/a/data is no report",
            "Did you mean reports/a?",
        ),
        (
            ("--again", "--output-dir", "reports/a/data"),
            "reports/a/data is no report",
            "Did you mean reports/a?",
        ),
        (
            ("--check", "reports/a/data", "--output-dir", "reports"),
            "reports is no report, but holds",
            "Name one",
        ),
    ],
)
def test_what_is_no_report_says_where_one_is(reports, arguments, problem, fix):
    """Guards "is not what was written … git checkout" of what never was a report."""
    told = refused(*arguments, status=1)
    assert told[0].startswith(problem)
    assert told[1].startswith(fix)


def test_a_report_without_its_manifest_is_to_be_restored(reports):
    (reports / "a" / "data" / "report.json").unlink()
    told = refused("--check", "--output-dir", "reports/a", status=1)
    assert told == ["reports/a/data/report.json is missing.", "Restore it (git checkout)."]


@pytest.mark.parametrize("arguments", [("reports/a", "--output-dir", "new"), ("--compare", "reports/a", "x")])
def test_a_report_in_the_place_of_runs_says_where_its_runs_are(reports, arguments):
    told = refused(*arguments, status=2)
    assert told == ["reports/a is a report; its runs are in reports/a/data.", "Name reports/a/data instead."]


def test_a_mistyped_run_is_no_teacher(reports):
    told = refused("nothing", "--output-dir", "new", status=2)
    assert told[0] == "'nothing' is no directory of runs."
    assert "teachers" not in told[1]
