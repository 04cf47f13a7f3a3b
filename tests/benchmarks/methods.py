"""Every way to make a model smaller, on each kind of sharing: bytes, speed and score, or why it is refused.

    python -m tests.benchmarks.methods --store runs/methods --output-dir reports     three hours, two cores

Three models learn the sample task, each by the commands of a user: minilm-l6 (BERT), `albert-tiny` (one layer, used
several times) and `albert-tiny-attention` (attention shared, a feed-forward network for each layer), the students from
the first. Each is pruned, exported and quantized in every way there is. A ratio of latencies is the report's: the median
over sessions, each with fresh processes, of the median over rounds of two models' ratios in a round; points are differences to the model's own score, paired by
examples. Finished runs are taken as they are, so that the same command resumes.
"""

import argparse
import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import compress
from compress.encoder import load_config
from compress.errors import CompressError
from compress.planning import Options, Teaching
from compress.recipes.pruning import Removal
from compress.recipes.quantization import METHODS, PackedInt4
from compress.recipes.stages import ExportFormat
from compress.recovery import Recovery
from compress.reporting.wording import FEWEST_SESSIONS
from compress.runs import StoredRun
from compress.workloads import Shape
from tests.benchmarks.outcomes import describe_points, describe_times, points_gained, times_as_fast
from tests.benchmarks.reports import recorded, write_report
from tests.benchmarks.tables import render_rows

TEACHER = "minilm-l6"
STUDENTS = ("albert-tiny", "albert-tiny-attention")
RECOVERY = {"max_steps": 500}
"""A recovery's default schedule is the model's own: as long as learning the task was, of a model that knows it already."""
BATCHES = (1, 32)
HEAD = (
    "model",
    "way",
    "MB",
    "score",
    "points (95 %)",
    *(f"times as fast, batch {batch}" for batch in BATCHES),
)

logger = logging.getLogger(__name__)

Way = Callable[[str], StoredRun]
"""What makes a smaller model of the run at a path."""


@dataclass(frozen=True)
class Comparison:
    """What is compared, and where.

    Attributes:
        teacher: A model's name or file.
        students: Names or files.
        task: That all learn.
        glue: A local clone of GLUE.
        store: The directory of runs.
        training: Changes to the schedules of the three models.
        recovery: Changes to the schedules of what is pruned or rounded and taught again.
        sessions: Of measuring.
        rounds: In each.
        length: In tokens, of what is timed.
        only: Words of ways' commands, where not all are tried.
    """

    teacher: str
    students: Sequence[str]
    task: str
    glue: Path | None
    store: Path
    training: Mapping[str, Any]
    recovery: Mapping[str, Any]
    sessions: int
    rounds: int
    length: int
    only: Sequence[str] = ()

    def describe(self) -> str:
        """A heading, and how the numbers came about."""
        return (
            f"# {'Some ways' if self.only else 'Every way'} to make a model smaller, on {self.task}\n\n"
            f"MB: weights and graph. Score: on validation, which nothing was selected on; points are differences to the "
            f"model as it is, paired by examples. Times as fast as that model in fp32 under PyTorch, one thread, texts of "
            f"{self.length} tokens: medians of {self.sessions} sessions of {self.rounds} alternating rounds, and their "
            f"range{self._warn()}. What was taught again had {self.recovery.get('max_steps', 'its own number of')} steps. One seed."
        )

    def _warn(self) -> str:
        if self.sessions >= FEWEST_SESSIONS:
            return ""
        shown = " (`export --format transformers`, where it copies no layers, is the model as it is once more, and shows it)"
        return f", which of so few sessions hardly tells the noise{'' if self.only else shown}"

    def teach(self) -> list[StoredRun]:
        """The teacher on the task, and its students."""
        options = Options(
            training=self.training, distillation=Teaching(general=False, copies=0, allow_weak_teacher=True)
        )
        place = {"runs": self.store, "glue": self.glue}
        teacher = compress.finetune(self.teacher, task=self.task, options=options, **place)
        return [
            teacher,
            *(
                compress.distill(str(teacher.path), student, task=self.task, options=options, **place)
                for student in self.students
            ),
        ]

    def ways(self) -> dict[str, Way]:
        """Every way there is, by the words of its command."""
        recovery = Recovery(allow_weak_teacher=True, options=Options(training=self.recovery))
        place = {"runs": self.store, "glue": self.glue}
        removals = {
            "--layers 1": Removal(layers=1),
            "--embedding 0.25": Removal(embedding=0.25),
            "--vocabulary 8000": Removal(vocabulary=8000),
            "--sparsity 0.5": Removal(sparsity=0.5),
        }
        retaught = {
            "--heads 0.5": Removal(heads=0.5),
            "--ffn 0.5": Removal(ffn=0.5),
            "--hidden 0.25": Removal(hidden=0.25),
            "--heads 0.5 --ffn 0.5": Removal(heads=0.5, ffn=0.5),
        }
        ways: dict[str, Way] = {
            f"prune {words}": partial(compress.prune, remove=what, **place)
            for words, what in (removals | retaught).items()
        }
        for words, what in retaught.items():
            ways[f"prune {words} --recover"] = partial(
                compress.prune, remove=what, recovery=recovery, **place
            )
        ways["prune half of everything"] = partial(halve, **place)
        ways["prune half of everything --recover"] = partial(halve, recovery=recovery, **place)
        for name in get_args(ExportFormat):
            ways[f"export --format {name}"] = partial(compress.export, format=name, **place)
        for name in METHODS:
            ways[f"quantize --method {name}"] = partial(compress.quantize, method=name, **place)
        trained = partial(compress.quantize, method=PackedInt4(), recovery=recovery, **place)
        ways["quantize --method packed-int4 --recover"] = trained
        wanted = self.only or [""]
        return {words: way for words, way in ways.items() if any(part in words for part in wanted)}

    def measure(self, runs: Sequence[StoredRun]) -> None:
        """The models of one kind against each other."""
        shapes = [Shape(batch, self.length) for batch in BATCHES]
        paths = [str(stored.path) for stored in runs]
        compress.measure(paths, shapes=shapes, rounds=self.rounds, sessions=self.sessions, runs=self.store)


def halve(path: str, **how: Any) -> StoredRun:
    """Half of a model's layers, width, heads and neurons."""
    layers = load_config(Path(path)).num_hidden_layers // 2
    return compress.prune(path, remove=Removal(layers=layers, hidden=0.5, ffn=0.5), **how)


@dataclass(frozen=True)
class Family:
    """A model, what was made of it, and what was refused: way → run, way → reason."""

    whole: StoredRun
    made: dict[str, StoredRun]
    refused: dict[str, str]

    @property
    def runs(self) -> list[StoredRun]:
        """The model and all that was made of it, each once."""
        return list({stored.run.id: stored for stored in (self.whole, *self.made.values())}.values())


def try_ways(whole: StoredRun, ways: Mapping[str, Way]) -> Family:
    """Each way on one model."""
    family = Family(whole, {}, {})
    for words, way in ways.items():
        logger.info("%s: %s", whole.run.name, words)
        try:
            family.made[words] = way(str(whole.path))
        except CompressError as error:
            family.refused[words] = str(error).partition("\n")[0]
    return family


def render(families: Sequence[Family]) -> str:
    """All of it in one table, and the reasons of what was refused below it."""
    rows = [cells for family in families for cells in _rows(family)]
    reasons = [
        f"- {family.whole.run.name}, `{words}`: {reason}"
        for family in families
        for words, reason in family.refused.items()
    ]
    return "\n".join([render_rows(HEAD, rows), "", "Refused:", "", *(reasons or ["nothing"])])


def _rows(family: Family) -> Iterator[list[str]]:
    whole = family.whole
    times = [times_as_fast(family.runs, whole, batch=batch) for batch in BATCHES]
    for words, stored in {"as it is": whole, **family.made}.items():
        yield [
            whole.run.name,
            words,
            f"{stored.run.artefact_bytes / 1e6:.2f}",
            f"{stored.evaluations[0].scores[0].value:.4f}",
            "" if stored is whole else describe_points(points_gained(stored, whole)),
            *(describe_times(found[stored.run.id]) for found in times),
        ]
    for words in family.refused:
        yield [whole.run.name, words, "", "", "", *["refused"] * len(BATCHES)]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Make three models smaller in every way there is.")
    parser.add_argument("--teacher", default=TEACHER)
    parser.add_argument("--students", nargs="*", default=list(STUDENTS))
    parser.add_argument("--task", default="sample")
    parser.add_argument("--glue", type=Path, help="a local clone of GLUE")
    parser.add_argument("--store", type=Path, default=Path("runs"), help="of the runs; the same one resumes")
    parser.add_argument(
        "--output-dir", type=Path, required=True, help="of a report for each model, and of the table"
    )
    parser.add_argument("--name", default="methods", help="of the table, and the beginning of the reports'")
    parser.add_argument(
        "--training", type=json.loads, default={}, help="changes to the models' schedules, as JSON"
    )
    parser.add_argument("--recovery", type=json.loads, default=dict(RECOVERY), help="to those of --recover")
    parser.add_argument("--sessions", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--only", nargs="+", default=(), help="words of the ways to try, such as packed-int4")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make all of it, write the report, and print the table."""
    given = vars(parse(arguments))
    output, called = (given.pop(name) for name in ("output_dir", "name"))
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logger.setLevel(logging.INFO)
    comparison = Comparison(**given)
    families = [try_ways(whole, comparison.ways()) for whole in comparison.teach()]
    for family in families:
        comparison.measure(family.runs)
        whole = family.whole.run
        ways = "every way" if not comparison.only else f"some ways, on {comparison.task},"
        title = f"{whole.name}: {ways} to make it smaller"
        write_report(family.runs, output / f"{called}-{whole.name}", title=title, baseline=whole.id)
    table = render(families)
    (output / f"{called}.md").write_text(f"{comparison.describe()}\n\n{table}\n", encoding="utf-8")
    print(table)  # noqa: T201


if __name__ == "__main__":
    with recorded("tests.benchmarks.methods"):
        main()
