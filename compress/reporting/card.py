"""The model card: what an artefact is, what it scores, what it came from, and how to load it without us."""

import json
from collections.abc import Iterator, Sequence

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
from compress.reporting.lineage import describe_pretraining, describe_pruning
from compress.reporting.markdown import escape, fence
from compress.reporting.wording import (
    describe_versions,
    format_bytes,
    format_count,
    format_score,
    show,
)
from compress.runs import Evaluation, Parent, Run

PIPELINES: dict[Head, str] = {
    "task": "text-classification",
    "masked_lm": "fill-mask",
    "none": "feature-extraction",
}
BARE: dict[Head, tuple[str, str]] = {
    "masked_lm": ("AutoModelForMaskedLM", "logits"),
    "none": ("AutoModel", "last_hidden_state"),
}
"""What loads a model that answers no task, and what it gives."""


def render_card(run: Run, evaluations: Sequence[Evaluation], *, lacking: str | None = None) -> str:
    """The `README.md` beside an artefact, in the Hub's format; it claims no licence, since we know none.

    Args:
        run: The run that made the artefact.
        evaluations: Of this artefact; may be empty.
        lacking: What is unlike any architecture of `transformers`, which loads it only beside us; None if nothing is.
    """
    lines = [
        *_front_matter(run),
        f"# {escape(run.name)}: {escape(_describe_making(run))} for {escape(run.place)}",
        "",
        *_describe_artefact(run),
        "",
        "## Scores",
        "",
        *(_list_scores(evaluations) if evaluations else ["No evaluation is recorded."]),
        "",
        "## How to load it",
        "",
        *(_tell_need(lacking) if lacking and not _has_onnx(run) else []),
        *fence(_write_loading(run, needs_compress=lacking is not None), "python"),
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


def _has_onnx(run: Run) -> bool:
    return any(name.endswith(".onnx") for name in run.files)


def _front_matter(run: Run) -> Iterator[str]:
    """YAML; every text is written as JSON, which YAML contains."""
    yield "---"
    yield f"library_name: {'onnxruntime' if _has_onnx(run) else 'transformers'}"
    yield f"pipeline_tag: {PIPELINES[head_of(run.stage)]}"
    yield "tags:"
    tags = ["compress", run.stage.kind, *(["onnx"] if _has_onnx(run) else [])]
    if isinstance(run.stage, Quantize):
        tags.append(run.stage.method.kind)
    yield from (f"- {json.dumps(tag)}" for tag in tags)
    bases = [parent.hub_id for parent in run.parents if parent.hub_id]
    if bases:
        yield "base_model:"
        yield from (f"- {json.dumps(base)}" for base in bases)
    yield "---"
    yield ""


def _describe_making(run: Run) -> str:
    text = "fine-tuned"
    match run.stage:
        case Pretrain():
            text = describe_pretraining(run.stage)
        case General() | Intermediate():
            text = f"{run.stage.kind} distillation ({run.stage.method})"
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
        f"{escape(_describe_head(run))}: {format_bytes(run.artefact_bytes)} on disk and "
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


def _tell_need(lacking: str) -> list[str]:
    """Why the import, and how to do without."""
    return [
        f"{lacking}, which `transformers` lacks: it loads after `import compress`. "
        "For those who do not have it, this writes the same function, in more bytes:",
        "",
        *fence("compress export . --save-to ../plain", "bash"),
        "",
    ]


def _write_loading(run: Run, *, needs_compress: bool) -> str:
    """The lines of Python that load the artefact from the current directory and ask it one question."""
    first = (
        ["import compress  # its architecture is not among those of transformers"] if needs_compress else []
    )
    head = head_of(run.stage)
    if head in BARE:
        return _write_bare_loading(first, *BARE[head])
    texts = ", ".join('["A text."]' for _ in run.answered_task.text)
    if _has_onnx(run):
        graph = next(name for name in sorted(run.files) if name.endswith(".onnx"))
        return "\n".join(
            [
                "import numpy as np",
                "import onnxruntime",
                "from transformers import AutoTokenizer",
                "",
                'tokenizer = AutoTokenizer.from_pretrained(".")',
                f'session = onnxruntime.InferenceSession({json.dumps(graph)}, providers=["CPUExecutionProvider"])',
                "names = {given.name for given in session.get_inputs()}",
                f'batch = tokenizer({texts}, truncation=True, padding=True, return_tensors="np")',
                "inputs = {name: value.astype(np.int64) for name, value in batch.items() if name in names}",
                "logits = session.run(None, inputs)[0]",
                *_explain_logits(run, "logits.argmax(-1)"),
            ]
        )
    return "\n".join(
        [
            *first,
            "import torch",
            "from transformers import AutoModelForSequenceClassification, AutoTokenizer",
            "",
            'tokenizer = AutoTokenizer.from_pretrained(".")',
            'model = AutoModelForSequenceClassification.from_pretrained(".").eval()',
            f'batch = tokenizer({texts}, truncation=True, padding=True, return_tensors="pt")',
            "with torch.no_grad():",
            "    logits = model(**batch).logits",
            *_explain_logits(run, "logits.argmax(-1)"),
        ]
    )


def _write_bare_loading(first: Sequence[str], loader: str, given: str) -> str:
    return "\n".join(
        [
            *first,
            "import torch",
            f"from transformers import {loader}, AutoTokenizer",
            "",
            'tokenizer = AutoTokenizer.from_pretrained(".")',
            f'model = {loader}.from_pretrained(".").eval()',
            'batch = tokenizer(["A text."], truncation=True, padding=True, return_tensors="pt")',
            "with torch.no_grad():",
            f"    print(model(**batch).{given}.shape)",
        ]
    )


def _explain_logits(run: Run, winner: str) -> list[str]:
    if run.answered_task.labels is None:
        return ["print(logits[:, 0].tolist())"]
    labels = json.dumps(list(run.answered_task.labels), ensure_ascii=False)
    return [f"labels = {labels}", f"print([labels[index] for index in {winner}.tolist()])"]
