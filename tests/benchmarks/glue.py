"""Every pass on every complete GLUE task: what a student keeps of its teacher, step by step down to the smallest file.

    python -m tests.benchmarks.glue --corpus corpus --glue glue --store runs --output-dir reports/glue-minilm

Per task, by the commands of a user: `minilm-l6` is fine-tuned, for RTE on what there is of MNLI first; `albert-tiny`
learns from the labels alone, from the teacher's answers alone, and in TinyBERT's two stages after a general one that all
tasks share; the last of these is pruned and taught again, rounded to 8 bits, and in a row trimmed to 8,000 pieces and
rounded to 4 bits, each taught again. The small tasks have several seeds, SST-2 has one. A student's seed is that of all
its passes; the teacher and the general stage have one seed. Finished runs are taken as they are, so that the same
command resumes: two processes can make the runs of different `--tasks` in one store, and then one writes the report.
"""

import argparse
import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import compress
from compress.planning import Options, Teaching
from compress.recipes.pruning import Removal
from compress.recipes.quantization import PackedInt4
from compress.recovery import Recovery
from compress.runs import StoredRun
from compress.workloads import Shape
from tests.benchmarks.reports import recorded, write_report

TEACHER, STUDENT = "minilm-l6", "albert-tiny"
TASKS = ("cola", "mrpc", "stsb", "rte", "wnli", "sst2")
SEEDS = (42, 43, 44)
LARGE = frozenset({"sst2"})
"""Tasks for which one seed has to do."""
UNLEARNT = frozenset({"wnli"})
"""Tasks on which the teacher is no better than a constant, whose validation split contradicts the train split."""
FIRST = {"rte": "mnli"}
"""A task that the teacher learns before another, on which it stays at chance without."""
LENGTHS = {"rte": 256}
"""Tokens that texts of a task keep; one in eight of RTE's pairs is longer than 128. TinyBERT's recipe knows it by itself."""
RECOVERY_STEPS = 500

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Curriculum:
    """Who learns, from what, and where it is kept.

    Attributes:
        teacher: A model's name or file.
        student: A student's name or file.
        corpus: Documents of the general stage.
        glue: A local clone of GLUE.
        store: The directory of runs.
        recovery: Changes to the schedules of what is taught again.
        pieces: That a trimmed vocabulary keeps.
    """

    teacher: str
    student: str
    corpus: str
    glue: Path | None
    store: Path
    recovery: Mapping[str, Any]
    pieces: int

    @property
    def place(self) -> dict[str, Any]:
        """Where everything is kept and found."""
        return {"runs": self.store, "glue": self.glue}

    def teach_teacher(self, task: str) -> StoredRun:
        """The teacher of a task; what is finished is taken as it is."""
        start = self.teacher
        if task in FIRST:
            start = str(compress.finetune(start, task=FIRST[task], **self.place).path)
        return compress.finetune(start, task=task, options=Options(training=_cut(task)), **self.place)

    def teach_students(self, teacher: StoredRun, task: str, seed: int) -> Iterator[StoredRun]:
        """Every student of a teacher, pass after pass; finished ones as they are."""
        how = {"task": task, "seed": seed, **self.place}
        weak = task in UNLEARNT
        # By its name a teacher is found as a user would name it; one that learned another task first has no name.
        taught = str(teacher.path) if task in FIRST else self.teacher
        cut = _cut(task)
        yield compress.finetune(self.student, tokenizer=self.teacher, options=Options(training=cut), **how)
        for method, corpus, training in (("logits", None, cut), ("tinybert", self.corpus, {})):
            teaching = Teaching(method=method, corpus=corpus, allow_weak_teacher=weak)
            options = Options(training=training, distillation=teaching)
            learned = compress.distill(taught, self.student, options=options, **how)
            yield learned
        recovery = Recovery(allow_weak_teacher=weak, options=Options(training=self.recovery))
        narrow, trimmed = Removal(ffn=0.5), Removal(vocabulary=self.pieces)
        yield compress.prune(str(learned.path), remove=narrow, recovery=recovery, **how)
        yield compress.quantize(str(learned.path), **how)
        small = compress.prune(str(learned.path), remove=trimmed, recovery=recovery, **how)
        yield small
        yield compress.quantize(str(small.path), method=PackedInt4(), recovery=recovery, **how)

    def measure(self, runs: Sequence[StoredRun], *, sessions: int, rounds: int, length: int) -> None:
        """The teacher and the students of its first seed against each other, on one text and on the task's own."""
        first = runs[1].run.seed
        paths = [str(stored.path) for stored in runs if stored.run.seed == first or stored is runs[0]]
        shapes = [Shape(1, length), Shape(1, "task")]
        compress.measure(paths, shapes=shapes, rounds=rounds, sessions=sessions, **self.place)


def _cut(task: str) -> dict[str, Any]:
    """What a task's texts want changed of a schedule that does not know the task."""
    return {"max_length": LENGTHS[task]} if task in LENGTHS else {}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Teach GLUE tasks to students, and make these smaller.")
    parser.add_argument("--teacher", default=TEACHER)
    parser.add_argument("--student", default=STUDENT)
    parser.add_argument("--corpus", default="sample", help="of the general stage")
    parser.add_argument("--glue", type=Path, help="a local clone of GLUE")
    parser.add_argument("--store", type=Path, default=Path("runs"), help="of the runs; the same one resumes")
    parser.add_argument("--output-dir", type=Path, help="of the report; without one the runs alone are made")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), help="of large tasks the first")
    parser.add_argument("--pieces", type=int, default=8000, help="of the trimmed vocabulary")
    parser.add_argument("--recovery", type=json.loads, default={"max_steps": RECOVERY_STEPS}, help="as JSON")
    parser.add_argument("--sessions", type=int, default=3, help="of measuring; 0 measures nothing")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--length", type=int, default=128)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make all of it, the first seed of every task before the others, and write the report."""
    given = vars(parse(arguments))
    output, tasks, seeds = (given.pop(name) for name in ("output_dir", "tasks", "seeds"))
    timing = {name: given.pop(name) for name in ("sessions", "rounds", "length")}
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logger.setLevel(logging.INFO)
    curriculum = Curriculum(**given)
    made = {task: [curriculum.teach_teacher(task)] for task in tasks}
    for seed in seeds:
        for task in tasks:
            if seed == seeds[0] or task not in LARGE:
                for stored in curriculum.teach_students(made[task][0], task, seed):
                    logger.info("%s, seed %d: %s %s", task, seed, stored.run.name, stored.run.stage.kind)
                    made[task].append(stored)
    if output is None:
        return
    for runs in made.values():
        if timing["sessions"]:
            curriculum.measure(runs, **timing)
    chosen = [stored for runs in made.values() for stored in runs]
    title = f"{chosen[1].run.name} from {chosen[0].run.name}: every pass on GLUE"
    write_report(chosen, output, title=title)


if __name__ == "__main__":
    with recorded("tests.benchmarks.glue"):
        main()
