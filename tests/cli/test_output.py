"""The table of failures: whatever breaks below, a user reads one message that says what to do."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pyarrow
import pytest
import torch
import typer
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

from compress.cli.output import EXIT_FAILED, EXIT_INTERRUPTED, OUR_FAULT, telling_failures

FAILURES = [
    (OSError("a disk without a number"), "a disk without a number"),
    (FileNotFoundError(errno.ENOENT, "No such file or directory", "a.csv"), "a.csv"),
    (OSError(errno.ENOSPC, "No space left on device", "runs/x"), "runs/x"),
    (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "not UTF-8"),
    (pyarrow.ArrowInvalid("Parquet magic bytes not found"), "Parquet magic bytes"),
    (pyarrow.ArrowNotImplementedError("lists of lists"), "lists of lists"),
    (OfflineModeIsEnabled("offline"), "Hub"),
    (LocalEntryNotFoundError("not cached"), "Hub"),
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "--per-device-train-batch-size"),
    (
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        "--per-device-train-batch-size",
    ),
    (MemoryError(), "--max-length"),
    (RuntimeError("PytorchStreamWriter failed writing file data/1"), "--runs DIR"),
]


@pytest.mark.parametrize(("failure", "mention"), FAILURES, ids=lambda value: type(value).__name__)
def test_a_foreign_failure_is_one_message_with_a_way_out(failure, mention, capsys):
    with pytest.raises(typer.Exit) as caught, telling_failures():
        raise failure
    told = capsys.readouterr().err
    assert caught.value.exit_code == EXIT_FAILED
    assert told.startswith("Error: ")
    assert len(told.splitlines()) == 2
    assert mention in told
    assert OUR_FAULT not in told


def test_what_nobody_foresaw_is_our_fault_and_says_so(capsys):
    with pytest.raises(typer.Exit), telling_failures():
        raise KeyError("x")
    assert OUR_FAULT in capsys.readouterr().err


def test_an_interruption_has_its_own_status():
    with pytest.raises(typer.Exit) as caught, telling_failures():
        raise KeyboardInterrupt
    assert caught.value.exit_code == EXIT_INTERRUPTED


@pytest.mark.parametrize("arguments", [["list"], ["list", "--json"]])
def test_a_reader_that_goes_away_is_no_failure(arguments):
    """`compress list | head -1`: nothing is printed where nobody reads, nor anything said about it."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "compress", *arguments],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)},
        check=False,
    )
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode == EXIT_FAILED
