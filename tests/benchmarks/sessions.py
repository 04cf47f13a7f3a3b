"""Engines that take turns: each in a process of its own, rounds alternated, one awake at a time; and the record of it.

A session is a set of fresh processes. Whatever else happens on the machine within a round hits all engines alike, so
what is compared is the ratio within a round; its spread over sessions is kept beside the median.
"""

import json
import multiprocessing
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"
PATIENCE = 30.0
"""Seconds until a process that was told to end is ended."""
CONTEXT = multiprocessing.get_context("spawn")

Take = Callable[..., Any]
"""What takes a turn, and says what it saw."""
Turns = tuple[dict[str, list[Any]], dict[str, Any]]
"""For each engine its turns, a round each; and for each a further one whose times do not count."""


@dataclass(frozen=True)
class Engine:
    """How to make what takes turns.

    Attributes:
        start: A function of a module, called in the engine's own process.
        arguments: Its arguments; they travel to that process.
    """

    start: Callable[..., Take]
    arguments: tuple[Any, ...] = ()


class Awake:
    """An engine's process: it sleeps on a pipe until its turn comes. A context manager, which ends it."""

    def __init__(self, name: str, engine: Engine) -> None:
        self.name = name
        self._pipe, theirs = CONTEXT.Pipe()
        self._process = CONTEXT.Process(target=serve, args=(theirs, engine), daemon=True)
        self._process.start()
        theirs.close()
        self._receive()

    def take(self, **wishes: Any) -> Any:
        """One turn."""
        self._pipe.send(wishes)
        return self._receive()

    def _receive(self) -> Any:
        try:
            failed, answer = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(f"{self.name} ended with status {self._process.exitcode}") from None
        if failed:
            raise RuntimeError(f"{self.name} failed:\n{answer}")
        return answer

    def __enter__(self) -> "Awake":
        return self

    def __exit__(self, *error: object) -> None:
        self._pipe.close()  # at which it ends by itself, unless it is in the middle of a turn
        self._process.join(PATIENCE if error[0] is None else 0)
        self._process.kill()
        self._process.join()


def serve(pipe: Connection, engine: Engine) -> None:
    """What an engine's process does, from its first line to its end."""
    try:
        take = engine.start(*engine.arguments)
        pipe.send((False, None))
        while True:
            pipe.send((False, take(**pipe.recv())))
    except EOFError:
        return
    except Exception:
        pipe.send((True, traceback.format_exc()))


def alternate(engines: Mapping[str, Engine], *, rounds: int, last: Mapping[str, Any] | None = None) -> Turns:
    """A session: engines are loaded one after the other, then take turns, round after round.

    Args:
        engines: By name, in the order of their turns.
        rounds: How many.
        last: Wishes for a further turn of each, whose times do not count.
    """
    with ExitStack() as stack:
        awake = {name: stack.enter_context(Awake(name, engine)) for name, engine in engines.items()}
        turns: dict[str, list[Any]] = {name: [] for name in awake}
        for _ in range(rounds):
            for name, engine in awake.items():
                turns[name].append(engine.take())
        further = {name: engine.take(**last) for name, engine in awake.items()} if last else {}
    return turns, further


def compare(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> dict[str, float]:
    """How many times as fast: the median over sessions of the median over rounds, and its spread over sessions.

    Args:
        ours: Rates, `[session][round]`.
        theirs: The same, of the same rounds.
    """
    ratios = [float(np.median(np.divide(mine, other))) for mine, other in zip(ours, theirs, strict=True)]
    return summarize(ratios)


def summarize(values: Sequence[float]) -> dict[str, float]:
    """Median and spread, to four digits."""
    found = {"median": float(np.median(values)), "low": min(values), "high": max(values)}
    return {name: float(f"{value:.4g}") for name, value in found.items()}


def write_outcome(file: Path, outcome: Mapping[str, Any]) -> None:
    """Keep what was found, and the environment that it was found in."""
    from compress.environment import describe

    file.parent.mkdir(parents=True, exist_ok=True)
    whole = {**outcome, "environment": describe().model_dump(mode="json")}
    file.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
