"""The model card: what an artefact is, what it scores, what it came from, and how to load it without us."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.recipes.quantization import Method
from compress.recipes.stages import (
    Distill,
    Export,
    General,
    Head,
    Intermediate,
    Pretrain,
    Prune,
    Quantize,
    head_of,
)
from compress.reporting.essentials import list_essentials
from compress.reporting.formats import format_bytes, format_count, format_score
from compress.reporting.lineage import describe_pretraining, describe_pruning
from compress.reporting.loading import LIBRARIES, format_of, tell_need, write_loading
from compress.reporting.markup import escape, fence
from compress.reporting.wording import describe_versions, reveal, show
from compress.runs import Evaluation, Parent, Run
from compress.tasks import GLUE_HUB_ID, GLUE_TITLES, GlueSource, Task

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

PIPELINES: dict[Head, str] = {
    "task": "text-classification",
    "masked_lm": "fill-mask",
    "none": "feature-extraction",
}

HUB_METRICS: dict[str, tuple[str, dict[str, str] | None]] = {
    "accuracy": ("accuracy", None),
    "f1": ("f1", None),
    "macro_f1": ("f1", {"average": "macro"}),
    "matthews_correlation": ("matthews_correlation", None),
    "pearson": ("pearsonr", None),
    "spearman": ("spearmanr", None),
}
"""Metric → its id among the Hub's (`evaluate-metric`), and what it is computed with."""
BUILDERS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}
"""Suffix of a file → the builder of `datasets` that reads it."""


def render_card(run: Run, evaluations: Sequence[Evaluation], *, lacking: str | None = None) -> str:
    """The `README.md` beside an artefact, in the Hub's format; it claims no licence, since we know none.

    Args:
        run: The run that made the artefact.
        evaluations: Of this artefact; may be empty.
        lacking: What is unlike any architecture of `transformers`, which loads it only beside us; None if nothing is.
    """
    lines = [
        _front_matter(run, evaluations),
        f"# {escape(run.name)}: {escape(_describe_making(run))} for {escape(run.place)}",
        "",
        *_describe_artefact(run),
        "",
        "## Scores",
        "",
        *(_list_scores(evaluations) if any(each.scores for each in evaluations) else ["None is recorded."]),
        "",
        "## How to load it",
        "",
        *tell_need(run, lacking=lacking),
        *fence(write_loading(run, needs_compress=lacking is not None), "python", say=reveal),
        "",
        "## How it was made",
        "",
        *(f"- {escape(parent.role)}: {escape(_describe_parent(parent))}" for parent in run.parents),
        *(f"- {escape(term)}: {escape(value)}" for term, value in list_essentials(run)),
        f"- {escape(describe_versions(run.environment))}",
        "",
        *fence(run.command, "bash"),
        "",
        "Made by compress; `run.json` beside this card holds the whole record.",
    ]
    return "\n".join(lines) + "\n"


def _front_matter(run: Run, evaluations: Sequence[Evaluation]) -> str:
    """What the Hub reads of a card, as YAML; names in it have neither line breaks nor marks of direction."""
    from huggingface_hub import ModelCardData

    form = format_of(run)
    tags = ["compress", run.stage.kind, *([form] if form in ("onnx", "openvino") else [])]
    if isinstance(run.stage, Quantize):
        tags.append(run.stage.method.kind)
    bases = [parent.hub_id for parent in run.parents if parent.hub_id]
    data = ModelCardData(
        library_name=LIBRARIES[form],
        pipeline_tag=PIPELINES[head_of(run.stage)],
        tags=tags,
        base_model=bases or None,
        model_name=show(run.name),
        eval_results=list(_list_results(run, evaluations)) or None,
    )
    if not data.eval_results:
        del data.model_name  # is the index's alone
    return f"---\n{data.to_yaml()}\n---\n"


def _list_results(run: Run, evaluations: Sequence[Evaluation]) -> "Iterator[EvalResult]":
    """The scores as they stand in the Hub's index of models; those on another task, whose data it cannot name, do not."""
    from huggingface_hub import EvalResult

    for evaluation in evaluations:
        for score in evaluation.scores if evaluation.task == run.answered_task.name else ():
            metric, arguments = HUB_METRICS[score.name]
            yield EvalResult(
                task_type=PIPELINES["task"],
                **_name_dataset(run.answered_task),
                dataset_split=evaluation.split,
                metric_type=metric,
                metric_value=score.value,
                metric_name=score.name,
                metric_args=arguments,
            )


def _name_dataset(task: Task) -> dict[str, Any]:
    """What the Hub calls a task's data; a user's own files have no id there, only the builder that reads them."""
    if isinstance(task.source, GlueSource):
        title = f"GLUE {GLUE_TITLES[task.name]}"
        return {"dataset_type": GLUE_HUB_ID, "dataset_name": title, "dataset_config": task.source.config}
    return {"dataset_type": BUILDERS[Path(task.source.validation[0]).suffix], "dataset_name": show(task.name)}


def _describe_making(run: Run) -> str:
    text = "fine-tuned"
    match run.stage:
        case Pretrain():
            text = describe_pretraining(run.stage)
        case General() | Intermediate():
            text = f"{run.stage.kind} distillation ({run.stage.method})"
        case Distill(simulates=Method(kind=kind)):
            text = f"trained for {kind}"
        case Distill():
            text = f"distilled ({run.stage.method})" if run.stage.student else "pruned and recovered"
        case Quantize():
            text = f"quantized ({run.stage.method.kind})"
        case Export():
            text = f"exported ({run.stage.format})"
        case Prune():
            text = describe_pruning(run.stage)
    return text


def _describe_artefact(run: Run) -> Iterator[str]:
    yield (
        f"{escape(_describe_head(run), say=reveal)}: {format_bytes(run.artefact_bytes)} on disk and "
        f"{format_bytes(run.tokenizer_bytes)} of tokenizer beside, {format_count(run.parameters)} parameters, "
        "shared ones counted once."
    )


def _describe_head(run: Run) -> str:
    head = head_of(run.stage)
    if head == "none":
        return "An encoder without a head, to be fine-tuned or distilled further"
    if head == "masked_lm":
        return "An encoder with a head that guesses masked words"
    task = run.answered_task
    kind = f"A classifier ({', '.join(task.labels)})" if task.labels else f"A {task.kind} model"
    return f"{kind} of {' and '.join(task.text)}"


def _list_scores(evaluations: Sequence[Evaluation]) -> Iterator[str]:
    yield "| Task | Split | Metric | Score | 95 % interval | n |"
    yield "| --- | --- | --- | ---: | ---: | ---: |"
    for evaluation in evaluations:
        for score in evaluation.scores:
            bounds = f"{format_score(score.low)}–{format_score(score.high)}"
            where = f"{escape(evaluation.task)} | {escape(evaluation.split)} | {escape(score.name)}"
            yield f"| {where} | {format_score(score.value)} | {bounds} | {score.n} |"


def _describe_parent(parent: Parent) -> str:
    return show(f"{parent.name} ({parent.origin})")
