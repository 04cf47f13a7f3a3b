"""Teacher and student recipes with one mistake each."""

from collections.abc import Iterator

from tests.malformed.cases import (
    TEACHER_ARGUMENTS,
    Case,
    finetune,
    mistakes,
    spoiled_toml,
    to_toml,
    write_text,
)

TRAINING = {
    "learning_rate": 1e-3,
    "num_train_epochs": 1.0,
    "max_steps": 1,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "lr_scheduler_type": "linear",
    "warmup_steps": 0.1,
    "weight_decay": 0.01,
    "adam_beta1": 0.9,
    "adam_epsilon": 1e-8,
    "max_grad_norm": 1.0,
    "bf16": False,
    "max_length": 16,
    "early_stopping_patience": 2,
}
SHAPE = {"num_hidden_layers": 2, "hidden_size": 24, "num_attention_heads": 3, "intermediate_size": 48}
TEACHER = {
    "description": "tiny",
    "family": "bert",
    "vocab_size": 32,
    "source": {"kind": "local", "path": "sound/encoder"},
    "architecture": {**SHAPE, "max_position_embeddings": 66, "hidden_dropout_prob": 0.1},
    "training": TRAINING,
}
STUDENT = {
    "description": "tiny",
    "family": "albert",
    "initialize": "random",
    "architecture": {**SHAPE, "embedding_size": 16, "share": "all"},
    "distill": {
        "method": "logits",
        "corpus": "sample",
        "budget": "small",
        "logits": {"terms": [{"loss": "soft", "temperature": 2.0}]},
        "tinybert": {
            "small": {
                "general": {"training": {"learning_rate": 1e-3, "max_steps": 9}},
                "augmentation": {"replace_probability": 0.4, "candidates": 15},
            },
        },
        "triple": {"published": {"masking": {"probability": 0.15, "whole_words": False, "max_ngram": 1}}},
    },
    "training": {"learning_rate": 1e-3, "max_length": 16},
}
TERMS = {
    "no terms": [],
    "terms that are no list": {"loss": "soft"},
    "a term without a loss": [{"weight": 1.0}],
    "a term of an unknown loss": [{"loss": "smooth"}],
    "a term with a field of another": [{"loss": "hard", "temperature": 2.0}],
    "a term with a misspelled field": [{"loss": "soft", "temprature": 2.0}],
    "a term of weight 0": [{"loss": "soft", "weight": 0.0}],
    "a term of a weight in words": [{"loss": "soft", "weight": "1"}],
    "a temperature of 0": [{"loss": "soft", "temperature": 0.0}],
    "an unknown map": [{"loss": "hidden", "map": "middle"}],
    "a map that is a number": [{"loss": "hidden", "map": 3}],
    "a map of a layer alone": [{"loss": "hidden", "map": [[1]]}],
    "a map of half a layer": [{"loss": "hidden", "map": [[1, 0.5]]}],
    "an empty map": [{"loss": "attention", "map": []}],
    "a relation of nothing": [{"loss": "relations"}],
    "a relation of what is none": [{"loss": "relations", "of": "output"}],
    "relation heads below 1": [{"loss": "relations", "of": "key", "relation_heads": 0}],
    "a layer below 1": [{"loss": "attention_distribution", "teacher_layer": 0}],
}
METHODS = {
    "unknown method": {"method": "magic"},
    "unknown budget": {"budget": "huge"},
    "a term's field outside of a term": {"logits": {"temperature": 2.0}},
    "weights of an older file that are 0": {"logits": {"soft_weight": 0.0, "hard_weight": 0.0}},
    "a method without its budget": {"tinybert": {"general": {"training": {}}}},
    "a stage that the method lacks": {"minilm": {"small": {"intermediate": {"training": {}}}}},
    "copies below 0": {"tinybert": {"small": {"augmentation": {"copies": -1}}}},
    "a confidence of 0": {"tinybert": {"small": {"augmentation": {"min_confidence": 0.0}}}},
    "all tokens masked": {"triple": {"small": {"masking": {"probability": 1.0}}}},
    "shares of the mask above 1": {
        "triple": {"small": {"masking": {"mask_share": 0.9, "random_share": 0.2}}}
    },
    "n-grams of pieces": {"triple": {"small": {"masking": {"smoothing": 0.7, "max_ngram": 3}}}},
}
STARTS = {
    "a start with a misspelled field": {"layer": "mean"},
    "a start with an unknown choice of layers": {"layers": "middle"},
    "a start with no layers": {"layers": []},
    "a start with a layer below 0": {"layers": [0, -1]},
    "a start with half a layer": {"layers": [0, 1.5]},
    "a start with a number for a list of layers": {"layers": 3},
}
WITH_DEFAULTS = frozenset(
    {
        "source.kind",
        "architecture.max_position_embeddings",
        "architecture.hidden_dropout_prob",
        "architecture.embedding_size",
        "architecture.share",
        "initialize",
        "distill",
        "training",
    }
)


def cases() -> Iterator[Case]:
    distil = ("distill", "--teacher", "sound/encoder", "--task", "sound/reviews.toml", *TEACHER_ARGUMENTS)
    commands = {
        "teacher": finetune(model="own.toml"),
        "student": (*distil, "--student", "own.toml"),
    }
    for kind, good in (("teacher", TEACHER), ("student", STUDENT)):
        arguments = commands[kind]
        for what, fields in (*mistakes(good, optional=WITH_DEFAULTS), *_impossible(kind, good)):
            yield Case(kind, what, arguments, write_text("own.toml", to_toml(fields)), ("own.toml",))
        for what, spoil in spoiled_toml("own.toml", to_toml(good)):
            yield Case(kind, what, arguments, spoil, ("own.toml",))


def _impossible(kind: str, good: dict) -> Iterator[tuple[str, dict]]:
    """Each field is right by itself, but not together."""
    yield "a field name", {"name": "own", **good}
    yield (
        "heads do not divide the width",
        {**good, "architecture": {**good["architecture"], "hidden_size": 25}},
    )
    yield "unknown family", {**good, "family": "gpt2"}
    yield "unknown schedule", {**good, "training": {"lr_scheduler_type": "step"}}
    yield "dropout of 1", {**good, "architecture": {**good["architecture"], "hidden_dropout_prob": 1.0}}
    yield "adam_beta1 of 1", {**good, "training": {"adam_beta1": 1.0}}
    if kind == "teacher":
        yield "unknown kind of source", {**good, "source": {"kind": "ftp", "path": "x"}}
        yield "a source without kind", {**good, "source": {"path": "x"}}
        yield "a source of another kind", {**good, "source": {"kind": "hub", "path": "x"}}
    else:
        for what, distill in METHODS.items():
            yield what, {**good, "distill": distill}
        for what, terms in TERMS.items():
            yield what, {**good, "distill": {"logits": {"terms": terms}}}
        yield (
            "groups of what is not shared as a whole",
            {**good, "architecture": {**good["architecture"], "share": "ffn", "num_hidden_groups": 2}},
        )
        yield "bert that shares", {**good, "family": "bert"}
        yield "unknown way to share", {**good, "architecture": {**good["architecture"], "share": "some"}}
        yield "unknown way to start", {**good, "initialize": "teacher's"}
        for what, start in STARTS.items():
            yield what, {**good, "initialize": start}
