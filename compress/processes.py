"""The processes that train one run together: how many they are, and which one of them writes.

`torchrun --nproc-per-node 2 -m compress finetune …` starts them. All of them plan and all of them train; the first
one alone holds the run's directory, scores and writes. Reads the environment only; torch is imported where processes wait.
"""

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from compress.errors import InvalidInputError

if TYPE_CHECKING:
    from accelerate import PartialState

LONGEST_WAIT = timedelta(days=7)
"""The main process may compute alone for hours (a large teacher's answers) while the others wait for it."""
COUNTS = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
"""Where launchers say how many processes they were asked for."""


def world_size() -> int:
    """The number of processes that train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """This process, counted from 0."""
    return int(os.environ.get("RANK", "0"))


def is_main() -> bool:
    """Whether this process is the one that writes."""
    return rank() == 0


def wait() -> None:
    """Go on when every process has come here; at once where there is only one."""
    if world_size() > 1:
        _state().wait_for_everyone()


def leave() -> None:
    """Part from the other processes, at the end of the command."""
    if world_size() > 1:
        _state().destroy_process_group()


def require_all_started(environment: Mapping[str, str] = os.environ) -> None:
    """Refuse to train alone where more processes were asked for.

    `accelerate launch --cpu --num_processes 2` starts a single process and says nothing; it leaves an address to
    meet at, but no rank. Launchers of MPI start them all, each of which would believe that it is alone.

    Raises:
        InvalidInputError: A launcher was asked for more processes than work together.
    """
    if {"WORLD_SIZE", "RANK", "LOCAL_RANK"} <= environment.keys():
        return
    asked = next((int(environment[name]) for name in COUNTS if environment.get(name, "").isdecimal()), 1)
    if asked == 1 and "MASTER_ADDR" in environment:
        asked = _asked_of_launcher()
    if asked > 1:
        raise InvalidInputError(
            f"{asked} processes were asked for, and this one would train alone: "
            "WORLD_SIZE, RANK and LOCAL_RANK are not all set.",
            f"Start them with torchrun --nproc-per-node {asked} -m compress …, or ask for one.",
        )


def _asked_of_launcher() -> int:
    """What the command line of accelerate's launcher, this process's parent, asked for; 1 if the parent is none."""
    try:
        words = Path(f"/proc/{os.getppid()}/cmdline").read_text(encoding="utf-8").split("\0")
    except OSError:
        return 1
    if not any("accelerate" in word for word in words):
        return 1
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, _, value = word.replace("_", "-").partition("=")
        if name == "--num-processes" and (value or following).isdecimal():
            return int(value or following)
    return 2


def _state() -> "PartialState":
    from accelerate import PartialState

    from compress.environment import device

    return PartialState(cpu=device() == "cpu", timeout=LONGEST_WAIT)
