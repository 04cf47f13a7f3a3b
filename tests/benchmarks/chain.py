"""The whole way, from documents to a quantized student that knows tasks, by the commands that a user has.

    python -m tests.benchmarks.chain --scale gpu --corpus DIR --glue DIR --store runs/chain --output-dir reports/chain
    python -m tests.benchmarks.chain --scale rehearsal --store DIR --output-dir DIR      some ten minutes on two cores

A teacher is pretrained from nothing for so many minutes, and teaches a student its language; for each task the teacher
is fine-tuned, the student learns from it and is quantized, all three are scored and measured, and a report is written.
Finished runs are taken as they are and an interrupted one goes on, so the same command resumes. A task that fails is
told of at the end; the others go on. A teacher that is no better than a constant teaches nevertheless: the report
says so.

`gpu`: bert-base's shape and vocabulary, one cycle of the `small` recipe with batches of 256 at a lower rate than that of
64, TinyBERT's two stages into albert-tiny, SST-2 and MRPC. Its `published` schedule is not taken: its warm-up alone is
meant to last longer than such a budget does. `rehearsal`: bert-mini has 4 heads and albert-tiny 12, and TinyBERT compares
attention head by head, which `compress` refuses for them; MiniLM's relations need only a number that divides both
widths (8 of 256 and 312), so it is the method there. Its general stage is shortened in a copy of the student's file.

Written to the output directory: `report/`, `table.md`, and in `weights/TASK` the quantized student where it is small;
`students/` holds the shortened file.
"""

import argparse
import logging
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import compress
from compress.runs import StoredRun
from tests.benchmarks.links import SCALES, Chain, Made, Scale, run_chain, run_further
from tests.benchmarks.reports import recorded, write_report
from tests.benchmarks.tables import render_rows

MOST_BYTES = 8_000_000
"""Of weights that are small enough to go along with a report."""
LEARNING = (
    "stage",
    "model",
    "parameters",
    "seconds",
    "steps",
    "tokens",
    "tokens/s",
    "hold-out loss",
    "by frequency",
)
SCORES = ("task", "model", "stage", "metric", "score", "n", "MB", "ms")


def keep_weights(chain: Chain, made: Made, folder: Path) -> list[str]:
    """Copy the quantized students that are small; what each weighs, in words."""
    lines = []
    for task, runs in made.tasks.items():
        for stored in runs:
            if stored.run.stage.kind != "quantize":
                continue
            size = stored.run.artefact_bytes
            said = f"{stored.run.name} on {task}, quantized: {size / 1e6:.2f} MB of weights"
            if size < MOST_BYTES:
                target = folder / stored.run.place
                shutil.rmtree(target, ignore_errors=True)  # an older copy
                source = next(parent.run_id for parent in stored.run.parents if parent.role == "model")
                compress.quantize(str(chain.store / str(source)), save_to=target, **chain.place)
                said = f"{said}, copied to {target}"
            lines.append(said)
    return lines


def render_tables(made: Made) -> str:
    """What was learned from documents, then the scores."""
    language = render_rows(LEARNING, list(map(_learning_cells, made.language)))
    scores = render_rows(SCORES, [cells for task in made.tasks for cells in _score_cells(made, task)])
    return f"{language}\n\n`seconds` have all in them, the cutting of the corpus too.\n\n{scores}"


def _learning_cells(stored: StoredRun) -> list[str]:
    run, facts = stored.run, stored.run.facts
    tokens = facts.get("tokens_read", 0)
    loss, entropy = facts.get("holdout_masked_lm", facts["holdout_loss"]), facts.get("unigram_entropy")
    return [
        run.stage.kind,
        run.name,
        f"{run.parameters:,}",
        f"{run.seconds:,.0f}",
        f"{facts['steps']:,}",
        f"{tokens:,}",
        f"{tokens / run.seconds:,.0f}",
        f"{loss:.3f}",
        "" if entropy is None else f"{entropy:.3f}",
    ]


def _score_cells(made: Made, task: str) -> Iterator[list[str]]:
    for stored in made.tasks[task]:
        times = [
            found.value
            for session in stored.sessions[-1:]
            for found in session.measurements
            if found.name == "latency"
        ]
        for evaluation in stored.evaluations:
            for score in evaluation.scores:
                yield [
                    task,
                    stored.run.name,
                    stored.run.stage.kind,
                    f"{score.name} ({evaluation.split})",
                    f"{score.value:.4f} [{score.low:.4f}, {score.high:.4f}]",
                    f"{score.n:,}",
                    f"{stored.run.artefact_bytes / 1e6:.2f}",
                    f"{times[0]:.2f}" if times else "",
                ]


def finish(chain: Chain, made: Made) -> str:
    """Write report, weights and tables; what is to be told."""
    output_dir = chain.output_dir
    output_dir.mkdir(parents=True, exist_ok=True)
    weights: list[str] = []
    if made.runs():
        title = f"The whole way: a teacher from nothing, {made.runs()[-1].run.name} from it"
        write_report(made.runs(), output_dir / "report", title=title)
        weights = keep_weights(chain, made, output_dir / "weights")
    text = "\n\n".join([render_tables(made), *weights, *made.problems])
    (output_dir / "table.md").write_text(text + "\n", encoding="utf-8")
    return text


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; what it leaves out is as usual at its scale."""
    parser = argparse.ArgumentParser(description="Pretrain, distil, quantize, score, measure, report.")
    parser.add_argument("--scale", choices=tuple(SCALES), required=True)
    parser.add_argument("--corpus", default="sample")
    parser.add_argument("--glue", type=Path, help="a local clone of GLUE")
    parser.add_argument("--store", type=Path, required=True, help="of the runs; the same one resumes")
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--minutes", type=float, help="of each pretraining")
    parser.add_argument("--teacher", help="a teacher's name or file")
    parser.add_argument("--student", help="a student's file: it is taken as it is")
    parser.add_argument("--method", help="that the student learns by")
    parser.add_argument("--task", action="append", help="may be repeated")
    parser.add_argument(
        "--also", nargs="*", default=[], help="teachers that are pretrained and fine-tuned afterwards"
    )
    parser.add_argument(
        "--total-minutes", type=float, help="no further teacher is begun that would end later"
    )
    parser.add_argument("--rounds", type=int, default=5, help="of measuring; 0 measures nothing")
    return parser.parse_args(arguments)


def scale_of(given: argparse.Namespace) -> Scale:
    """A scale with the user's changes."""
    said = {
        "teacher": given.teacher,
        "student": given.student,
        "method": given.method,
        "minutes": given.minutes,
    }
    said |= {"tasks": tuple(given.task) if given.task else None, "shorter": "" if given.student else None}
    return replace(SCALES[given.scale], **{name: value for name, value in said.items() if value is not None})


def main(arguments: Sequence[str] | None = None) -> None:
    """Make all of it, and print the tables."""
    given = parse(arguments)
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("compress").setLevel(logging.INFO)
    began = time.monotonic()
    chain = Chain(scale_of(given), given.corpus, given.glue, given.store, given.output_dir, given.rounds)
    made = run_chain(chain, Made())
    text = finish(chain, made)
    for name in given.also:
        ends = (time.monotonic() - began) / 60 + chain.scale.minutes
        if given.total_minutes is not None and ends > given.total_minutes:
            made.problems.append(f"{name}: not begun, {given.total_minutes:g} minutes would not be enough")
        else:
            run_further(chain, name, made)
        text = finish(chain, made)
    print(text)  # noqa: T201
    if made.problems:
        sys.exit(1)


if __name__ == "__main__":
    with recorded("tests.benchmarks.chain"):
        main()
