"""Plans carried out: the cache of finished runs, what is interrupted, and the scores after each stage."""

import contextlib
import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from compress.data.corpus import Corpus
from compress.data.task_data import TaskData
from compress.encoder import load_config
from compress.environment import current_command, describe
from compress.errors import CompressError
from compress.evaluation import evaluate
from compress.inference import load
from compress.making import gate_teachers, make_artefact
from compress.models.placeholder import describe_lacking
from compress.processes import is_main, require_all_started, wait
from compress.reporting.card import render_card
from compress.runs import (
    Ancestor,
    Evaluation,
    Run,
    StoredRun,
    TrainSplit,
    list_files,
    read_run,
    write_atomically,
)
from compress.sources import Model, model_of_run
from compress.steps import Step
from compress.storage import require_writable, telling_failed_writes
from compress.tasks import FilesSource, GlueSource, Task
from compress.workspace import Workspace, complete

logger = logging.getLogger(__name__)


def execute(step: Step, *, force: bool = False, save_to: Path | None = None) -> StoredRun:
    """Carry out a plan: what is finished is taken as it is, what was interrupted goes on.

    Args:
        step: The last step; those that make its inputs come first.
        force: Redo the last step although it is finished.
        save_to: A directory, new or empty, for a copy of the artefact.

    Raises:
        CompressError: A stage failed; what it had done is kept, and the same command goes on from there.
    """
    require_all_started()
    if save_to is not None:
        save_to = save_to.resolve()
        _require_free(save_to)
    inputs: dict[str, Model] = {}
    for role, given in step.inputs.items():
        wait()
        ahead = role == "student" and isinstance(given, Step) and not (given.finished or step.finished)
        wait()  # no process makes what another one is still looking for
        if ahead:
            gate_teachers(step, inputs)  # before the hours of work
        inputs[role] = model_of_run(execute(given)) if isinstance(given, Step) else given
    if is_main():
        complete(step.directory)
    wait()
    cached = step.finished and not force
    wait()  # no process makes what another one is still looking for
    if cached:
        logger.info("%s: cached", step.id)
        stored = read_run(step.directory)
        if is_main():
            _score_new_data(step, stored)
        wait()
    elif is_main():
        stored = _make(step, inputs, force=force)
        wait()
    else:
        stored = _assist(step, inputs, force=force)
    if save_to is not None and is_main():
        _copy_artefact(stored, save_to)
    return stored


def _make(step: Step, inputs: dict[str, Model], *, force: bool) -> StoredRun:
    with Workspace.open(step.directory) as workspace:
        finished = step.finished and not force  # another command finished it since the plan was made
        wait()
        if finished:
            workspace.leave_if_empty()
            return read_run(step.directory)
        logger.info("%s: %s", step.id, _describe(step))
        started, clock = datetime.now(UTC), time.monotonic()
        made = make_artefact(step.stage, step, inputs, workspace)
        data = step.answers
        evaluations = (
            evaluate(load(workspace.path), data.task, data.validation, run=step.id, directory=workspace.path)
            if data
            else []
        )
        run = Run(
            id=step.id,
            name=step.name,
            key=step.key,
            stage=step.stage,
            parents=step.parents,
            lineage=_trace(inputs),
            task=_portable(step.task) if step.task else None,
            subject=step.subject,
            train_split=_count_train_split(step.data),
            seed=step.seed,
            command=current_command(),
            environment=describe(),
            started=started.isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - clock, 1),
            parameters=made.parameters,
            facts=made.facts,
            files=list_files(workspace.path),
        )
        _write_card(workspace.path, run, evaluations)
        stored = workspace.finish(run)
    for evaluation in evaluations:
        scores = ", ".join(f"{s.name} {s.value:.4f} [{s.low:.4f}, {s.high:.4f}]" for s in evaluation.scores)
        logger.info("%s, %s: %s after %.0f s", step.id, evaluation.split, scores, run.seconds)
    return stored


def renew_card(stored: StoredRun, found: Sequence[Evaluation]) -> None:
    """Write a finished run's model card anew, with these scores in place of earlier ones on the same splits."""
    latest = {(each.task, each.split): each for each in (*stored.evaluations, *found)}
    _write_card(stored.path, stored.run, list(latest.values()))


def _write_card(directory: Path, run: Run, evaluations: Sequence[Evaluation]) -> None:
    card = render_card(run, evaluations, lacking=describe_lacking(load_config(directory)))
    write_atomically(directory / "README.md", card)


def _count_train_split(data: TaskData | Corpus) -> TrainSplit | None:
    if not isinstance(data, TaskData):
        return None
    return TrainSplit(examples=len(data.train), published=data.published_examples)


def _trace(inputs: Mapping[str, Model]) -> tuple[Ancestor, ...]:
    """The runs that inputs go back to, each once, the first one first."""
    found = [ancestor for model in inputs.values() if model.run for ancestor in model.run.run.descent]
    return tuple({ancestor.id: ancestor for ancestor in found}.values())


def _score_new_data(step: Step, stored: StoredRun) -> None:
    """Score a finished run on validation data that has changed since: its key knows only what training saw."""
    data = step.answers
    known = {evaluation.data for evaluation in stored.evaluations}
    changed = [split for split in data.validation if split.fingerprint not in known] if data else []
    if not (data and changed):
        return
    logger.info("%s: scored on what is new in %s", step.id, ", ".join(split.name for split in changed))
    with telling_failed_writes(step.directory):
        found = evaluate(load(step.directory), data.task, changed, run=step.id, directory=step.directory)
        renew_card(stored, found)


def _assist(step: Step, inputs: dict[str, Model], *, force: bool) -> StoredRun:
    """What the processes beside the main one do: train with it, and wait while it does the rest."""
    wait()  # the main process holds the directory
    workspace = Workspace(step.directory)
    if step.trains and (force or not step.finished):
        make_artefact(step.stage, step, inputs, workspace)
    wait()
    return read_run(step.directory)


def _describe(step: Step) -> str:
    parents = (f"{parent.role} {parent.name} ({parent.origin})" for parent in step.parents)
    made_from = ", ".join(parents) or "nothing"
    steps = f"{step.optimizer_steps:,} steps at the most" if step.optimizer_steps else step.stage.kind
    return f"from {made_from}; {steps}; seed {step.seed}"


def _portable(task: Task) -> Task:
    """A task without this machine's paths."""
    source = task.source
    if isinstance(source, GlueSource):
        return task.model_copy(update={"source": GlueSource(config=source.config)})
    validation = tuple(Path(file).name for file in source.validation)
    return task.model_copy(
        update={"source": FilesSource(train=Path(source.train).name, validation=validation)}
    )


def _require_free(directory: Path) -> None:
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise CompressError(f"--save-to {directory} is there already and not empty.", "Name a new directory.")
    if directory == Path.cwd():
        raise CompressError(
            "--save-to is the working directory, which cannot be replaced.", "Name a new one."
        )
    require_writable(directory)


def _copy_artefact(stored: StoredRun, directory: Path) -> None:
    """Copy what one would ship: the files of the run and its card; whole or not at all."""
    temporary = directory.with_name(f".{directory.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with telling_failed_writes(directory):
            temporary.mkdir(parents=True)
            for name in (*stored.run.files, "README.md"):
                with contextlib.suppress(FileNotFoundError):
                    shutil.copy2(stored.path / name, temporary / name)
            if directory.exists():
                directory.rmdir()
            temporary.rename(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    logger.info("copied to %s", directory)
