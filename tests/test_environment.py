"""What a record says of where it was made, and by which command."""

import sys

from compress.environment import commanded, current_command


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
