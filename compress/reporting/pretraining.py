"""How a model was pretrained, in pairs of term and value."""

from collections.abc import Iterator, Mapping

from compress.recipes.methods import Masking
from compress.recipes.pretraining import Arrangement, ObjectiveName, TokenizerRecipe
from compress.recipes.stages import Pretrain
from compress.reporting.formats import format_significant

OBJECTIVES: Mapping[ObjectiveName, str] = {
    "mlm": "hidden words",
    "nsp": "hidden words and next sentence",
    "sop": "hidden words and sentence order",
    "rtd": "replaced tokens",
}
ARRANGEMENTS: Mapping[Arrangement | None, str] = {
    None: "lines of a document, as many as fit",
    "segment-pairs": "pairs of segments of some sentences each",
    "sentence-pairs": "pairs of single sentences",
    "sentence-orders": "pairs of consecutive segments, half of them swapped",
    "full-sentences": "whole sentences, across documents",
    "doc-sentences": "whole sentences of one document",
}


def list_pretraining(stage: Pretrain) -> Iterator[tuple[str, str]]:
    """What a model learned from, and for how long; the schedule of its rate and its batches are told elsewhere."""
    yield "Objective", f"{OBJECTIVES[stage.objective]} ({stage.objective})"
    yield "Starts", _describe_start(stage)
    yield "Reads", ARRANGEMENTS[stage.arrangement]
    if stage.tokenizer:
        yield "Tokenizer", _describe_tokenizer(stage.tokenizer)
    yield "Masking", describe_masking(stage.masking)
    copies = stage.static_copies
    yield "Masks", f"drawn once for each of {copies} copies" if copies else "drawn anew each epoch"
    if stage.generator:
        share, weight = stage.generator.share, stage.generator.weight
        yield "Generator", f"{share:g} of the width, replaced tokens weighted {weight:g}"
    if stage.dropout is not None:
        yield "Dropout", f"{stage.dropout:g}"
    yield "Budget", _describe_budget(stage)


def _describe_start(stage: Pretrain) -> str:
    if stage.new is None:
        return "from the weights that it had"
    shape = stage.new.architecture
    return f"from nothing: {stage.new.family}, {shape.num_hidden_layers} layers, {shape.hidden_size} wide"


def _describe_tokenizer(recipe: TokenizerRecipe) -> str:
    case = ", lowercase" if recipe.lowercase else ""
    return f"{recipe.kind}, at most {recipe.vocab_size:,} pieces{case}, trained on the corpus"


def describe_masking(masking: Masking) -> str:
    """Which tokens are hidden, and what stands in their place: 15 % of tokens: 80 % masked, 10 % random, 10 % kept."""
    parts = (
        ("masked", masking.mask_share),
        ("random", masking.random_share),
        ("kept", 1 - masking.mask_share - masking.random_share),
    )
    places = ", ".join(f"{_percent(share)} {name}" for name, share in parts if share > 1e-9)
    hidden = f"{_percent(masking.probability)} of tokens"
    if masking.whole_words:
        hidden += ", whole words" + (f", up to {masking.max_ngram} in a row" if masking.max_ngram > 1 else "")
    if masking.smoothing is not None:
        hidden += f", rare ones more often (smoothing {masking.smoothing:g})"
    return f"{hidden}: {places}"


def _percent(share: float) -> str:
    return f"{format_significant(100 * share, 2)} %"


def _describe_budget(stage: Pretrain) -> str:
    """The budget that counted: the first that is set of minutes, tokens and steps."""
    training = stage.training
    if stage.max_minutes is not None:
        size = f"{stage.max_minutes:g} minutes"
    elif stage.max_tokens is not None:
        size = f"{stage.max_tokens:,} tokens"
    elif training.max_steps > 0:
        size = f"{training.max_steps:,} steps"
    else:
        size = f"{training.num_train_epochs:g} epochs"
    recipes = {"published": "the recipe as published", "small": "the small recipe"}
    return f"{size}; {recipes[stage.budget]}" if stage.budget else size
