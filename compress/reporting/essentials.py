"""What was done, in pairs of term and value: the part of a run's record that a reader asks for."""

import string
from collections.abc import Iterator, Sequence
from itertools import product
from shlex import join
from typing import Any

from compress.environment import Environment
from compress.recipes.quantization import QuantizationMethod
from compress.recipes.stages import (
    COMPUTED,
    Distill,
    Export,
    Finetune,
    General,
    Intermediate,
    Pretrain,
    Prune,
    Quantize,
)
from compress.recipes.start import describe_start
from compress.recipes.terms import Term
from compress.recipes.values import Training
from compress.reporting.candidates import Candidate
from compress.reporting.formats import format_bytes, format_count, format_seconds, format_significant
from compress.reporting.lineage import order_runs
from compress.reporting.pretraining import list_pretraining
from compress.reporting.schema import Report, Row, TimingColumn
from compress.reporting.wording import describe_machine, describe_versions
from compress.runs import Run

TOLD_WHERE_ANY = frozenset(
    {"augmentation_unconfident", "resumed_from_step", "truncated_training_texts", "weak_teachers"}
)
"""Facts that count what a reader should know of; 0 is nothing to know."""

Pair = tuple[str, str]


def list_essentials(run: Run) -> tuple[Pair, ...]:
    """Recipe, training and outcome of one run, as term and value."""
    return (
        *_list_recipe(run),
        *_tell_train_split(run),
        ("Seed", str(run.seed)),
        ("Took", format_seconds(run.seconds)),
        ("Key", run.key),
        *((name.replace("_", " "), value) for name, value in _list_facts(run)),
    )


def _tell_train_split(run: Run) -> Iterator[Pair]:
    split = run.train_split
    if split and not isinstance(run.stage, COMPUTED):
        part = split.published not in (None, split.examples)
        yield "Train split", f"{split.examples:,} examples" + (f" of {split.published:,}" if part else "")


def _list_recipe(run: Run) -> Iterator[Pair]:
    stage = run.stage
    if isinstance(stage, General | Intermediate | Distill):
        yield from _describe_method(stage)
        if student := stage.student:
            yield "Student", f"{student.name} ({student.family}, {describe_start(student.initialize)})"
        yield from _list_training(stage.training)
        if not isinstance(stage, General):
            yield "Selected on", stage.select_on
    elif isinstance(stage, Pretrain):
        yield from list_pretraining(stage)
        yield from _list_schedule(stage.training)
    elif isinstance(stage, Finetune):
        yield from _list_training(stage.training)
        yield "Selected on", stage.select_on
    elif isinstance(stage, Quantize):
        yield "Method", _describe_quantization(stage.method)
    elif isinstance(stage, Export):
        yield "Format", stage.format
    elif isinstance(stage, Prune):
        yield "Removed, as asked", stage.describe()
        if stage.remove.ranks_units:
            yield "Importance", stage.importance


def _describe_method(stage: General | Intermediate | Distill) -> Iterator[Pair]:
    budget = f", {stage.budget} budget" if stage.budget else ""
    yield "Method", f"{stage.method}{budget}"
    yield "Terms", "; ".join(map(_describe_term, stage.terms))
    augmentation = getattr(stage, "augmentation", None)
    if augmentation:
        yield (
            "Augmentation",
            f"{augmentation.copies} {'copy' if augmentation.copies == 1 else 'copies'} of each text, a word in {1 / augmentation.replace_probability:g} replaced",
        )


def _describe_quantization(method: QuantizationMethod) -> str:
    """A method's name and its choices: static-int8, one scale an output channel, samples 256."""
    choices = method.model_dump(exclude={"kind", "per_channel", "reduce_range"})
    details = [f"{name.replace('_', ' ')} {_say(value)}" for name, value in choices.items()]
    per_channel = getattr(method, "per_channel", None)
    if per_channel is not None:
        details.insert(0, "one scale an output channel" if per_channel else "one scale a tensor")
    if getattr(method, "reduce_range", None):
        details.append("weights in 7 bits")
    return ", ".join([method.kind, *details])


def _say(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " and ".join(value) if isinstance(value, tuple) else str(value)


def _describe_term(term: Term) -> str:
    """A term's name and what it says beside the defaults: 5 × soft (temperature 2)."""
    said = {
        name: value
        for name, value in term.model_dump(exclude_defaults=True).items()
        if name not in ("loss", "weight")
    }
    details = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in said.items())
    return f"{term.weight:g} × {term.loss.replace('_', ' ')}" + (f" ({details})" if details else "")


def _list_training(training: Training) -> Iterator[Pair]:
    steps = f"at most {training.max_steps} steps" if training.max_steps > 0 else None
    yield "Epochs", steps or f"{training.num_train_epochs:g}"
    yield from _list_schedule(training)


def _list_schedule(training: Training) -> Iterator[Pair]:
    accumulated = training.gradient_accumulation_steps
    size = str(training.per_device_train_batch_size) + (f" × {accumulated}" if accumulated > 1 else "")
    yield "Learning rate", f"{training.learning_rate:g}, {training.lr_scheduler_type}"
    yield "Batch", f"{size}, at most {training.max_length} tokens"
    if training.bf16 is not None:
        yield "Precision", "bfloat16" if training.bf16 else "float32"


def _list_facts(run: Run) -> Iterator[Pair]:
    """What the stage noted of itself, where it is a number or a word; nested records stay in run.json."""
    for name, value in sorted(run.facts.items()):
        if name in TOLD_WHERE_ANY and not value:
            continue
        if isinstance(value, bool):
            yield name, "yes" if value else "no"
        elif isinstance(value, float):
            yield name, format_significant(value, 4)
        elif isinstance(value, int | str):
            yield name, str(value)


def join_essentials(runs: Sequence[Run]) -> tuple[Pair, ...]:
    """The essentials of runs that differ in their seeds: what is the same once, the rest in the order of the runs.

    The seeds of several runs are left out: they are told with the runs' names.
    """
    if len(runs) == 1:
        return list_essentials(runs[0])
    told = [dict(list_essentials(run)) for run in runs]
    terms = dict.fromkeys(term for each in told for term in each if term != "Seed")
    values = {term: [each.get(term, "–") for each in told] for term in terms}
    return tuple(
        (term, said[0] if len(set(said)) == 1 else " | ".join(said)) for term, said in values.items()
    )


def describe_size(row: Row) -> str:
    """Bytes, the tokenizer's beside them, and parameters: 17.6 MB + 712 kB tokenizer, 4.39 M parameters."""
    tokenizer = f" + {format_bytes(row.tokenizer_bytes)} tokenizer" if row.tokenizer_bytes else ""
    return f"{format_bytes(row.bytes)}{tokenizer}, {format_count(row.run.parameters)} parameters"


def order_by_making(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Candidates in the order in which the first of their seeds were made."""
    by_id = {run: each for each in candidates for run in each.runs}
    made = order_runs([row.run for each in candidates for row in each.rows])
    return tuple({each.runs: each for each in (by_id[run.id] for run in made)}.values())


def list_commands(report: Report) -> tuple[str, ...]:
    """The commands that make the runs, in that order and each once, those that measure them, then the one that makes the report.

    What a run goes back to and the report holds no record of, another task's teacher perhaps, is told as its lineage has it.
    """
    runs = [
        run
        for section in report.sections
        for run in order_runs(
            [*(row.run for row in section.rows), *(ancestor.run for ancestor in section.ancestors)]
        )
    ]
    told = {run.id: run.command for run in runs}
    commands: dict[str, str] = {}
    for run in runs:
        for each in run.descent:
            commands.setdefault(each.id, told.get(each.id, each.command))
    return tuple(dict.fromkeys([*commands.values(), *_list_measuring(report), report.command]))


def _list_measuring(report: Report) -> Iterator[str]:
    """For each set of sessions the command that measures its models alike, as their records tell it."""
    for section in report.sections:
        sets: dict[tuple[str, ...], list[TimingColumn]] = {}
        for column in section.timings:
            if None not in (column.condition.batch, column.condition.length, column.condition.threads):
                sets.setdefault(column.sessions, []).append(column)
        for columns in sets.values():
            first = columns[0]
            store = _find_store(report.command, [timing.run for timing in first.timings])
            models = [f"{store}/{timing.run}" for timing in first.timings]
            conditions = [column.condition for column in columns]
            shapes = dict.fromkeys(f"--shape {each.batch}x{each.length}" for each in conditions)
            threads = f"--threads {first.condition.threads} --rounds {first.rounds}"
            yield f"compress measure {join(models)} {' '.join(shapes)} {threads} --sessions {len(first.sessions)}"


def _find_store(command: str, runs: Sequence[str]) -> str:
    """Where the report's command found its runs."""
    words = command.split()
    return next(
        (word.removesuffix(f"/{run}") for run in runs for word in words if word.endswith(f"/{run}")), "runs"
    )


def list_environments(report: Report) -> dict[str, tuple[str, str]]:
    """Run's id → a letter and the hardware with versions it stands for; runs made alike share a letter."""
    rows = [row.run for section in report.sections for row in section.rows]
    before = [made.run for section in report.sections for made in section.ancestors]
    texts = {run.id: _describe_environment(run.environment) for run in (*rows, *before)}
    letters = ("".join(pair) for width in (1, 2) for pair in product(string.ascii_uppercase, repeat=width))
    named = {text: next(letters) for text in dict.fromkeys(texts.values())}
    return {run: (named[text], text) for run, text in texts.items()}


def _describe_environment(environment: Environment) -> str:
    count = environment.threads
    threads = "" if count is None else f", {count} PyTorch thread{'s' * (count != 1)}"
    commit = environment.commit or "not recorded"
    return f"{describe_machine(environment)}{threads}; {describe_versions(environment)}; commit {commit}"
