"""What a task is: its columns, labels, metrics and splits. Describes data, loads none."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from compress.errors import InvalidInputError, UnknownNameError
from compress.recipes.resolve import explain_validation, read_fields, suggest
from compress.recipes.schema import Frozen

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
    validation: tuple[str, ...]


Source = Annotated[GlueSource | FilesSource, Field(discriminator="kind")]


class Task(Frozen):
    """A question asked of a text or a pair of texts, and how answers are scored.

    `labels` is None until the data has been read, where a task file leaves their order open. The first
    metric is the primary one; the task's score is the mean of all (as GLUE has it).
    """

    name: str
    kind: Kind
    text: Annotated[tuple[str, ...], Field(min_length=1, max_length=2)]
    label: str = "label"
    labels: tuple[str, ...] | None = None
    metrics: Annotated[tuple[Metric, ...], Field(min_length=1)]
    train: str = "train"
    validation: tuple[str, ...] = ("validation",)
    weak_teacher_allowed: bool = False
    version: int = 1
    source: Source

    @field_validator("text", "validation", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

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
        if self.labels is not None and len(set(self.labels)) < max(2, len(self.labels)):
            raise ValueError(f"labels must be two or more, all different, not {list(self.labels)}")
        return self

    @property
    def primary_metric(self) -> Metric:
        """The metric that early stopping, the teacher's gate and retention look at."""
        return self.metrics[0]

    @property
    def num_outputs(self) -> int:
        """Width of the logits: the number of labels, or 1 for a regression."""
        return 1 if self.labels is None else len(self.labels)


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
    return [SAMPLE, *GLUE.values()]


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
    if name not in GLUE:
        raise UnknownNameError(
            f"There is no task {name!r}.", suggest(name, [task.name for task in list_tasks()], "tasks")
        )
    task = GLUE[name]
    clone = glue or (Path(os.environ["COMPRESS_GLUE"]) if os.environ.get("COMPRESS_GLUE") else None)
    if clone is None:
        return task
    if not (clone / name).is_dir():
        raise InvalidInputError(
            f"{clone} holds no folder {name!r}, so it is not a clone of the dataset {GLUE_HUB_ID}.",
            f"Point --glue (or COMPRESS_GLUE) at a clone: a directory with {name}/train-*.parquet in it.",
        )
    return task.model_copy(update={"source": GlueSource(config=name, clone=str(clone.resolve()))})


def _read_task_file(path: Path) -> Task:
    if not path.is_file():
        raise UnknownNameError(
            f"There is no task file {path}.", "Check the path, or name a GLUE task or `sample`."
        )
    fields = read_fields(path)
    files = {key: fields.pop(key) for key in ("train", "validation") if key in fields}
    try:
        source = FilesSource.model_validate({**files, "validation": _as_list(files.get("validation"))})
        splits = _split_names(source.validation)
        source = FilesSource(
            train=str(path.parent / source.train),
            validation=tuple(str(path.parent / file) for file in source.validation),
        )
        return Task.model_validate({**fields, "name": path.stem, "validation": splits, "source": source})
    except ValidationError as error:
        raise InvalidInputError(
            f"{path} is no valid task file:\n{explain_validation(error)}", "Mend the file."
        ) from None


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _split_names(files: tuple[str, ...]) -> tuple[str, ...]:
    """One validation file is the split `validation`; of several, each is reported under its stem."""
    return ("validation",) if len(files) == 1 else tuple(Path(file).stem for file in files)
