"""The commands about finished models: score, measure, answer, report. Slow imports wait until a command runs."""

from pathlib import Path
from typing import Annotated, Any

import typer

from compress.cli.options import COMMON, DATA, ModelArgument, takes
from compress.cli.output import Output, telling_failures

app = typer.Typer()


@app.command(epilog="Example: compress evaluate runs/sample/albert-tiny")
@takes(data=DATA, common=COMMON)
def evaluate(
    model: ModelArgument,
    data: dict[str, Any],
    common: dict[str, Any],
    task: Annotated[
        str | None, typer.Option("--task", help="Default: the run's own. A model of mnli also answers `ax`.")
    ] = None,
    submission: Annotated[
        Path | None,
        typer.Option(
            "--submission",
            metavar="DIR",
            help="Answer GLUE's test splits instead, and write its server's files (CoLA.tsv …) there.",
        ),
    ] = None,
) -> None:
    """Score a finished MODEL on a task's validation splits."""
    output = Output(as_json=common["as_json"], quiet=common["quiet"])
    with telling_failures():
        from compress import api
        from compress.cli.tables import evaluations_text

        found = api.evaluate(model, task=task, submission=submission, runs=common["runs"], glue=data["glue"])
        value = [evaluation.model_dump(mode="json") for evaluation in found]
        output.give(value, evaluations_text(found, submission))


@app.command(epilog="Example: compress measure runs/sample --threads 1")
@takes(data=DATA, common=COMMON)
def measure(
    models: Annotated[
        list[str], typer.Argument(help="Runs, or directories of runs, to compare in one session.")
    ],
    data: dict[str, Any],
    common: dict[str, Any],
    shape: Annotated[
        list[str] | None,
        typer.Option(
            "--shape",
            metavar="BATCHxLENGTH",
            help="To time; default 1x128 and 32x128. 1xtask: the task's own validation texts.",
        ),
    ] = None,
    threads: Annotated[
        list[int] | None,
        typer.Option("--threads", min=1, help="Of each engine; each number has a session. Default 1."),
    ] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Turns of each model in a session.")] = 10,
    sessions: Annotated[int, typer.Option("--sessions", min=1, help="Repetitions with fresh processes.")] = 1,
    force: Annotated[bool, typer.Option("--force", help="Measure again although it has been done.")] = False,
) -> None:
    """Measure MODELS against each other in alternating rounds: latency, throughput, operations, memory."""
    output = Output(as_json=common["as_json"], quiet=common["quiet"])
    with telling_failures():
        from compress import api
        from compress.cli.tables import measurements_table
        from compress.workloads import DEFAULT_SHAPES, read_shape

        shapes = [read_shape(text) for text in shape] if shape else DEFAULT_SHAPES
        records = api.measure(
            models,
            shapes=shapes,
            threads=threads or 1,
            rounds=rounds,
            sessions=sessions,
            runs=common["runs"],
            glue=data["glue"],
            force=force,
        )
        output.give([record.model_dump(mode="json") for record in records], measurements_table(records))


@app.command(epilog="Example: compress predict runs/sample/albert-tiny 'A film that I shall not forget.'")
@takes(common=COMMON)
def predict(
    model: ModelArgument,
    texts: Annotated[list[str], typer.Argument(help="Texts; the two of a pair are parted by a tab.")],
    common: dict[str, Any],
) -> None:
    """Answer TEXTS with a finished MODEL, whatever its backend."""
    output = Output(as_json=common["as_json"], quiet=common["quiet"])
    with telling_failures():
        from compress import api

        answers = api.predict(model, texts, runs=common["runs"])
        value = [
            {"text": text, "label": answer.label, "score": answer.score}
            for text, answer in zip(texts, answers, strict=True)
        ]
        lines = [f"{answer['label'] or 'score'}\t{answer['score']:.4f}\t{answer['text']}" for answer in value]
        output.give(value, "\n".join(lines))


@app.command(epilog="Example: compress report runs/sample --output-dir reports/sample")
@takes(common=COMMON)
def report(
    common: dict[str, Any],
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", help="Where the page, its text and its data go, or are.")
    ] = None,
    models: Annotated[
        list[str] | None, typer.Argument(metavar="RUNS...", help="Runs, or directories of runs.")
    ] = None,
    title: Annotated[str | None, typer.Option("--title", help="Of the page.")] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline",
            help="What others are compared to: a run's id or key, or a model as the page calls it.",
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Exit 1 where pages do not follow from their data, or data from RUNS."),
    ] = False,
    again: Annotated[
        bool,
        typer.Option("--again", help="Render a report, or a directory of them, anew from the data there."),
    ] = False,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--compare",
            metavar="A B",
            help="Two runs against each other, or, with --output-dir, two models of that report; writes nothing.",
        ),
    ] = None,
) -> None:
    """Compare RUNS on one page: size, speed, score, and what was done to get there."""
    output = Output(as_json=common["as_json"], quiet=common["quiet"])
    with telling_failures():
        from compress.cli import reports

        reports.require_heeded(
            {
                "--compare": compare,
                "--again": again,
                "--check": check,
                "RUNS": models,
                "--title": title,
                "--baseline": baseline,
            }
        )
        if compare:
            reports.compare(output_dir, compare, store=common["runs"], output=output)
        elif output_dir is None:
            reports.refuse_without_directory(again=again, check=check)
        elif again:
            reports.again(output_dir, output=output)
        elif check:
            reports.check(output_dir, models or [], store=common["runs"], output=output)
        else:
            reports.write(
                output_dir, models or [], store=common["runs"], title=title, baseline=baseline, output=output
            )
