"""The commands that make a run: parse, plan, carry out. Slow imports wait until a command runs."""

from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

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
    ModelArgument,
    takes,
)
from compress.cli.output import Output, hush_progress_bars, telling_failures

if TYPE_CHECKING:
    from compress.planning import Options
    from compress.runs import StoredRun
    from compress.steps import Step, Workplace

app = typer.Typer()

TaskOption = Annotated[str, typer.Option("--task", help="A GLUE task, `sample`, or a task file (*.toml).")]


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
