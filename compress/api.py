"""The verbs: what `compress.distill(...)` and its siblings do, and the command line with them."""

import logging
from collections.abc import Sequence
from pathlib import Path

from compress.chains import plan_distillation
from compress.data.task_data import load_validation
from compress.errors import CompressError
from compress.evaluation import align_labels, read_predictions
from compress.evaluation import evaluate as evaluate_predictor
from compress.inference import Prediction, load, texts_of
from compress.measurement import ROUNDS
from compress.measurement import measure as measure_runs
from compress.noise import describe_noise, find_noise
from compress.pipeline import execute, renew_card
from compress.planning import (
    Options,
    plan_export,
    plan_finetuning,
    task_of,
)
from compress.pruning.targets import Target
from compress.quantizing import plan_quantization
from compress.recipes.pruning import ImportanceName, Removal
from compress.recipes.quantization import QuantizationMethod, resolve_method
from compress.recipes.stages import Export, ExportFormat, Prune
from compress.recovery import Recovery
from compress.runs import Evaluation, Session, StoredRun
from compress.schooling import plan_pretraining
from compress.slimming import plan_pruning
from compress.sources import collect_runs, model_of_run, resolve_model
from compress.steps import Workplace
from compress.storage import require_writable, telling_failed_writes
from compress.submission import ask_server, write_submission
from compress.tasks import resolve_task
from compress.workloads import DEFAULT_SHAPES, OWN, Shape, TaskTexts, read_texts

logger = logging.getLogger(__name__)

DEFAULTS = Options()
NOTHING = Removal()


def finetune(
    model: str,
    *,
    task: str,
    tokenizer: str | None = None,
    random: bool = False,
    seed: int = 42,
    options: Options = DEFAULTS,
    runs: Path | str = "runs",
    glue: Path | None = None,
    force: bool = False,
    save_to: Path | None = None,
) -> StoredRun:
    """Fine-tune a model on a task's labels.

    Args:
        model: A run, a directory, a teacher, a Hub id; or a student.
        task: A GLUE task, `sample`, or a task file.
        tokenizer: For random weights: the model whose tokenizer they take.
        random: Whether a teacher's shape is trained from random weights; a student's always is.
        seed: Of everything random.
        options: Changes to the recipe.
        runs: The store.
        glue: A local clone of GLUE.
        force: Redo a finished run.
        save_to: A new directory for a copy of the artefact.

    Raises:
        CompressError: Anything that keeps the run from being finished; the message says what to do.
    """
    place = Workplace(Path(runs), glue)
    step = plan_finetuning(model, task, place, seed=seed, options=options, tokenizer=tokenizer, random=random)
    return execute(step, force=force, save_to=save_to)


def pretrain(
    teacher: str | None = None,
    *,
    corpus: str,
    source: str | None = None,
    objective: str | None = None,
    seed: int = 42,
    options: Options = DEFAULTS,
    runs: Path | str = "runs",
    force: bool = False,
    save_to: Path | None = None,
) -> StoredRun:
    """Pretrain a teacher from nothing on documents, or go on with a model's weights.

    Args:
        teacher: A teacher's name or file: its tokenizer and its weights are made.
        corpus: A directory or a file of documents, a Hub dataset, or `sample`.
        source: In the teacher's place, whose weights are gone on with: a run, a directory, a teacher or a Hub id.
        objective: Of `source`: `mlm` (the default), `nsp`, `sop` or `rtd`; heads that it lacks are drawn.
        seed: Of everything random.
        options: Changes to the schedule.
        runs: The store.
        force: Redo a finished run.
        save_to: A new directory for a copy of the artefact.

    Raises:
        CompressError: Anything that keeps the run from being finished; the message says what to do.
    """
    place = Workplace(Path(runs))
    step = plan_pretraining(
        teacher, corpus, place, source=source, objective=objective, seed=seed, options=options
    )
    return execute(step, force=force, save_to=save_to)


def distill(
    teacher: str | Sequence[str],
    student: str,
    *,
    task: str | None = None,
    seed: int = 42,
    options: Options = DEFAULTS,
    runs: Path | str = "runs",
    glue: Path | None = None,
    force: bool = False,
    save_to: Path | None = None,
) -> StoredRun:
    """Distil a teacher into a student: its knowledge of a task, or of language.

    Args:
        teacher: A run, a directory, a teacher or a Hub id; fine-tuned on the task first if it is not yet. Several
            answer together; what is inside a teacher is learned from the first.
        student: A student's name or file.
        task: A GLUE task, `sample`, or a task file; without one the student is a general-purpose one, a model without
            a classifier.
        seed: Of everything random in the student's training.
        options: Changes to the student's recipe; `options.distillation` holds method, corpus and budget.
        runs: The store.
        glue: A local clone of GLUE.
        force: Redo a finished run.
        save_to: A new directory for a copy of the artefact.

    Raises:
        CompressError: Anything that keeps the run from being finished; the message says what to do.
    """
    teachers = [teacher] if isinstance(teacher, str) else list(teacher)
    step = plan_distillation(teachers, student, task, Workplace(Path(runs), glue), seed=seed, options=options)
    return execute(step, force=force, save_to=save_to)


def prune(
    model: str,
    *,
    remove: Removal = NOTHING,
    importance: ImportanceName = "magnitude",
    target: Target | None = None,
    recovery: Recovery | None = None,
    corpus: str | None = None,
    task: str | None = None,
    seed: int = 42,
    runs: Path | str = "runs",
    glue: Path | None = None,
    force: bool = False,
    save_to: Path | None = None,
) -> StoredRun:
    """Take parts of a finished model away: layers, heads, neurons, widths, single weights.

    Args:
        model: A run, `runs/TASK/MODEL`, or a directory with a classifier.
        remove: What goes.
        importance: Who judges which units go.
        target: A size that decides on some of the fractions.
        recovery: How what is left is taught by the model as it was; None leaves it as it is.
        corpus: Documents that decide which pieces of a vocabulary stay; None is the task's train split.
        task: Scored afterwards; default the run's own. Where the loss judges, texts of its train split are read.
        seed: Of draws, where texts or chance decide.
        runs: The store.
        glue: A local clone of GLUE.
        force: Redo a finished run.
        save_to: A new directory for a copy of the artefact.

    Raises:
        CompressError: Anything that keeps the run from being finished; the message says what to do.
    """
    stage = Prune(remove=remove, importance=importance)
    place = Workplace(Path(runs), glue)
    step = plan_pruning(
        model, place, seed=seed, stage=stage, task=task, target=target, recovery=recovery, corpus=corpus
    )
    return execute(step, force=force, save_to=save_to)


def quantize(
    model: str,
    *,
    method: QuantizationMethod | str = "dynamic-int8",
    recovery: Recovery | None = None,
    task: str | None = None,
    seed: int = 42,
    runs: Path | str = "runs",
    glue: Path | None = None,
    force: bool = False,
    save_to: Path | None = None,
) -> StoredRun:
    """Rewrite a finished model in fewer bits.

    Args:
        model: A run, `runs/TASK/MODEL`, or a directory with a classifier.
        method: A recipe of `compress.recipes.quantization`, such as `PackedInt4(block_size=64)`; or the name of one
            that is taken as it is.
        recovery: How it is trained beforehand, computing as if it were quantized already (quantization-aware training);
            None quantizes it as it is.
        task: Calibrated on, and scored afterwards; default the run's own.
        seed: Of the texts to calibrate on, where the method asks for some, and of the recovery.
        runs: The store.
        glue: A local clone of GLUE.
        force: Redo a finished run.
        save_to: A new directory for a copy of the artefact.

    Raises:
        CompressError: Anything that keeps the run from being finished; the message says what to do.
    """
    recipe = resolve_method(method, {}) if isinstance(method, str) else method
    place = Workplace(Path(runs), glue)
    step = plan_quantization(model, place, seed=seed, method=recipe, task=task, recovery=recovery)
    return execute(step, force=force, save_to=save_to)


def export(
    model: str,
    *,
    format: ExportFormat = "transformers",  # noqa: A002 (the command's own word)
    task: str | None = None,
    seed: int = 42,
    runs: Path | str = "runs",
    glue: Path | None = None,
    force: bool = False,
    save_to: Path | None = None,
) -> StoredRun:
    """Write a finished model for those who do not have this package.

    Args:
        model: A run, `runs/TASK/MODEL`, or a directory with a classifier.
        format: `transformers`: layers that share a part, which `transformers` lacks, get a copy each. `onnx`, `openvino`:
            a graph in fp32 for either runtime.
        task: Scored afterwards; default the run's own.
        seed: Kept in the record; nothing is drawn.
        runs: The store.
        glue: A local clone of GLUE.
        force: Redo a finished run.
        save_to: A new directory for a copy of the artefact.

    Raises:
        CompressError: Anything that keeps the run from being finished; the message says what to do.
    """
    place = Workplace(Path(runs), glue)
    step = plan_export(model, place, seed=seed, stage=Export(format=format), task=task)
    return execute(step, force=force, save_to=save_to)


def evaluate(
    model: str,
    *,
    task: str | None = None,
    submission: Path | None = None,
    runs: Path | str = "runs",
    glue: Path | None = None,
) -> list[Evaluation]:
    """Score a finished model on a task's validation splits; scores of a run are kept beside it, and told by its model card.

    Args:
        model: A run, a directory, a teacher or a Hub id, with a classifier.
        task: A GLUE task, `ax`, `sample`, or a task file; default the run's own.
        submission: A directory for the files of GLUE's server: its test splits are answered in place of validation's.
        runs: The store.
        glue: A local clone of GLUE.

    Raises:
        CompressError: The model answers other labels than the task asks for, or either cannot be loaded.
    """
    source = resolve_model(model, store=Path(runs))
    wanted = resolve_task(task or task_of(source), glue=glue)
    if submission is not None:
        wanted = ask_server(wanted, submission)
        require_writable(submission)
    asked, splits = load_validation(wanted)
    run = source.run.run.id if source.run else source.name
    directory = (
        source.path if source.run else Path(runs) / asked.name / source.name / f"evaluate-{source.key[:8]}"
    )
    require_writable(directory)
    predictor = load(source.path)
    align_labels(predictor.labels, asked)
    with telling_failed_writes(directory):
        found = evaluate_predictor(predictor, asked, splits, run=run, directory=directory)
        if source.run:
            renew_card(source.run, found)
    if submission is not None:
        with telling_failed_writes(submission):
            for each in found:
                answers = read_predictions(directory / "evaluations" / each.predictions)
                write_submission(asked, each.split, answers, submission)
    return found


def measure(
    models: Sequence[str],
    *,
    shapes: Sequence[Shape] = DEFAULT_SHAPES,
    threads: int | Sequence[int] = 1,
    rounds: int = ROUNDS,
    sessions: int = 1,
    runs: Path | str = "runs",
    glue: Path | None = None,
    force: bool = False,
) -> list[Session]:
    """Measure models against each other in alternating rounds: size, latency, throughput, operations, memory.

    Args:
        models: Runs, or directories of runs (every finished run in them).
        shapes: Batches to time; of length `task`, the validation texts of the runs' own task.
        threads: Of each engine; of several numbers each has sessions of its own.
        rounds: How often each model has its turn in a session.
        sessions: How often all of it is done, with fresh processes.
        runs: The store.
        glue: A local clone of GLUE.
        force: Measure again although such a session is there.

    Raises:
        CompressError: There is no finished run among them, one cannot be loaded or take a shape, its store cannot be
            written, or its process ended; or texts of a task are wanted and the runs' tasks differ.
    """
    stored = collect_runs(models, runs=Path(runs))
    texts = _common_texts(stored, glue) if any(shape.length == OWN for shape in shapes) else None
    numbers = [threads] if isinstance(threads, int) else list(dict.fromkeys(threads))
    records: list[Session] = []
    for count in numbers:
        for number in range(sessions):
            with telling_failed_writes(Path(runs)):
                records += measure_runs(
                    stored,
                    shapes=shapes,
                    texts=texts,
                    threads=count,
                    rounds=rounds,
                    number=number,
                    force=force,
                )
    if noise := find_noise(records):
        logger.warning("%s", describe_noise(noise))
    return records


def _common_texts(stored: Sequence[StoredRun], glue: Path | None) -> TaskTexts:
    """The texts of the one task that all runs answer.

    Raises:
        CompressError: A run answers none, they answer several, or the texts cannot be read.
    """
    tasks = {each.run.answered_task.name: each for each in stored}
    if len(tasks) > 1:
        raise CompressError(
            f"The runs answer several tasks, {', '.join(sorted(tasks))}, so that they have no texts in common.",
            "Measure the runs of one task at a time, or name a length in tokens: --shape 1x128.",
        )
    (first,) = tasks.values()
    return read_texts(resolve_task(task_of(model_of_run(first)), glue=glue))


def predict(model: str, texts: Sequence[str], *, runs: Path | str = "runs") -> list[Prediction]:
    """Answer texts with a finished model, whatever its backend; a pair is parted by a tab.

    Raises:
        CompressError: The model is not finished or damaged.
    """
    return load(resolve_model(model, store=Path(runs)).path).predict(texts_of(texts))
