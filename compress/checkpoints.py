"""Checkpoints on disk: whole or ignored, the newest and the best kept, good wherever the store is moved."""

import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from compress.runs import write_atomically

COMPLETE = ".complete"
"""Written into a checkpoint after all else and taken from it before all else: one without it is torn."""
STATE_FILE = "trainer_state.json"


def step_of(checkpoint: Path) -> int:
    """The optimizer step that a checkpoint was made after."""
    return int(checkpoint.name.rpartition("-")[2])


def find_newest(folder: Path) -> Path | None:
    """The newest whole checkpoint."""
    whole = [path for path in folder.glob("checkpoint-*") if (path / COMPLETE).exists()]
    return max(whole, key=step_of, default=None)


def mark_complete(checkpoint: Path) -> None:
    """Declare a checkpoint whole."""
    (checkpoint / COMPLETE).touch()


def drop_others(folder: Path, *, keep: Collection[int]) -> None:
    """Delete all checkpoints but those of the given steps; one that is cut short in this is torn, and told so."""
    for path in folder.glob("checkpoint-*"):
        if step_of(path) not in keep:
            (path / COMPLETE).unlink(missing_ok=True)
            shutil.rmtree(path)


def prepare_to_resume(folder: Path) -> None:
    """Delete what is torn, and let the newest checkpoint find the best one where both lie now."""
    for path in folder.glob("checkpoint-*"):
        if not (path / COMPLETE).exists():
            shutil.rmtree(path)
    newest = find_newest(folder)
    if newest is None:
        return
    state = _read_state(newest)
    if best := state.get("best_model_checkpoint"):
        state["best_model_checkpoint"] = str(folder.resolve() / Path(best).name)
        write_atomically(newest / STATE_FILE, json.dumps(state, indent=2, sort_keys=True) + "\n")


def has_stopped(checkpoint: Path) -> bool:
    """Whether training was stopped early when this checkpoint was made: going on from it would be too much."""
    callbacks = _read_state(checkpoint).get("stateful_callbacks", {})
    return bool(callbacks.get("TrainerControl", {}).get("args", {}).get("should_training_stop", False))


def _read_state(checkpoint: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((checkpoint / STATE_FILE).read_text(encoding="utf-8"))
    return state
