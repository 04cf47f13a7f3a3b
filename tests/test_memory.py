"""Memory of this process and of no other."""

import subprocess
import sys

import numpy as np
import pytest

from compress import memory

MB = 2**20
on_linux = pytest.mark.skipif(not memory.STATUS.is_file(), reason="/proc is Linux's")
PEAK_OF_A_CHILD = "from compress.memory import peak_bytes; print(peak_bytes())"


@on_linux
def test_what_is_held_and_what_was_held():
    memory.forget_peak()
    before = memory.resident_bytes()
    held = np.ones(64 * MB, dtype=np.uint8)
    assert memory.resident_bytes() - before > 60 * MB
    del held
    assert memory.resident_bytes() - before < 30 * MB
    assert memory.peak_bytes() - before > 60 * MB
    memory.forget_peak()
    assert memory.peak_bytes() - before < 30 * MB


@on_linux
def test_a_child_is_not_told_its_parent_s_peak():
    """Guards `ru_maxrss`, which a child of a big process inherits through fork and exec."""
    held = np.ones(512 * MB, dtype=np.uint8)
    done = subprocess.run([sys.executable, "-c", PEAK_OF_A_CHILD], capture_output=True, text=True, check=True)
    assert 1 * MB < int(done.stdout) < 256 * MB
    assert held.any()


def test_elsewhere_the_peak_is_getrusage_s(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "STATUS", tmp_path / "none")
    assert memory.peak_bytes() == memory.resident_bytes() > 1 * MB
    (tmp_path / "none").write_text("Name:\tpython\n")
    assert memory.peak_bytes() > 1 * MB
