"""What a task is: its columns, labels, metrics and splits. Describes data, loads none."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from compress.errors import InvalidInputError, UnknownNameError
from compress.labels import find_unscorable, name_label, require_distinct
from compress.recipes.resolve import explain_validation, read_fields, suggest
from compress.recipes.values import Frozen

Kind = Literal["classification", "regression"]
Metric = Literal["accuracy", "f1", "macro_f1", "matthews_correlation", "pearson", "spearman"]
REGRESSION_METRICS = {"pearson", "spearman"}

GLUE_HUB_ID = "nyu-mll/glue"


class GlueSource(Frozen):
    """A configuration of the GLUE dataset: on the Hub, or in a local clone of it."""

    kind: Literal["glue"] = "glue"
    config: str
    clone: str | None = None


class FilesSource(Frozen):
    """A user's own files: CSV, JSON Lines or Parquet, by their suffix; one validation file or several."""

    kind: Literal["files"] = "files"
    train: str
    validation: Annotated[tuple[str, ...], Field(min_length=1)]

    @field_validator("validation", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


Source = Annotated[GlueSource | FilesSource, Field(discriminator="kind")]


class Task(Frozen):
    """A question asked of a text or a pair of texts, and how answers are scored.

    `labels` is None until the data has been read, where a task file leaves their order open. The first
    metric is the primary one; the task's score is the mean of all (as GLUE has it). `train` is None where there is
    nothing to learn from, only texts to be answered.
    """

    name: str
    kind: Kind
    text: Annotated[tuple[str, ...], Field(min_length=1, max_length=2)]
    label: str = "label"
    labels: tuple[str, ...] | None = None
    metrics: Annotated[tuple[Metric, ...], Field(min_length=1)]
    train: str | None = "train"
    validation: tuple[str, ...] = ("validation",)
    weak_teacher_allowed: bool = False
    version: int = 1
    source: Source

    @field_validator("text", "validation", "metrics", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("labels", mode="before")
    @classmethod
    def _numbers_are_names(cls, value: Any) -> Any:
        """`labels = [0, 1]` means the labels "0" and "1", as a data file's own numbers do."""
        if not isinstance(value, list | tuple):
            return value
        return [name_label(label) or label for label in value]

    @model_validator(mode="after")
    def _columns_differ(self) -> Self:
        if len(set(self.text)) < len(self.text):
            raise ValueError(f"text names the column {self.text[0]!r} twice")
        if self.label in self.text:
            raise ValueError(
                f"label and text are the same column, {self.label!r}: the answer would be given away"
            )
        return self

    @model_validator(mode="after")
    def _metrics_fit_kind(self) -> Self:
        correlations = REGRESSION_METRICS.intersection(self.metrics)
        if self.kind == "regression" and len(correlations) < len(self.metrics):
            raise ValueError(
                f"a regression is scored by {sorted(REGRESSION_METRICS)}, not {list(self.metrics)}"
            )
        if self.kind == "classification" and correlations:
            raise ValueError(f"a classification is not scored by {sorted(correlations)}")
        if self.kind == "regression" and self.labels is not None:
            raise ValueError("a regression has no labels, only numbers")
        if len(set(self.metrics)) < len(self.metrics):
            raise ValueError(f"metrics are named twice: {list(self.metrics)}")
        if self.labels is not None:
            require_distinct(self.labels)
        if problem := find_unscorable(self.metrics, self.labels):
            raise ValueError(problem)
        return self

    @property
    def primary_metric(self) -> Metric:
        """The metric that early stopping, the teacher's gate and retention look at."""
        return self.metrics[0]

    @property
    def num_outputs(self) -> int:
        """Width of the logits: the number of labels, or 1 for a regression."""
        return 1 if self.labels is None else len(self.labels)

    @property
    def outside_mean(self) -> bool:
        """Whether it is a task of GLUE that no mean has a part of; a user's own of that name is none."""
        return isinstance(self.source, GlueSource) and self.source.config in OUTSIDE_MEAN


def _glue(name: str, text: str, labels: str, metrics: tuple[Metric, ...], **more: Any) -> Task:
    return Task(
        name=name,
        kind="classification" if labels else "regression",
        text=tuple(text.split()),
        labels=tuple(labels.split()) or None,
        metrics=metrics,
        source=GlueSource(config=name),
        **more,
    )


_ENTAILMENT = "entailment not_entailment"
_MATCHED = ("validation_matched", "validation_mismatched")
GLUE: dict[str, Task] = {
    task.name: task
    for task in (
        _glue("cola", "sentence", "unacceptable acceptable", ("matthews_correlation",)),
        _glue("sst2", "sentence", "negative positive", ("accuracy",)),
        _glue("mrpc", "sentence1 sentence2", "not_equivalent equivalent", ("accuracy", "f1")),
        _glue("stsb", "sentence1 sentence2", "", ("pearson", "spearman")),
        _glue("qqp", "question1 question2", "not_duplicate duplicate", ("accuracy", "f1")),
        _glue(
            "mnli",
            "premise hypothesis",
            "entailment neutral contradiction",
            ("accuracy",),
            validation=_MATCHED,
        ),
        _glue("qnli", "question sentence", _ENTAILMENT, ("accuracy",)),
        _glue("rte", "sentence1 sentence2", _ENTAILMENT, ("accuracy",)),
        _glue(
            "wnli",
            "sentence1 sentence2",
            "not_entailment entailment",
            ("accuracy",),
            weak_teacher_allowed=True,
        ),
    )
}
"""GLUE's nine tasks (Wang et al. 2018), in the columns and label names of the Hub dataset `nyu-mll/glue`."""

AX = _glue(
    "ax",
    "premise hypothesis",
    "entailment neutral contradiction",
    ("matthews_correlation",),
    train=None,
    validation=("test",),
)
"""GLUE's diagnostic set: MNLI's question on 1,104 pairs whose labels the server keeps; a model of MNLI answers it."""

GLUE_TITLES = {
    "cola": "CoLA",
    "sst2": "SST-2",
    "mrpc": "MRPC",
    "stsb": "STS-B",
    "qqp": "QQP",
    "mnli": "MNLI",
    "qnli": "QNLI",
    "rte": "RTE",
    "wnli": "WNLI",
    "ax": "AX",
}
"""Task → what papers and GLUE's server call it, in the order of the paper."""

SUBMISSION_FILES = {("mnli", "test_matched"): "MNLI-m.tsv", ("mnli", "test_mismatched"): "MNLI-mm.tsv"} | {
    (name, "test"): f"{title}.tsv" for name, title in GLUE_TITLES.items() if name != "mnli"
}
"""Task and split → the file that GLUE's server takes its answers from."""
OUTSIDE_MEAN = frozenset({"wnli"})
"""No part of a mean over tasks, as in Devlin et al. (2019, section 4.1): WNLI's validation split answers its train split's
sentences the other way round, so that models score below a constant answer, and its 71 examples would weigh as much as any task."""

SPLIT_SIZES = {
    ("cola", "train"): 8551,
    ("cola", "validation"): 1043,
    ("sst2", "train"): 67349,
    ("sst2", "validation"): 872,
    ("mrpc", "train"): 3668,
    ("mrpc", "validation"): 408,
    ("stsb", "train"): 5749,
    ("stsb", "validation"): 1500,
    ("qqp", "train"): 363846,
    ("qqp", "validation"): 40430,
    ("mnli", "train"): 392702,
    ("mnli", "validation_matched"): 9815,
    ("mnli", "validation_mismatched"): 9832,
    ("qnli", "train"): 104743,
    ("qnli", "validation"): 5463,
    ("rte", "train"): 2490,
    ("rte", "validation"): 277,
    ("wnli", "train"): 635,
    ("wnli", "validation"): 71,
}
"""GLUE's task and split → how many labelled examples it has, as published."""

_SAMPLES = Path(__file__).parent / "samples"
SAMPLE = Task(
    name="sample",
    kind="classification",
    text=("text",),
    labels=("objective", "subjective"),
    metrics=("accuracy",),
    source=FilesSource(
        train=str(_SAMPLES / "subj" / "train.parquet"),
        validation=(str(_SAMPLES / "subj" / "validation.parquet"),),
    ),
)
"""Subjectivity v1.0 (Pang & Lee 2004): is a sentence about a film an opinion or a fact?"""


def list_tasks() -> list[Task]:
    """The tasks known by name."""
    return [SAMPLE, *GLUE.values(), AX]


def describe_task(task: Task) -> str:
    """A task in one line: what is asked, of what, and how it is scored."""
    asked = f"{task.kind} of {' and '.join(task.text)}"
    if task.labels is not None:
        asked += f" ({', '.join(task.labels)})"
    return f"{asked}; {', '.join(task.metrics)}"


def resolve_task(name: str, *, glue: Path | None = None) -> Task:
    """Find a task by name or by the path of its file.

    Args:
        name: A GLUE task, `sample`, or the path of a task file (`*.toml`).
        glue: A local clone of the GLUE dataset; default the environment's `COMPRESS_GLUE`, then the Hub.

    Raises:
        UnknownNameError: Nothing of that name.
        InvalidInputError: The task file, or the clone, is not what it should be.
    """
    if name.endswith(".toml") or "/" in name:
        return _read_task_file(Path(name))
    if name == SAMPLE.name:
        return SAMPLE
    known = {**GLUE, AX.name: AX}
    if name not in known:
        raise UnknownNameError(
            f"There is no task {name!r}.", suggest(name, [task.name for task in list_tasks()], "tasks")
        )
    task = known[name]
    clone = glue or (Path(os.environ["COMPRESS_GLUE"]) if os.environ.get("COMPRESS_GLUE") else None)
    if clone is None:
        return task
    if not (clone / name).is_dir():
        raise InvalidInputError(
            f"{clone} holds no folder {name!r}, so it is not a clone of the dataset {GLUE_HUB_ID}, or not a whole one.",
            f"Point --glue (or COMPRESS_GLUE) at a clone: a directory with {name}/{task.train or 'test'}-*.parquet in it.",
        )
    return task.model_copy(update={"source": GlueSource(config=name, clone=str(clone.resolve()))})


def _read_task_file(path: Path) -> Task:
    if path.is_dir():
        raise InvalidInputError(f"{path} is a directory, not a task file.", "Name the *.toml file in it.")
    if not path.exists():
        raise UnknownNameError(
            f"There is no task file {path}.", "Check the path, or name a GLUE task or `sample`."
        )
    fields = read_fields(path)
    foreign = [name for name in ("name", "source", "weak_teacher_allowed", "version") if name in fields]
    if foreign:
        raise InvalidInputError(
            f"{path} has a field {foreign[0]!r}, which a task file does not have.",
            "Remove it: a task goes by the stem of its file, its data by `train` and `validation`.",
        )
    files = {key: fields.pop(key) for key in ("train", "validation") if key in fields}
    try:
        source = FilesSource.model_validate(files)
        splits = _split_names(source.validation)
        _require_apart(path, source, splits)
        source = FilesSource(
            train=str(path.parent / source.train),
            validation=tuple(str(path.parent / file) for file in source.validation),
        )
        return Task.model_validate({**fields, "name": path.stem, "validation": splits, "source": source})
    except ValidationError as error:
        raise InvalidInputError(
            f"{path} is no valid task file: {explain_validation(error, (FilesSource, Task))}",
            "Mend the file.",
        ) from None


def _split_names(files: tuple[str, ...]) -> tuple[str, ...]:
    """One validation file is the split `validation`; of several, each is reported under its stem."""
    return ("validation",) if len(files) == 1 else tuple(Path(file).stem for file in files)


def _require_apart(path: Path, source: FilesSource, splits: tuple[str, ...]) -> None:
    """Refuse splits of one name, and a model that would be scored on what it learned."""
    twins = sorted({split for split in splits if splits.count(split) > 1 or split == "train"})
    if twins:
        raise InvalidInputError(
            f"{path}: several files would be reported as the split {twins[0]!r}: "
            f"{', '.join(map(repr, (source.train, *source.validation)))}.",
            "Each validation file is reported under its stem: rename one of them.",
        )
    if source.train in source.validation:
        raise InvalidInputError(
            f"{path}: {source.train!r} is the train file and a validation file, so scores would be of rows learned by heart.",
            "Keep some rows for validation alone, in a file of their own.",
        )
