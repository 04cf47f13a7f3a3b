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

from transformers import PretrainedConfig

from compress.encoder import load_config, longest_input
from compress.environment import describe
from compress.errors import CompressError
from compress.flops import count_flops
from compress.quantities import QUANTITIES, Conditions, list_sizes, single, summarize_parts, summarize_turns
from compress.runs import Measurement, Session, StoredRun, content_key, write_record
from compress.workers import Loaded, Profile, Turn, Worker
from compress.workloads import DEFAULT_SHAPES, Shape, TaskTexts, require_texts, work_of

logger = logging.getLogger(__name__)

ROUNDS = 10
OURSELVES = "compress-encoders"
"""This package's version moves with every release and changes no engine."""


@dataclass(frozen=True)
class Observed:
    """What the session saw of one model: its loading, its turns by shape, one a round, its peak memory, its parts."""

    loaded: Loaded
    turns: dict[Shape, list[Turn]] = field(default_factory=dict)
    peak_bytes: int = 0
    profiles: dict[Shape, Profile] = field(default_factory=dict)
    device_peak_bytes: int | None = None


def measure(
    runs: Sequence[StoredRun],
    *,
    shapes: Sequence[Shape] = DEFAULT_SHAPES,
    texts: TaskTexts | None = None,
    threads: int = 1,
    rounds: int = ROUNDS,
    number: int = 0,
    force: bool = False,
) -> list[Session]:
    """Measure several models in one session, and keep it beside each run.

    Args:
        runs: At least one; what is compared belongs into one session. One that is named twice is measured once.
        shapes: Batches to time, each once.
        texts: Of the task, for shapes of its own lengths; the same for all models.
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
    require_texts(shapes, texts)
    works = [str(shape) if texts is None else f"{shape} {_describe(shape, texts)}" for shape in shapes]
    kind = [sorted(names), works, threads, rounds, number]
    key = content_key([kind, here.cpu, here.gpu, versions, QUANTITIES])
    if not force and (known := _find_session(runs, key)):
        logger.info("measuring session %s: cached", known[0].session)
        return known
    _require_fitting(runs, shapes)
    _require_writable(runs)
    logger.info("measuring %d models: %d rounds, %d thread(s)", len(runs), rounds, threads)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    session_id = uuid.uuid4().hex[:8]
    observed = alternate(runs, shapes=shapes, texts=texts, threads=threads, rounds=rounds)
    sessions = [
        Session(
            session=session_id,
            key=key,
            started=started,
            run=stored.run.id,
            models=names,
            engine=observed[stored.run.id].loaded.engine,
            environment=here,
            measurements=_list_measurements(stored, observed[stored.run.id], texts, threads),
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
    longest = max((shape.length for shape in shapes if isinstance(shape.length, int)), default=1)
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
    runs: Sequence[StoredRun],
    *,
    shapes: Sequence[Shape],
    texts: TaskTexts | None = None,
    threads: int,
    rounds: int,
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
        work = {shape: work_of(shape, texts) for shape in shapes}
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
                device_peak_bytes=worker.device_peak_bytes(),
                profiles={shape: worker.profile(work[shape]) for shape in shapes},
            )
            for worker in workers
        }


def _describe(shape: Shape, texts: TaskTexts | None) -> Conditions:
    """The conditions that a shape stands for; of a task's texts, which they are."""
    size: Conditions = {"batch": shape.batch, "length": shape.length}
    if shape.length != "task" or texts is None:
        return size
    chosen = texts.sample(shape.batch)
    return {**size, "task": texts.task, "texts": len(chosen), "fingerprint": chosen.fingerprint}


def _list_measurements(
    stored: StoredRun, observed: Observed, texts: TaskTexts | None, threads: int
) -> tuple[Measurement, ...]:
    loaded = observed.loaded
    config = load_config(stored.path)
    where: Conditions = {"threads": threads, "device": loaded.device}
    measurements: list[Measurement] = []
    for shape, turns in observed.turns.items():
        size = _describe(shape, texts)
        rounds = [turn.milliseconds for turn in turns]
        alike = isinstance(shape.length, int)
        measurements += summarize_turns(rounds, batch=shape.batch, conditions={**size, **where}, alike=alike)
        if isinstance(shape.length, int):  # texts of several lengths have no one number of operations
            measurements += _count_operations(stored, config, shape.batch, shape.length)
        if (profile := observed.profiles[shape]).failure:
            logger.warning(
                "%s cannot be profiled, its record lacks the parts' times: %s", stored.run.id, profile.failure
            )
        measurements += summarize_parts(profile.runs, {**size, **where})
    if (held := observed.device_peak_bytes) is not None:
        measurements.append(single("peak_device_memory", held, "bytes", where))
    return (
        *measurements,
        *list_sizes(stored.shipped_files, config),
        single("load_time", loaded.load_seconds, "s", {"threads": threads}),
        single("peak_memory", observed.peak_bytes, "bytes", {"threads": threads}),
        single("baseline_memory", loaded.baseline_bytes, "bytes", {"threads": threads}),
    )


def _count_operations(
    stored: StoredRun, config: PretrainedConfig, batch: int, length: int
) -> list[Measurement]:
    flops = count_flops(config, batch=batch, length=length)
    if flops is None:
        logger.warning("The operations of %s cannot be counted; its record lacks them.", stored.run.id)
        return []
    return [single("flops", flops, "FLOP", {"batch": batch, "length": length})]
