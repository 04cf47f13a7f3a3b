"""What a recipe may say: frozen models that refuse every word they do not know.

A teacher or a student is one TOML file; its stem is its name. Field names are those of `transformers`'
configurations and `TrainingArguments`, so that nobody has to learn a second vocabulary.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)

Family = Literal["bert", "roberta", "electra", "albert"]
PositiveInt = Annotated[int, Field(gt=0, strict=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
"""TOML has types, so `"3"` and `true` are mistakes where a number belongs; so are `inf` and `nan`."""
Share = Annotated[Number, Field(ge=0.0, lt=1.0)]


class Frozen(BaseModel):
    """A value: immutable, and strict about the names of its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


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


class Training(Frozen):
    """How weights are moved; names and meanings are `transformers.TrainingArguments`'.

    `bf16` is decided when the run is planned where a recipe leaves it open: on where the processor
    multiplies bfloat16 natively. `warmup_steps` below 1 is a share of all steps. `max_length` is in
    tokens, special ones included.
    """

    learning_rate: Annotated[Number, Field(gt=0)] = 5e-5
    num_train_epochs: Annotated[Number, Field(gt=0)] = 3.0
    max_steps: Annotated[int, Field(strict=True, ge=-1)] = -1
    per_device_train_batch_size: PositiveInt = 32
    gradient_accumulation_steps: PositiveInt = 1
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "linear"
    warmup_steps: Annotated[Number, Field(ge=0)] = 0.06
    weight_decay: Annotated[Number, Field(ge=0)] = 0.01
    adam_beta1: Share = 0.9
    adam_beta2: Share = 0.999
    adam_epsilon: Annotated[Number, Field(gt=0)] = 1e-8
    max_grad_norm: Annotated[Number, Field(ge=0)] = 1.0
    bf16: Annotated[bool, Field(strict=True)] | None = None
    max_length: PositiveInt = 128
    early_stopping_patience: PositiveInt = 2

    @field_validator("max_steps")
    @classmethod
    def _some_steps(cls, value: int) -> int:
        if value == 0:
            raise ValueError("max_steps is 1 or more, or -1 for as many as the epochs have")
        return value


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


Source = Annotated[HubSource | PackageSource | LocalSource, Field(discriminator="kind")]


def describe_source(source: HubSource | PackageSource | LocalSource) -> str:
    """Where weights come from, in a few words; an id with nothing before it is one on the Hub."""
    match source:
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
    """An encoder to learn from: where its weights come from and how it is fine-tuned on a task.

    `training_for` says by the task's name what differs there; what it leaves open is as in `training`.
    """

    name: str
    description: str
    family: Family
    source: Source
    architecture: Architecture
    vocab_size: PositiveInt
    training: Training = Training()
    training_for: dict[str, Training] = {}

    @model_validator(mode="after")
    def _family_has_shape(self) -> Self:
        _check_family(self.family, self.architecture)
        return self

    @field_serializer("training_for")
    def _only_what_differs(self, value: dict[str, Training]) -> dict[str, dict[str, Any]]:
        return {task: training.model_dump(exclude_unset=True) for task, training in value.items()}

    def training_on(self, task: str) -> Training:
        """The schedule for a task."""
        changes = self.training_for.get(task, Training())
        return self.training.model_copy(update=changes.model_dump(exclude_unset=True))


class Logits(Frozen):
    """Distillation from the teacher's outputs alone (Hinton et al. 2015, section 2).

    The loss is `soft_weight` times the soft-label term plus `hard_weight` times the task's own loss. At
    `temperature` T the soft term is multiplied by T², so that its gradients keep their size.
    For a regression the soft term is the squared error to the teacher's score, and T has no meaning.
    """

    kind: Literal["logits"] = "logits"
    temperature: Annotated[Number, Field(gt=0)] = 1.0
    soft_weight: Annotated[Number, Field(ge=0)] = 1.0
    hard_weight: Annotated[Number, Field(ge=0)] = 0.0

    @model_validator(mode="after")
    def _some_weight(self) -> Self:
        if self.soft_weight + self.hard_weight == 0:
            raise ValueError("soft_weight and hard_weight are both 0: nothing would be learned")
        return self


class Distillation(Frozen):
    """How a student is distilled unless the command line says otherwise."""

    method: Literal["logits"] = "logits"
    logits: Logits = Logits()


class Student(Frozen):
    """A small encoder: its shape, how it starts, and how it is taught.

    It takes the tokenizer, the vocabulary size and the special ids of its teacher.
    """

    name: str
    description: str
    family: Literal["albert", "bert"]
    architecture: Architecture
    initialize: Literal["random"] = "random"
    distill: Distillation = Distillation()
    training: Training = Training()

    @model_validator(mode="after")
    def _family_has_shape(self) -> Self:
        _check_family(self.family, self.architecture)
        return self
