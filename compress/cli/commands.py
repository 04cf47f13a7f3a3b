"""The commands: parse, call the API, hand the result to the sink. Slow imports wait until a command runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from compress.cli import catalogue, doctor, store
from compress.cli.options import (
    COMMON,
    DATA,
    MAKING,
    PRUNING,
    QUANTIZATION,
    RECOVERY,
    ROUNDS,
    SCHOOLING,
    SELECTION,
    TARGET,
    TEACHING,
    TRAINING,
    takes,
)
from compress.cli.output import Output, hush_progress_bars, telling_failures

if TYPE_CHECKING:
    from compress.planning import Options
    from compress.runs import StoredRun
    from compress.steps import Step, Workplace

app = typer.Typer(
    name="compress",
    help="Turn a big text encoder and a task into the smallest, fastest encoder that keeps the score, and prove it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ModelArgument = Annotated[
    str,
    typer.Argument(
        help="A run, runs/TASK/MODEL, a directory in Hugging Face format, a teacher, or a Hub id."
    ),
]
TaskOption = Annotated[str, typer.Option("--task", help="A GLUE task, `sample`, or a task file (*.toml).")]


app.add_typer(catalogue.app)


def main() -> None:
    """The console script."""
    app()


@app.command(epilog="Example: compress finetune minilm-l6 --task sample")
@takes(training=TRAINING, selection=SELECTION, making=MAKING, data=DATA, common=COMMON)
def finetune(
    model: ModelArgument,
    task: TaskOption,
    training: dict[str, Any],
    selection: dict[str, Any],
    making: dict[str, Any],
    data: dict[str, Any],
    common: dict[str, Any],
    tokenizer: Annotated[
        str | None,
        typer.Option("--tokenizer", help="For random weights: the model whose tokenizer is taken."),
    ] = None,
    random: Annotated[
        bool, typer.Option("--random", help="A teacher's shape with random weights; students have no others.")
    ] = False,
) -> None:
    """Fine-tune MODEL on a task; a student's name trains it from random weights."""
    output = Output(as_json=common["as_json"], quiet=common["quiet"])
    with telling_failures():
        from compress.planning import plan_finetuning

        options = _options(training, selection)
        place = _workplace(common, data)
        step = plan_finetuning(
            model,
            task,
            place,
            seed=making["seed"],
            options=options,
            tokenizer=tokenizer,
            random=random,
        )
        _carry_out(step, making, output)


@app.command(epilog="Example: compress pretrain bert-mini --corpus sample --max-minutes 10")
@takes(schooling=SCHOOLING, training=TRAINING, making=MAKING, common=COMMON)
def pretrain(
    corpus: Annotated[
        str, typer.Option("--corpus", help="Documents: a directory or a file, a Hub dataset, or `sample`.")
    ],
    schooling: dict[str, Any],
    training: dict[str, Any],
    making: dict[str, Any],
    common: dict[str, Any],
    teacher: Annotated[
        str | None, typer.Argument(help="A teacher's name or file: made from nothing.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--from", help="Whose pretraining goes on: a run, a directory, a teacher, or a Hub id."),
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option("--objective", help="With --from: mlm, nsp, sop or rtd; default mlm."),
    ] = None,
) -> None:
    """Pretrain TEACHER from nothing on documents, tokenizer and all; or go on with a model's weights (--from).

    Objectives: mlm (hidden words), nsp (they and next sentences), sop (they and the order of sentences),
    rtd (replaced tokens). A teacher's file says which is its own.
    """
    output = Output(as_json=common["as_json"], quiet=common["quiet"])
    with telling_failures():
        from compress.planning import Options, Schooling
        from compress.schooling import plan_pretraining
        from compress.steps import Workplace

        step = plan_pretraining(
            teacher,
            corpus,
            Workplace(store=common["runs"]),
            source=model,
            objective=objective,
            seed=making["seed"],
            options=Options(training=training, pretraining=Schooling(**schooling)),
        )
        _carry_out(step, making, output)


@app.command(epilog="Example: compress distill --teacher minilm-l6 --student albert-tiny --task sample")
@takes(teaching=TEACHING, training=TRAINING, selection=SELECTION, making=MAKING, data=DATA, common=COMMON)
def distill(
    teacher: Annotated[
        list[str],
        typer.Option(
            "--teacher", help="A teacher, a run, a directory, or a Hub id; several answer together."
        ),
    ],
    student: Annotated[str, typer.Option("--student", help="A student's name or file.")],
    teaching: dict[str, Any],
    training: dict[str, Any],
    selection: dict[str, Any],
    making: dict[str, Any],
    data: dict[str, Any],
    common: dict[str, Any],
    task: Annotated[
        str | None,
        typer.Option(
            "--task", help="A GLUE task, `sample`, or a task file; without one: a general-purpose student."
        ),
    ] = None,
) -> None:
    """Distil a teacher into a student, by stages; a teacher that does not know the task is fine-tuned first.

    Options of training change the last stage; those of the others are in the student's file.
    """
    output = Output(as_json=common["as_json"], quiet=common["quiet"])
    with telling_failures():
        from compress.chains import plan_distillation
        from compress.planning import Teaching

        options = _options(training, selection, distillation=Teaching(**teaching))
        place = _workplace(common, data)
        step = plan_distillation(teacher, student, task, place, seed=making["seed"], options=options)
        _carry_out(step, making, output)


@app.command(epilog="Example: compress prune runs/sample/albert-tiny --ffn 0.5 --recover")
@takes(
    removal=PRUNING,
    target=TARGET,
    rounds=ROUNDS,
    recovery=RECOVERY,
    training=TRAINING,
    selection=SELECTION,
    making=MAKING,
    data=DATA,
    common=COMMON,
)
def prune(
    model: ModelArgument,
    removal: dict[str, Any],
    target: dict[str, Any],
    rounds: dict[str, Any],
    recovery: dict[str, Any],
    training: dict[str, Any],
    selection: dict[str, Any],
    making: dict[str, Any],
    data: dict[str, Any],
    common: dict[str, Any],
    importance: Annotated[
        str, typer.Option("--importance", help="Who judges units: magnitude, taylor or random.")
    ] = "magnitude",
    corpus: Annotated[
        str | None,
        typer.Option("--corpus", help="Whose pieces count for --vocabulary; default the task's train split."),
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", help="Scored afterwards; default the run's own.")
    ] = None,
) -> None:
    """Take parts of a finished MODEL away: layers, heads, neurons, widths, single weights."""
    output = Output(as_json=common["as_json"], quiet=common["quiet"])
    with telling_failures():
        from compress.cli.pruning import read_stage, read_target
        from compress.cli.recovery import read_recovery
        from compress.slimming import plan_pruning

        step = plan_pruning(
            model,
            _workplace(common, data),
            seed=making["seed"],
            stage=read_stage(removal, importance),
            task=task,
            target=read_target(**target),
            recovery=read_recovery(**rounds, **recovery, options=_options(training, selection)),
            corpus=corpus,
        )
        _carry_out(step, making, output)


@app.command(epilog="Example: compress quantize runs/sample/albert-tiny --method dynamic-int8")
@takes(
    quantization=QUANTIZATION,
    recovery=RECOVERY,
    training=TRAINING,
    selection=SELECTION,
    making=MAKING,
    data=DATA,
    common=COMMON,
)
def quantize(
    model: ModelArgument,
    quantization: dict[str, Any],
    recovery: dict[str, Any],
    training: dict[str, Any],
    selection: dict[str, Any],
    making: dict[str, Any],
    data: dict[str, Any],
    common: dict[str, Any],
    method: Annotated[str, typer.Option("--method", help="One of `compress list methods`.")] = "dynamic-int8",
    task: Annotated[
        str | None,
        typer.Option("--task", help="Calibrated on, and scored afterwards; default the run's own."),
    ] = None,
) -> None:
    """Rewrite a finished MODEL in fewer bits."""
    output = Output(as_json=common["as_json"], quiet=common["quiet"])
    with telling_failures():
        from compress.cli.recovery import read_recovery
        from compress.quantizing import plan_quantization
        from compress.recipes.quantization import resolve_method

        step = plan_quantization(
            model,
            _workplace(common, data),
            seed=making["seed"],
            method=resolve_method(method, quantization),
            task=task,
            recovery=read_recovery(**recovery, options=_options(training, selection)),
        )
        _carry_out(step, making, output)


@app.command(epilog="Example: compress export runs/sample/albert-tiny-ffn --save-to plain")
@takes(making=MAKING, data=DATA, common=COMMON)
def export(
    model: ModelArgument,
    making: dict[str, Any],
    data: dict[str, Any],
    common: dict[str, Any],
    format_: Annotated[
        str, typer.Option("--format", help="transformers, or a graph in fp32: onnx, openvino.")
    ] = "transformers",
    task: Annotated[
        str | None, typer.Option("--task", help="Scored afterwards; default the run's own.")
    ] = None,
) -> None:
    """Write a finished MODEL for those who do not have compress, or for another runtime.

    For transformers, partly shared layers get a copy each; a graph holds them once.
    """
    output = Output(as_json=common["as_json"], quiet=common["quiet"])
    with telling_failures():
        from compress.errors import InvalidInputError
        from compress.planning import plan_export
        from compress.recipes.stages import Export, ExportFormat

        if format_ not in (formats := get_args(ExportFormat)):
            raise InvalidInputError(
                f"There is no format {format_!r}.", f"The formats are: {', '.join(formats)}."
            )
        place = _workplace(common, data)
        stage = Export.model_validate({"format": format_})
        step = plan_export(model, place, seed=making["seed"], stage=stage, task=task)
        _carry_out(step, making, output)


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
        str | None, typer.Option("--baseline", help="The run that others are compared to.")
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
        from compress.errors import InvalidInputError

        if compare and (models or check):
            raise InvalidInputError(
                "--compare takes two models, and neither RUNS nor --check.",
                "Write the report first, then: compress report --compare A B --output-dir DIR",
            )
        if again and (models or check or compare):
            raise InvalidInputError(
                "--again takes what is there: neither RUNS nor --check nor --compare.",
                "compress report --again --output-dir DIR",
            )
        if compare:
            reports.compare(output_dir, compare, store=common["runs"], output=output)
        elif output_dir is None:
            raise InvalidInputError(
                "A report needs a directory.", "Name it: compress report RUNS --output-dir reports/NAME"
            )
        elif again:
            reports.again(output_dir, output=output)
        elif check:
            reports.check(output_dir, models or [], store=common["runs"], output=output)
        else:
            reports.write(
                output_dir, models or [], store=common["runs"], title=title, baseline=baseline, output=output
            )


app.command(epilog="Example: compress doctor")(doctor.doctor)
app.add_typer(store.app)


def _options(training: dict[str, Any], selection: dict[str, Any], **more: Any) -> "Options":
    from compress.errors import InvalidInputError
    from compress.planning import Options

    if selection["select_on"] not in ("holdout", "validation"):
        raise InvalidInputError(
            f"--select-on is holdout or validation, not {selection['select_on']!r}.", "Choose one of the two."
        )
    return Options(training=training, **selection, **more)


def _workplace(common: dict[str, Any], data: dict[str, Any]) -> "Workplace":
    from compress.steps import Workplace

    return Workplace(store=common["runs"], glue=data["glue"])


def _carry_out(step: "Step", making: dict[str, Any], output: Output) -> None:
    from compress.cli.tables import plan_table, run_text, run_value
    from compress.pipeline import execute

    hush_progress_bars()
    if making["dry_run"]:
        output.give(*plan_table(step))
        return
    stored: StoredRun = execute(step, force=making["force"], save_to=making["save_to"])
    output.give(run_value(stored), run_text(stored))
