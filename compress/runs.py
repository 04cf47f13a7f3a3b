"""Runs on disk: what was made, from what, how, and what it scored.

A run is a directory `STORE/<task>/<model>/<stage>-<key>/`. It is finished when it holds a `run.json`,
which is written last and never changed; scores and timings are added beside it, each in a file of its own.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from pydantic import BaseModel, JsonValue, ValidationError, model_validator

from compress.environment import Environment
from compress.errors import CompressError, first_line
from compress.recipes.stages import COMPUTED, Stage
from compress.recipes.values import Frozen
from compress.tasks import Task

SCHEMA_VERSION = 1
RUN_FILE = "run.json"
HISTORY_FILE = "history.jsonl"
CHECKPOINTS = "checkpoints"
LOCK_FILE = ".lock"
REDO_SUFFIX = ".redo"
TEACHER_CACHE = ".teacher-cache"
CORPUS_CACHE = ".corpus-cache"
TOKENIZER_CACHE = ".tokenizer-cache"
AUGMENTATION_CACHE = ".augmentation-cache"
CACHES = (TEACHER_CACHE, CORPUS_CACHE, TOKENIZER_CACHE, AUGMENTATION_CACHE)
"""Folders of a store that keep what teachers said, tokenized corpora, trained tokenizers, augmented texts; each can be
made again."""
WEIGHT_SUFFIXES = (".safetensors", ".onnx", ".onnx_data", ".bin", ".xml")
CONFIG_FILE = "config.json"
PROJECTIONS_FILE = "projections.safetensors"
"""Beside a student that a further stage goes on with: the projections to its teacher's width."""
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "merges.txt",
)

HUB_ORIGIN = re.compile(r"hub (?P<id>[\w.-]+(?:/[\w.-]+)?)(?: (?P<revision>\S+))?")
"""The origin of a parent that was fetched from the Hub: its id, then the revision."""

Part = Literal["embeddings", "attention", "feed-forward", "classifier", "other"]
"""What a model's parameters and milliseconds are told by, in the order in which they are shown."""
PARTS: tuple[Part, ...] = get_args(Part)

Record = TypeVar("Record", bound=BaseModel)


class DamagedError(CompressError):
    """A record of a run that cannot be read; how to mend it depends on whose copy it is."""


class File(Frozen):
    """A file of a run: its size in bytes and its SHA-256 sum."""

    bytes: int
    sha256: str


def is_teacher(role: str) -> bool:
    """Whether a parent of that role taught: of several teachers all but the first are numbered."""
    return role.startswith("teacher")


class Parent(Frozen):
    """What a run was made from: a run (its id), or weights from elsewhere; `key` is a run's key or a content hash."""

    role: str
    name: str
    origin: str
    key: str

    @property
    def run_id(self) -> str | None:
        """The run that it is, None where it is none."""
        return self.origin.removeprefix("run ") if self.origin.startswith("run ") else None

    @property
    def teaches(self) -> bool:
        """Whether it is the teacher, or one of several."""
        return is_teacher(self.role)

    @property
    def hub_id(self) -> str | None:
        """The repository of the Hub that it was fetched from, None where it was not."""
        found = HUB_ORIGIN.fullmatch(self.origin)
        return found["id"] if found else None


class TrainSplit(Frozen):
    """How many examples a task's train split had where a run was made, and how many its publisher counts (None: not known)."""

    examples: int
    published: int | None = None


class Ancestor(Frozen):
    """A run that another one goes back to: enough to make it again, wherever it lies."""

    id: str
    name: str
    stage: Stage
    seed: int
    command: str
    train_split: TrainSplit | None = None


class Run(Frozen):
    """One finished stage.

    `task` is None where documents were learned; `subject` is the task or the corpus as the user named it (a file's
    path, perhaps); `facts` are what the stage measured of itself, by name; `lineage` are the runs that it goes back to,
    the first one first; `train_split` is the task's (records of before there were these have none).
    """

    schema_version: int = SCHEMA_VERSION
    id: str
    name: str
    key: str
    stage: Stage
    parents: tuple[Parent, ...]
    lineage: tuple[Ancestor, ...] = ()
    task: Task | None
    subject: str
    train_split: TrainSplit | None = None
    seed: int
    command: str
    environment: Environment
    started: str
    seconds: float
    parameters: int
    facts: dict[str, JsonValue]
    files: dict[str, File]

    @model_validator(mode="before")
    @classmethod
    def _read_older(cls, value: Any) -> Any:
        """Records of before there were corpora named the task alone."""
        if isinstance(value, Mapping) and "task_name" in value:
            return {
                **{name: part for name, part in value.items() if name != "task_name"},
                "subject": value["task_name"],
            }
        return value

    @property
    def descent(self) -> tuple[Ancestor, ...]:
        """The lineage of what is made from it: its own, and itself."""
        own = Ancestor(
            id=self.id,
            name=self.name,
            stage=self.stage,
            seed=self.seed,
            command=self.command,
            train_split=self.train_split,
        )
        return (*self.lineage, own)

    @property
    def learned_by(self) -> int:
        """The seed that its weights were trained by, and what was held out then: where they were computed from others, theirs."""
        learned = [ancestor.seed for ancestor in self.descent if not isinstance(ancestor.stage, COMPUTED)]
        return learned[-1] if learned else self.seed

    @property
    def place(self) -> str:
        """The task's or the corpus's name: where the run lies in its store."""
        return self.id.partition("/")[0]

    @property
    def answered_task(self) -> Task:
        """The task that the model answers.

        Raises:
            CompressError: It answers none: it is what another stage starts from.
        """
        if self.task is None:
            raise CompressError(
                f"{self.id} answers no task: it is a general-purpose model.",
                "Teach it one: compress finetune MODEL --task TASK.",
            )
        return self.task

    @property
    def artefact_bytes(self) -> int:
        """Bytes of weights and graph: what one would ship, the tokenizer apart."""
        return sum(
            file.bytes
            for name, file in self.files.items()
            if name.endswith(WEIGHT_SUFFIXES) and name != PROJECTIONS_FILE
        )

    @property
    def tokenizer_bytes(self) -> int:
        """Bytes of the tokenizer's files."""
        return sum(file.bytes for name, file in self.files.items() if name in TOKENIZER_FILES)


class Score(Frozen):
    """A metric on `n` examples, with its 95 % bootstrap interval."""

    name: str
    value: float
    n: int
    low: float
    high: float


class Batches(Frozen):
    """How examples were put together: activation scales of dynamic int8 see the whole batch."""

    size: int
    order: str
    max_length: int


class Evaluation(Frozen):
    """The scores of one artefact on one split, and the file with its prediction for each example.

    The predictions are a Parquet file with the columns `row`, `label`, `prediction` and `logits`.
    """

    schema_version: int = SCHEMA_VERSION
    key: str
    run: str
    task: str
    split: str
    data: str
    engine: str
    scores: tuple[Score, ...]
    batches: Batches
    truncated: int
    predictions: str
    environment: Environment

    @property
    def primary(self) -> Score | None:
        """The task's primary metric; None where the split has no labels, only predictions."""
        return self.scores[0] if self.scores else None


class Measurement(Frozen):
    """A measured quantity, its bounds, and its samples, one list a round.

    Of a latency: the median, the quartiles and the raw samples. Others say where they are made
    (`compress.measurement`) what their bounds are; they have no samples where they follow from the latency's.
    """

    name: str
    value: float
    unit: str
    higher_is_better: bool
    n: int
    low: float
    high: float
    samples: tuple[tuple[float, ...], ...]
    conditions: dict[str, JsonValue]


class Session(Frozen):
    """One measuring session of one model: rounds of all `models` alternated, so their times compare."""

    schema_version: int = SCHEMA_VERSION
    session: str
    key: str
    started: str
    run: str
    models: tuple[str, ...]
    engine: str
    environment: Environment
    measurements: tuple[Measurement, ...]


@dataclass(frozen=True)
class StoredRun:
    """A finished run and the directory it lies in."""

    run: Run
    path: Path

    @property
    def shipped_files(self) -> dict[str, int]:
        """File → bytes on disk, of what one would ship: weights, graph, tokenizer, configuration."""
        return {
            file.name: file.stat().st_size
            for file in sorted(self.path.iterdir())
            if file.name in (CONFIG_FILE, *TOKENIZER_FILES)
            or (file.name.endswith(WEIGHT_SUFFIXES) and file.name != PROJECTIONS_FILE)
        }

    @property
    def evaluations(self) -> list[Evaluation]:
        """Every evaluation of this run, in the order of their names."""
        return [read_record(file, Evaluation) for file in sorted(self.path.glob("evaluations/*.json"))]

    @property
    def sessions(self) -> list[Session]:
        """Every measuring session of this run, oldest first."""
        sessions = [read_record(file, Session) for file in self.path.glob("measurements/*.json")]
        return sorted(sessions, key=lambda session: (session.started, session.session))

    @property
    def history(self) -> list[dict[str, Any]]:
        """The training log: a dictionary a line, empty where nothing was trained."""
        file = self.path / HISTORY_FILE
        if not file.is_file():
            return []
        try:
            return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        except ValueError as error:
            raise DamagedError(
                f"{file} is damaged: {first_line(error)}.", "Redo the run: its command with --force."
            ) from None


def read_run(path: Path) -> StoredRun:
    """The finished run in a directory.

    Raises:
        CompressError: It holds none, or one that this version cannot read.
    """
    if not (path / RUN_FILE).is_file():
        raise CompressError(
            f"{path} holds no finished run.", "Run the command that makes it again: it resumes."
        )
    return StoredRun(read_record(path / RUN_FILE, Run), path)


def find_runs(root: Path) -> list[StoredRun]:
    """Every finished run in a directory or up to three levels below it, oldest first."""
    folders = [root, *(folder for depth in ("*", "*/*", "*/*/*") for folder in root.glob(depth))]
    stored = [
        read_run(folder) for folder in folders if (folder / RUN_FILE).is_file() and _is_in_place(folder)
    ]
    return sorted(stored, key=lambda found: (found.run.started, found.run.id))


def _is_in_place(folder: Path) -> bool:
    """Whether a run's directory is neither being redone nor about to be deleted."""
    return not folder.name.startswith(".") and not folder.name.endswith(REDO_SUFFIX)


def run_directory(store: Path, *, task: str, name: str, stage: str, key: str) -> Path:
    """Where a run of that key lies, or will."""
    return store / task / name / f"{stage}-{key}"


def content_key(content: Any) -> str:
    """The first 8 hex digits of the SHA-256 of a JSON value, its keys sorted."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def hash_file(path: Path) -> str:
    """The SHA-256 sum of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def list_files(directory: Path) -> dict[str, File]:
    """Size and sum of each file that lies directly in a directory, hidden ones left out."""
    return {
        path.name: File(bytes=path.stat().st_size, sha256=hash_file(path))
        for path in sorted(directory.iterdir())
        if path.is_file() and not path.name.startswith(".") and path.name != RUN_FILE
    }


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that it is there whole or not at all; text is written as UTF-8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_record(path: Path, record: BaseModel) -> None:
    """Write a record as indented JSON, atomically."""
    write_atomically(path, record.model_dump_json(indent=2) + "\n")


def read_record(path: Path, model: type[Record]) -> Record:
    """Read a record, of this schema version or an older one.

    Raises:
        CompressError: The file was written by a newer version, or is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content.get("schema_version", 0) if isinstance(content, Mapping) else 0
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise CompressError(
                f"{path} has schema version {version}; this version of compress reads up to {SCHEMA_VERSION}.",
                "Update compress: pip install --upgrade compress-encoders",
            )
        return model.model_validate(content)
    except ValidationError as error:
        mistakes = error.error_count()
        more = f", and {mistakes - 1} more such mistake(s)" if mistakes > 1 else ""
        where = ".".join(map(str, error.errors()[0]["loc"])) or "the whole"
        raise DamagedError(
            f"{path} is damaged, or no {model.__name__.lower()}: {where}: {error.errors()[0]['msg']}{more}.",
            "Delete its directory and run the command that made it again.",
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedError(
            f"{path} is damaged: {first_line(error)}.",
            "Delete its directory and run the command that made it again.",
        ) from None
