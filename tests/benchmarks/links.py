"""What a chain makes, link by link: language, tasks, quantized weights; each by the command that a user has."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import compress
from compress.errors import CompressError
from compress.planning import Options, Schooling, Teaching
from compress.recipes.resolve import resolve_student, resolve_teacher
from compress.runs import StoredRun
from compress.workloads import Shape

SHORTER = """
[distill.minilm.small.general.training]
max_steps = 100
max_length = 32
"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scale:
    """What is usual at a scale.

    Attributes:
        teacher: Is pretrained.
        student: Learns from it.
        method: How.
        tasks: That both learn.
        minutes: Of pretraining.
        pretraining: Changes to its schedule.
        whole_vocabulary: As many pieces as the teacher was published with, not the small recipe's.
        teaching: Changes to the schedules of the last stage on a task, teacher's and student's.
        shorter: Is added to the student's file.
        length: In tokens, of what is timed.
    """

    teacher: str
    student: str
    method: str
    tasks: tuple[str, ...]
    minutes: float
    pretraining: Mapping[str, Any] = field(default_factory=dict)
    whole_vocabulary: bool = False
    teaching: Mapping[str, Any] = field(default_factory=dict)
    shorter: str = ""
    length: int = 128


SCALES = {
    "gpu": Scale(
        teacher="bert-base",
        student="albert-tiny",
        method="tinybert",
        tasks=("sst2", "mrpc"),
        minutes=20,
        pretraining={"per_device_train_batch_size": 256, "learning_rate": 4e-4},
        whole_vocabulary=True,
    ),
    "rehearsal": Scale(
        teacher="bert-mini",
        student="albert-tiny",
        method="minilm",
        tasks=("sample",),
        minutes=2,
        teaching={"num_train_epochs": 1.0, "max_length": 64},
        shorter=SHORTER,
        length=64,
    ),
}


@dataclass(frozen=True)
class Chain:
    """What is made, and where.

    Attributes:
        scale: With the user's changes.
        corpus: The documents.
        glue: A local clone of GLUE.
        store: The directory of runs.
        output_dir: Of what is told, and of a student's file that is made for it.
        rounds: Of measuring; 0 measures nothing.
    """

    scale: Scale
    corpus: str
    glue: Path | None
    store: Path
    output_dir: Path
    rounds: int

    @property
    def place(self) -> dict[str, Any]:
        """Where a command on a task works."""
        return {"runs": self.store, "glue": self.glue}


@dataclass
class Made:
    """What there is so far: runs that learned a language, runs of each task, and what went wrong."""

    language: list[StoredRun] = field(default_factory=list)
    tasks: dict[str, list[StoredRun]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def runs(self) -> list[StoredRun]:
        """Those that answer a task."""
        return [stored for found in self.tasks.values() for stored in found]


def pretrain_teacher(chain: Chain, name: str) -> StoredRun:
    """A teacher from nothing, within its minutes."""
    scale = chain.scale
    pieces = resolve_teacher(name).vocab_size if scale.whole_vocabulary else None
    schooling = Schooling(budget="small", max_minutes=scale.minutes, vocab_size=pieces)
    options = Options(training=scale.pretraining, pretraining=schooling)
    return compress.pretrain(name, corpus=chain.corpus, options=options, runs=chain.store)


def teach_language(chain: Chain, teacher: StoredRun, student: str) -> StoredRun:
    """A general-purpose student; the stages on tasks begin with it, since its recipe is theirs."""
    options = Options(distillation=_teaching(chain))
    return compress.distill(str(teacher.path), student, options=options, runs=chain.store)


def teach_task(chain: Chain, teacher: StoredRun, student: str, task: str) -> list[StoredRun]:
    """The teacher on a task, the student that learned it from the teacher, and that one quantized; scored and measured."""
    options = Options(training=chain.scale.teaching, distillation=_teaching(chain))
    taught = compress.finetune(str(teacher.path), task=task, options=options, **chain.place)
    learned = compress.distill(str(taught.path), student, task=task, options=options, **chain.place)
    small = compress.quantize(str(learned.path), **chain.place)
    return _judge(chain, task, [taught, learned, small])


def teach_alone(chain: Chain, teacher: StoredRun, task: str) -> list[StoredRun]:
    """A teacher on a task, without a student."""
    options = Options(training=chain.scale.teaching)
    return _judge(
        chain, task, [compress.finetune(str(teacher.path), task=task, options=options, **chain.place)]
    )


def _judge(chain: Chain, task: str, runs: list[StoredRun]) -> list[StoredRun]:
    for stored in runs:
        compress.evaluate(str(stored.path), task=task, **chain.place)
    if chain.rounds:
        shapes = [Shape(1, chain.scale.length)]
        paths = [str(stored.path) for stored in runs]
        compress.measure(paths, shapes=shapes, rounds=chain.rounds, runs=chain.store)
    return runs


def _teaching(chain: Chain) -> Teaching:
    return Teaching(method=chain.scale.method, corpus=chain.corpus, allow_weak_teacher=True)


def write_student(scale: Scale, folder: Path) -> str:
    """The student's name; or where its schedule is shortened, a copy of its file, which has the same name."""
    if not scale.shorter:
        return scale.student
    name = resolve_student(scale.student).name
    file = folder / "students" / f"{name}.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    bundled = Path(__file__).parents[2] / "students" / f"{name}.toml"
    file.write_text(bundled.read_text(encoding="utf-8") + scale.shorter, encoding="utf-8")
    return str(file)


@contextmanager
def noting_problems(made: Made, what: str) -> Iterator[None]:
    """What cannot be done within is noted, and the next thing is begun."""
    try:
        yield
    except CompressError as error:
        logger.warning("%s: %s", what, error)
        made.problems.append(f"{what}: {error}")


def run_chain(chain: Chain, made: Made) -> Made:
    """The teacher and its student, on all tasks; what is made is noted as it comes."""
    teacher = pretrain_teacher(chain, chain.scale.teacher)
    made.language.append(teacher)
    student = write_student(chain.scale, chain.output_dir)
    made.language.append(teach_language(chain, teacher, student))
    for task in chain.scale.tasks:
        with noting_problems(made, f"{teacher.run.name} on {task}"):
            made.tasks[task] = teach_task(chain, teacher, student, task)
    return made


def run_further(chain: Chain, name: str, made: Made) -> Made:
    """One more teacher, pretrained and fine-tuned."""
    with noting_problems(made, name):
        teacher = pretrain_teacher(chain, name)
        made.language.append(teacher)
        for task in chain.scale.tasks:
            with noting_problems(made, f"{name} on {task}"):
                made.tasks.setdefault(task, []).extend(teach_alone(chain, teacher, task))
    return made
