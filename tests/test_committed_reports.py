"""The reports that are committed are sound: their pages follow from their data, byte by byte."""

from functools import cache
from pathlib import Path

import pytest

from compress.reporting import _check
from compress.reporting.essentials import list_commands
from compress.reporting.index import INDEX_FILE, list_notes, render_index
from compress.reporting.places import list_reports

REPORTS = Path(__file__).resolve().parent.parent / "reports"
COMMITTED = [folder for folder in list_reports(REPORTS) if folder.name != "sample"]
"""`make demo` leaves one that is not."""
PICTURE = "picture.png"
LARGEST_PAGE = 500_000


@cache
def checked(folder):
    """The report and what is wrong with it: once for all tests, as intervals of many runs take their time."""
    return _check(folder)


def report_of(folder):
    return checked(folder)[0]


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: folder.name)
def test_a_committed_report_follows_from_its_data(folder):
    """Guards pages that a change of ours would word anew, left as they were."""
    assert checked(folder)[1] == []


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: folder.name)
def test_a_committed_page_is_light_and_says_how_it_is_made(folder):
    page = folder / "index.html"
    assert page.stat().st_size < LARGEST_PAGE
    commands = list_commands(report_of(folder))
    assert all(command.startswith(("compress ", "python -m tests.benchmarks.")) for command in commands)


def test_the_index_follows_from_the_reports():
    reports = {folder.name: report_of(folder) for folder in COMMITTED}
    expected = render_index(reports, list_notes(REPORTS))
    assert (REPORTS / INDEX_FILE).read_text(encoding="utf-8") == expected


def test_the_picture_in_the_readme_is_small():
    assert f"(reports/{PICTURE})" in (REPORTS.parent / "README.md").read_text(encoding="utf-8")
    assert (REPORTS / PICTURE).stat().st_size < 200_000
