"""Timings that compare: each model in a process of its own, rounds alternated, one awake at a time.

A worker loads one model, warms it up, and sleeps on a pipe until its turn comes. Round after round each worker in turn
times every shape once; whatever else happens on the machine hits all models alike, so ratios within a round mean more
than the times themselves. No thread spins while it waits.
"""

import logging
import multiprocessing
import os
import resource
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from compress.environment import describe
from compress.errors import CompressError, InvalidInputError
from compress.runs import Measurement, Session, StoredRun, content_key, write_record
from compress.statistics import summarize

logger = logging.getLogger(__name__)

SECONDS_A_TURN = 0.25
"""A shape is run until this time has passed, three times at the least."""
LEAST_REPETITIONS = 3
ROUNDS = 10


@dataclass(frozen=True)
class Shape:
    """A batch of random token ids: `batch` texts of `length` tokens, nothing padded."""

    batch: int
    length: int

    def __str__(self) -> str:
        return f"{self.batch} × {self.length}"


def read_shape(text: str) -> Shape:
    """A shape as one types it: `32x128` is 32 texts of 128 tokens.

    Raises:
        InvalidInputError: It is not of that form.
    """
    batch, _, length = text.partition("x")
    if not (batch.isdecimal() and length.isdecimal() and int(batch) * int(length) > 0):
        raise InvalidInputError(f"{text!r} is no shape.", "Write BATCHxLENGTH, such as --shape 32x128.")
    return Shape(int(batch), int(length))


DEFAULT_SHAPES = (Shape(1, 128), Shape(32, 128))


def measure(
    runs: Sequence[StoredRun],
    *,
    shapes: Sequence[Shape] = DEFAULT_SHAPES,
    threads: int = 1,
    rounds: int = ROUNDS,
    number: int = 0,
    force: bool = False,
) -> list[Session]:
    """Measure the latency of several models in one session, and keep it beside each run.

    Args:
        runs: At least one; what is compared belongs into one session.
        shapes: Batches to time.
        threads: Of each engine.
        rounds: How often each model has its turn.
        number: Tells sessions of the same kind apart.
        force: Measure again although a session of just this kind is there.

    Returns:
        One record a run, of one session.

    Raises:
        CompressError: A worker could not load its model.
    """
    names = tuple(stored.run.id for stored in runs)
    key = content_key(
        [sorted(names), [str(shape) for shape in shapes], threads, rounds, number, describe().cpu]
    )
    if not force and (known := _find_session(runs, key)):
        logger.info("measuring session %s: cached", known[0].session)
        return known
    logger.info("measuring %d models: %d rounds, %d thread(s)", len(runs), rounds, threads)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    workers, samples = _alternate(runs, shapes=shapes, threads=threads, rounds=rounds)
    sessions = []
    session_id = uuid.uuid4().hex[:8]
    for stored in runs:
        worker = workers[stored.run.id]
        session = Session(
            session=session_id,
            key=key,
            started=started,
            run=stored.run.id,
            models=names,
            engine=worker["engine"],
            environment=describe(),
            measurements=(
                *(
                    _latency(samples[stored.run.id, shape], shape, threads, worker["device"])
                    for shape in shapes
                ),
                _single("load_time", worker["load_time"], "s", threads),
                _single("peak_memory", worker["peak_memory"], "bytes", threads),
            ),
        )
        write_record(stored.path / "measurements" / f"{session_id}.json", session)
        sessions.append(session)
    return sessions


def _find_session(runs: Sequence[StoredRun], key: str) -> list[Session] | None:
    """The newest session of that key which every run took part in."""
    by_run = [
        {session.session: session for session in stored.sessions if session.key == key} for stored in runs
    ]
    common = [session for session in by_run[0] if all(session in known for known in by_run)]
    return [known[common[-1]] for known in by_run] if common else None


Samples = dict[tuple[str, Shape], list[tuple[float, ...]]]


def _alternate(
    runs: Sequence[StoredRun], *, shapes: Sequence[Shape], threads: int, rounds: int
) -> tuple[dict[str, dict[str, Any]], Samples]:
    """Each worker's word of itself, and its timings in milliseconds by shape, one tuple a round."""
    samples: Samples = {(stored.run.id, shape): [] for stored in runs for shape in shapes}
    facts: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        pipes = {stored.run.id: stack.enter_context(_worker(stored.path, threads)) for stored in runs}
        for name, pipe in pipes.items():
            for shape in shapes:
                _ask(pipe, name, shape)  # the first run of a shape allocates: it is not counted
        for number in range(rounds):
            # Every other round goes backwards, so that no model always follows the same one.
            for name in list(pipes)[:: 1 if number % 2 == 0 else -1]:
                for shape in shapes:
                    samples[name, shape].append(tuple(_ask(pipes[name], name, shape)))
        for name, pipe in pipes.items():
            facts[name] = _ask(pipe, name, None)
    return facts, samples


@contextmanager
def _worker(path: Path, threads: int) -> Iterator[Connection]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    # Set before the worker's libraries load: idle OpenMP threads sleep at once instead of spinning.
    with _environment({"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": str(threads), "GOMP_SPINCOUNT": "0"}):
        process = context.Process(target=_serve, args=(theirs, str(path), threads), daemon=True)
        process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        process.join(timeout=10)
        if process.is_alive():
            process.kill()


@contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _ask(pipe: Connection, name: str, shape: Shape | None) -> Any:
    try:
        pipe.send(shape)
        answer = pipe.recv()
    except (EOFError, BrokenPipeError):
        answer = CompressError("its process ended", "Look for a lack of memory on this machine.")
    if isinstance(answer, CompressError):
        raise CompressError(f"Measuring {name} failed: {answer.problem}", answer.fix) from None
    return answer


def _serve(pipe: Connection, path: str, threads: int) -> None:
    """A worker: load the model, then time each shape that is asked for; None asks for facts and ends it."""
    from transformers.utils.logging import disable_progress_bar

    from compress.inference import load

    disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        before = time.perf_counter()
        predictor = load(path, threads=threads)
        load_time = time.perf_counter() - before
        while (shape := pipe.recv()) is not None:
            pipe.send(_time(predictor, shape))
        pipe.send(
            {
                "engine": predictor.engine.name,
                "device": predictor.engine.device,
                "load_time": load_time,
                "peak_memory": _peak_memory(),
            }
        )
    except EOFError:
        return
    except Exception as error:  # whatever it is, the process that asked must hear of it
        told = (
            error
            if isinstance(error, CompressError)
            else CompressError(f"{type(error).__name__}: {error}", "")
        )
        pipe.send(told)


def _time(predictor: Any, shape: Shape) -> list[float]:
    """Milliseconds of repeated runs of one shape."""
    if shape.length > predictor.longest_input:
        raise CompressError(
            f"it takes at most {predictor.longest_input} tokens, not {shape.length}",
            "Choose what is timed: --shape BATCHxLENGTH",
        )
    words = sorted(set(range(len(predictor.tokenizer))) - set(predictor.tokenizer.all_special_ids))
    ids = np.random.default_rng(0).choice(words, size=(shape.batch, shape.length))
    inputs = {
        "input_ids": ids.astype(np.int64),
        "attention_mask": np.ones_like(ids, dtype=np.int64),
        "token_type_ids": np.zeros_like(ids, dtype=np.int64),
    }
    inputs = {name: inputs[name] for name in predictor.tokenizer.model_input_names if name in inputs}
    times: list[float] = []
    end = time.perf_counter() + SECONDS_A_TURN
    while len(times) < LEAST_REPETITIONS or time.perf_counter() < end:
        before = time.perf_counter()
        predictor.engine.run(inputs)
        times.append((time.perf_counter() - before) * 1000)
    return times


def _peak_memory() -> int:
    """The largest resident size of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _latency(samples: list[tuple[float, ...]], shape: Shape, threads: int, device: str) -> Measurement:
    every = [value for turn in samples for value in turn]
    summary = summarize(every)
    return Measurement(
        name="latency",
        value=summary.median,
        unit="ms",
        higher_is_better=False,
        n=len(every),
        low=summary.low,
        high=summary.high,
        samples=tuple(tuple(round(value, 4) for value in turn) for turn in samples),
        conditions={"batch": shape.batch, "length": shape.length, "threads": threads, "device": device},
    )


def _single(name: str, value: float, unit: str, threads: int) -> Measurement:
    return Measurement(
        name=name,
        value=value,
        unit=unit,
        higher_is_better=False,
        n=1,
        low=value,
        high=value,
        samples=((value,),),
        conditions={"threads": threads},
    )
