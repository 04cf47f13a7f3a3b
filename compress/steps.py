"""A stage with its inputs: what decides its result, and where the result lies. Computes nothing heavy."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from compress.data.corpus import Corpus
from compress.data.task_data import TaskData, count_held_out
from compress.environment import describe, device
from compress.processes import world_size
from compress.recipes.stages import (
    COMPUTED,
    Export,
    General,
    Pretrain,
    Prune,
    Quantize,
    Stage,
    head_of,
    reads_data,
)
from compress.runs import RUN_FILE, SCHEMA_VERSION, Parent, content_key, run_directory
from compress.sources import Model
from compress.tasks import Task
from compress.training import steps_of

UNDECISIVE = {"student": {"description", "training", "distill"}, "pieces_from": {"origin"}}
"""What a stage says that decides nothing: words, defaults that it has resolved itself, and where documents lie."""


@dataclass(frozen=True)
class Workplace:
    """Where a command works.

    Attributes:
        store: The directory of runs.
        glue: A local clone of GLUE; None is the Hub.
    """

    store: Path = Path("runs")
    glue: Path | None = None


@dataclass(frozen=True)
class Step:
    """One stage of a plan.

    Attributes:
        name: Of the model that it makes.
        stage: What it does, complete.
        inputs: Role → the model that it starts from, or the step that makes that model.
        data: The task's examples, or the corpus.
        subject: The task or the corpus as the user named it.
        seed: Of everything random in it.
        store: The directory of runs.
        details: What its terms compare, what its passes leave, or what it leaves as it is, in words.
    """

    name: str
    stage: Stage
    inputs: Mapping[str, "Model | Step"]
    data: TaskData | Corpus
    subject: str
    seed: int
    store: Path
    details: tuple[str, ...] = ()

    @cached_property
    def key(self) -> str:
        """A hash over all that decides the result (DESIGN.md, section 5)."""
        makers = ("torch", "transformers", *_other_makers(self.stage))
        versions = describe().versions
        return content_key(
            {
                "schema": SCHEMA_VERSION,
                "stage": self.stage.model_dump(mode="json", exclude=UNDECISIVE),
                "parents": [parent.key for parent in self.parents],
                "task": self.task.model_dump(mode="json", exclude={"source"}) if self.task else None,
                "data": self._data_key(),
                "seed": self.seed if reads_data(self.stage) else None,
                "device": device(),
                "processes": world_size(),
                "versions": [_minor(versions.get(name, "")) for name in makers],
            }
        )

    def _data_key(self) -> list[str]:
        if not reads_data(self.stage):
            return []
        if isinstance(self.data, Corpus):
            return [self.data.fingerprint]
        selected = getattr(self.stage, "select_on", "holdout") == "validation"
        return [self.data.fingerprint, *([self.data.validation[0].fingerprint] if selected else [])]

    @property
    def task(self) -> Task | None:
        """The task, where there is one."""
        return self.data.task if isinstance(self.data, TaskData) else None

    @property
    def answers(self) -> TaskData | None:
        """The examples that the artefact is scored on; None where it answers nothing."""
        return self.data if isinstance(self.data, TaskData) and head_of(self.stage) == "task" else None

    @cached_property
    def parents(self) -> tuple[Parent, ...]:
        """How the run will record its inputs."""
        return tuple(
            Parent(role=role, name=given.name, origin=f"run {given.id}", key=given.key)
            if isinstance(given, Step)
            else given.as_parent(role)
            for role, given in self.inputs.items()
        )

    @property
    def directory(self) -> Path:
        """Where the run lies, or will."""
        return run_directory(
            self.store,
            task=self.data.name,
            name=self.name,
            stage=self.stage.kind,
            key=self.key,
        )

    @property
    def id(self) -> str:
        """The run's id: its directory, as seen from the store."""
        return self.directory.relative_to(self.store).as_posix()

    @property
    def finished(self) -> bool:
        """Whether the run is already there."""
        return (self.directory / RUN_FILE).is_file()

    @property
    def trains(self) -> bool:
        """Whether weights are moved."""
        return not isinstance(self.stage, COMPUTED)

    @property
    def optimizer_steps(self) -> int | None:
        """How many optimizer steps it takes at the most; None where that is not known before texts are made or cut."""
        if isinstance(self.stage, COMPUTED):
            return 0
        training = self.stage.training
        if isinstance(self.data, Corpus) or isinstance(self.stage, General | Pretrain):
            return training.max_steps if training.max_steps > 0 else None
        rows = len(self.data.train)
        if self.stage.select_on == "holdout":
            rows -= count_held_out(rows)
        augmentation = getattr(self.stage, "augmentation", None)
        if augmentation:  # either side of a pair is varied so often
            rows *= 1 + augmentation.copies * len(self.data.task.text)
        return steps_of(training, rows, processes=world_size())

    def unfold(self) -> list["Step"]:
        """This step, preceded by those that make its inputs."""
        before = [
            step for given in self.inputs.values() if isinstance(given, Step) for step in given.unfold()
        ]
        return list({step.id: step for step in [*before, self]}.values())


def _other_makers(stage: Stage) -> tuple[str, ...]:
    """The other libraries that decide what a stage makes."""
    match stage:
        case Quantize(method=method):
            return method.makers
        case Export():
            return stage.makers
        case Prune():
            return ("torch-pruning",)
        case Pretrain(arrangement=str()):
            return "tokenizers", "sentencex"
    return ()


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])
