"""What a record says of where it was made, and by which command."""

import sys

import pytest

from compress.environment import commanded, current_command, saturates_int8


@pytest.mark.parametrize(
    ("machine", "flags", "saturates"),
    [
        ("x86_64", {"avx2"}, True),
        ("x86_64", {"avx2", "avx512f"}, True),
        ("x86_64", {"avx512_vnni"}, False),
        ("x86_64", {"avx_vnni"}, False),
        ("AMD64", set(), True),
        ("aarch64", {"asimd"}, False),
        ("arm64", set(), False),
    ],
)
def test_sums_of_8_bits_saturate_on_x86_without_vnni(machine, flags, saturates, monkeypatch):
    monkeypatch.setattr("compress.environment.processor", lambda: ("a processor", frozenset(flags)))
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert saturates_int8() is saturates


def test_a_command_is_told_as_it_was_typed(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/compress", "finetune", "a b", "--task", "sst2"])
    assert current_command() == "compress finetune 'a b' --task sst2"


def test_what_others_scripts_were_told_is_not_recorded(monkeypatch):
    """Their arguments may be secrets, and a record is published."""
    monkeypatch.setattr(sys, "argv", ["serve.py", "--token", "hush"])
    assert current_command() == "import compress"


def test_a_script_says_what_is_to_be_recorded():
    with commanded("python -m tests.benchmarks.glue"):
        assert current_command() == "python -m tests.benchmarks.glue"
    assert current_command() == "import compress"
