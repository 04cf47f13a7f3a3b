"""Timings that compare: each model in a process of its own, rounds alternated, one awake at a time.

Round after round each worker in turn times every shape once; whatever else happens on the machine hits all models alike,
so ratios within a round mean more than the times themselves. No thread spins while it waits.
"""

import logging
import tempfile
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from pydantic import JsonValue

from compress.encoder import load_config, longest_input
from compress.environment import describe
from compress.errors import CompressError, InvalidInputError
from compress.flops import count_flops
from compress.quantities import QUANTITIES, list_sizes, single, summarize_parts, summarize_turns
from compress.runs import Measurement, Session, StoredRun, content_key, write_record
from compress.workers import Loaded, Profile, RandomTokens, Turn, Worker

logger = logging.getLogger(__name__)

ROUNDS = 10
OURSELVES = "compress-encoders"
"""This package's version moves with every release and changes no engine."""


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


@dataclass(frozen=True)
class Observed:
    """What the session saw of one model: its loading, its turns by shape, one a round, its peak memory, its parts."""

    loaded: Loaded
    turns: dict[Shape, list[Turn]] = field(default_factory=dict)
    peak_bytes: int = 0
    profiles: dict[Shape, Profile] = field(default_factory=dict)


def measure(
    runs: Sequence[StoredRun],
    *,
    shapes: Sequence[Shape] = DEFAULT_SHAPES,
    threads: int = 1,
    rounds: int = ROUNDS,
    number: int = 0,
    force: bool = False,
) -> list[Session]:
    """Measure several models in one session, and keep it beside each run.

    Args:
        runs: At least one; what is compared belongs into one session. One that is named twice is measured once.
        shapes: Batches to time, each once.
        threads: Of each engine.
        rounds: How often each model has its turn.
        number: Tells sessions of the same kind apart.
        force: Measure again although a session of just this kind is there.

    Returns:
        One record a run, of one session.

    Raises:
        CompressError: A model cannot take a shape or be loaded, its directory cannot be written, or its worker ended.
            What can be known beforehand is told before anything is timed.
    """
    runs = list({stored.run.id: stored for stored in runs}.values())
    shapes = tuple(dict.fromkeys(shapes))
    names = tuple(stored.run.id for stored in runs)
    here = describe()
    versions = {name: version for name, version in here.versions.items() if name != OURSELVES}
    kind = [sorted(names), [str(shape) for shape in shapes], threads, rounds, number]
    key = content_key([kind, here.cpu, here.gpu, versions, QUANTITIES])
    if not force and (known := _find_session(runs, key)):
        logger.info("measuring session %s: cached", known[0].session)
        return known
    _require_fitting(runs, shapes)
    _require_writable(runs)
    logger.info("measuring %d models: %d rounds, %d thread(s)", len(runs), rounds, threads)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    session_id = uuid.uuid4().hex[:8]
    observed = alternate(runs, shapes=shapes, threads=threads, rounds=rounds)
    sessions = [
        Session(
            session=session_id,
            key=key,
            started=started,
            run=stored.run.id,
            models=names,
            engine=observed[stored.run.id].loaded.engine,
            environment=here,
            measurements=_list_measurements(stored, observed[stored.run.id], threads),
        )
        for stored in runs
    ]
    for stored, session in zip(runs, sessions, strict=True):
        write_record(stored.path / "measurements" / f"{session_id}.json", session)
    return sessions


def _find_session(runs: Sequence[StoredRun], key: str) -> list[Session] | None:
    """The newest session of that key which every run took part in."""
    by_run = [
        {session.session: session for session in stored.sessions if session.key == key} for stored in runs
    ]
    common = [session for session in by_run[0] if all(session in known for known in by_run)]
    return [known[common[-1]] for known in by_run] if common else None


def _require_fitting(runs: Sequence[StoredRun], shapes: Sequence[Shape]) -> None:
    """Refuse shapes that are longer than a model has positions for; every such model is named."""
    longest = max(shape.length for shape in shapes)
    limits = {stored.run.id: longest_input(load_config(stored.path)) for stored in runs}
    short = [f"{name} takes at most {limit} tokens" for name, limit in limits.items() if limit < longest]
    if short:
        raise CompressError(
            f"{'; '.join(short)}, not {longest}.",
            f"Choose what is timed, at most --shape BATCHx{min(limits.values())}, or measure these models apart.",
        )


def _require_writable(runs: Sequence[StoredRun]) -> None:
    """Refuse a store that the records could not be written to, before the minutes of measuring."""
    for stored in runs:
        folder = stored.path / "measurements"
        try:
            folder.mkdir(exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise CompressError(
                f"What is measured could not be kept: {folder} cannot be written ({error.strerror}).",
                "Mend its permissions, or measure a copy of the run in a store of your own.",
            ) from None


def alternate(
    runs: Sequence[StoredRun], *, shapes: Sequence[Shape], threads: int, rounds: int
) -> dict[str, Observed]:
    """Load the models one after the other, then give each its turns; by run id what was seen.

    Profiles come last, when peaks are known: they disturb nothing, and what they hold counts for nothing.

    Raises:
        CompressError: A worker failed.
    """
    with ExitStack() as stack:
        workers = [
            stack.enter_context(Worker(stored.path, name=stored.run.id, threads=threads)) for stored in runs
        ]
        for worker in workers:
            worker.wait()
        seen = {worker.name: Observed(worker.load(), {shape: [] for shape in shapes}) for worker in workers}
        work = {shape: RandomTokens(shape.batch, shape.length) for shape in shapes}
        for worker in workers:
            for shape in shapes:
                worker.take_turn(work[shape])  # the first one allocates: it is not counted
        for number in range(rounds):
            # Every other round goes backwards, so that no model always follows the same one.
            for worker in workers[:: 1 if number % 2 == 0 else -1]:
                for shape in shapes:
                    seen[worker.name].turns[shape].append(worker.take_turn(work[shape]))
        return {
            worker.name: replace(
                seen[worker.name],
                peak_bytes=worker.peak_bytes(),
                profiles={shape: worker.profile(work[shape]) for shape in shapes},
            )
            for worker in workers
        }


def _list_measurements(stored: StoredRun, observed: Observed, threads: int) -> tuple[Measurement, ...]:
    loaded = observed.loaded
    config = load_config(stored.path)
    where: dict[str, JsonValue] = {"threads": threads, "device": loaded.device}
    measurements: list[Measurement] = []
    for shape, turns in observed.turns.items():
        size: dict[str, JsonValue] = {"batch": shape.batch, "length": shape.length}
        rounds = [turn.milliseconds for turn in turns]
        measurements += summarize_turns(rounds, batch=shape.batch, conditions={**size, **where})
        if flops := count_flops(config, batch=shape.batch, length=shape.length):
            measurements.append(single("flops", flops, "FLOP", size))
        else:
            logger.warning("The operations of %s cannot be counted; its record lacks them.", stored.run.id)
        if (profile := observed.profiles[shape]).failure:
            logger.warning(
                "%s cannot be profiled, its record lacks the parts' times: %s", stored.run.id, profile.failure
            )
        measurements += summarize_parts(profile.runs, {**size, **where})
    return (
        *measurements,
        *list_sizes(stored.shipped_files, config),
        single("load_time", loaded.load_seconds, "s", {"threads": threads}),
        single("peak_memory", observed.peak_bytes, "bytes", {"threads": threads}),
        single("baseline_memory", loaded.baseline_bytes, "bytes", {"threads": threads}),
    )
