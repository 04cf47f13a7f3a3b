"""The reports that are committed are sound: their pages follow from their data, byte by byte."""

from pathlib import Path

import pytest

from compress.reporting import check_report

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("folder", sorted((ROOT / "reports").iterdir()), ids=lambda folder: folder.name)
def test_a_committed_report_follows_from_its_data(folder):
    """Guards pages that a change of ours would word anew, left as they were."""
    assert check_report(folder) == []
