"""Benchmarks that are tested: what they do, not how long it takes."""

import pytest

from tests.alone import FORKED
from tests.benchmarks import sessions


@pytest.fixture(autouse=True)
def _forked(request, monkeypatch):
    """An engine is in a process of its own all the same: only what it imports was imported for all of them.

    But where it counts: what a benchmark measures, it measures as the command does.
    """
    if not request.node.get_closest_marker("benchmark"):
        monkeypatch.setattr(sessions, "CONTEXT", FORKED)
