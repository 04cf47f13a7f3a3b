"""What a recipe may say: frozen models that refuse every word they do not know.

A teacher or a student is one TOML file; its stem is its name. Field names are those of `transformers`'
configurations and `TrainingArguments`, so that nobody has to learn a second vocabulary.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, SerializerFunctionWrapHandler, field_serializer, model_serializer, model_validator

from compress.recipes.methods import Distillation
from compress.recipes.pretraining import LEARNERS, Pretrainings, complete_pretraining
from compress.recipes.start import Start
from compress.recipes.values import (
    Family,
    Frozen,
    PositiveInt,
    Share,
    Training,
    TrainingFor,
    choose_training,
)

UNCHANGED = Distillation()
"""How a student is distilled that says nothing of it."""


class Architecture(Frozen):
    """The shape of an encoder, without its vocabulary, which is the tokenizer's.

    `share` says which parts of the layers are one and the same (ALBERT, section 3.1): whole layers (`all`), their
    attention or their feed-forward network with its norm (`attention`, `ffn`), or nothing. With `all`, the layers may
    be in `num_hidden_groups` of consecutive ones, each of which shares a layer of its own. `embedding_size` is the
    width E of the factorized embedding tables, by default the hidden width H.
    """

    num_hidden_layers: PositiveInt
    hidden_size: PositiveInt
    num_attention_heads: PositiveInt
    intermediate_size: PositiveInt
    embedding_size: PositiveInt | None = None
    max_position_embeddings: PositiveInt = 512
    share: Literal["all", "attention", "ffn", "none"] = "none"
    num_hidden_groups: PositiveInt = 1
    hidden_dropout_prob: Share = 0.1
    attention_probs_dropout_prob: Share = 0.1

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of "
                f"num_attention_heads {self.num_attention_heads}"
            )
        return self

    @model_validator(mode="after")
    def _groups_divide_layers(self) -> Self:
        if self.num_hidden_groups > 1 and self.share != "all":
            raise ValueError(
                f"num_hidden_groups {self.num_hidden_groups} are groups of layers that share all they have: "
                f'take share = "all", not {self.share!r}, or leave them out'
            )
        if self.num_hidden_layers % self.num_hidden_groups:
            raise ValueError(
                f"num_hidden_layers {self.num_hidden_layers} is not a multiple of "
                f"num_hidden_groups {self.num_hidden_groups}"
            )
        return self

    @model_serializer(mode="wrap")
    def _one_group_goes_without_saying(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Groups came later: what was made before them keeps its key, which is a hash over the recipe."""
        fields: dict[str, Any] = write(self)
        if self.num_hidden_groups == 1:
            fields.pop("num_hidden_groups", None)
        return fields


class NewModel(Frozen):
    """A model that is built anew, with random weights."""

    family: Family
    architecture: Architecture


class HubSource(Frozen):
    """Weights on the Hugging Face Hub, at one revision."""

    kind: Literal["hub"] = "hub"
    id: str
    revision: str = "main"


class PackageSource(Frozen):
    """Weights that lie inside an installed Python distribution, beside a `config.json`."""

    kind: Literal["package"] = "package"
    package: str
    version: str


class LocalSource(Frozen):
    """Weights in a directory in Hugging Face format; relative to the recipe."""

    kind: Literal["local"] = "local"
    path: str


class HereSource(Frozen):
    """No weights were published: `compress pretrain NAME --corpus CORPUS` makes them."""

    kind: Literal["here"] = "here"


AnySource = HubSource | PackageSource | LocalSource | HereSource
Source = Annotated[AnySource, Field(discriminator="kind")]


def describe_source(source: AnySource) -> str:
    """Where weights come from, in a few words; an id with nothing before it is one on the Hub."""
    match source:
        case HereSource():
            return "pretrained here"
        case HubSource():
            return source.id
        case PackageSource():
            return f"package {source.package}"
        case LocalSource():
            return f"directory {source.path}"


def _check_family(family: Family, shape: Architecture) -> None:
    """Refuse a shape that a family's configuration cannot express, and would be built without."""
    if family != "albert" and shape.share != "none":
        raise ValueError(
            f"layers of the family {family} are not shared (share is {shape.share!r}): "
            'leave out share, or take family = "albert"'
        )
    if family in ("bert", "roberta") and shape.embedding_size is not None:
        raise ValueError(f"the family {family} has no embedding_size: its tables are as wide as its layers")


class Teacher(Frozen):
    """An encoder to learn from: where its weights come from, how they are made from nothing, how it learns a task.

    `training_for` says by the task's name what differs there; what it leaves open is as in `training`. What
    `pretraining` leaves open is as the family was published.
    """

    name: str
    description: str
    family: Family
    source: Source
    architecture: Architecture
    vocab_size: PositiveInt
    training: Training = Training()
    training_for: TrainingFor = Field(default={})
    pretraining: Pretrainings = Pretrainings()

    @model_validator(mode="before")
    @classmethod
    def _pretrained_as_its_family(cls, value: Any) -> Any:
        """Fill in what the file leaves open; what it says wrongly is left to be found."""
        if not isinstance(value, Mapping) or value.get("family") not in get_args(Family):
            return value
        said = value.get("pretraining", {})
        if not isinstance(said, Mapping):
            return value
        whole = dict(said)
        for budget in Pretrainings.model_fields:
            part = said.get(budget, {})
            if isinstance(part, Mapping):
                whole[budget] = complete_pretraining(value["family"], part, small=budget == "small")
        return {**value, "pretraining": whole}

    @model_validator(mode="after")
    def _family_has_shape(self) -> Self:
        _check_family(self.family, self.architecture)
        for pretraining in (self.pretraining.published, self.pretraining.small):
            if self.family not in LEARNERS[pretraining.objective]:
                raise ValueError(
                    f"the family {self.family} has no heads for the objective {pretraining.objective}"
                )
        return self

    def training_on(self, task: str) -> Training:
        """The schedule for a task."""
        return choose_training(self.training, self.training_for, task)


class Student(Frozen):
    """A small encoder: its shape, how it starts, and how it is taught.

    It takes the tokenizer, the vocabulary size and the special ids of its teacher.
    """

    name: str
    description: str
    family: Literal["albert", "bert"]
    architecture: Architecture
    initialize: Start = "random"
    distill: Distillation = UNCHANGED
    training: Training = Training()

    @field_serializer("distill")
    def _nothing_where_default(self, value: Distillation) -> dict[str, Any]:
        return {} if value == UNCHANGED else value.model_dump(mode="json")

    @model_validator(mode="after")
    def _family_has_shape(self) -> Self:
        _check_family(self.family, self.architecture)
        return self
