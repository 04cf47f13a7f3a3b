"""How students are taught: each method a recipe of stages, with the published schedule and a smaller one.

A *stage* is a mix of terms and a schedule. `general` runs on unlabelled documents under the un-fine-tuned teacher,
`intermediate` and `prediction` on the task under the fine-tuned one. A student's file changes what it wants changed:
any term, weight, layer map or number.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from compress.recipes.terms import (
    AttentionTerm,
    CosineTerm,
    HardTerm,
    HiddenTerm,
    MaskedLmTerm,
    RelationTerm,
    SoftTerm,
    Terms,
)
from compress.recipes.values import Frozen, Number, PositiveInt, Training, TrainingFor, choose_training

MethodName = Literal["logits", "tinybert", "minilm", "triple"]
Budget = Literal["published", "small"]
"""Whose schedule: the paper's, or one for two CPU cores."""


class Masking(Frozen):
    """Which tokens are hidden from a model, and what stands in their place.

    BERT (Devlin et al. 2018, section 3.1) hides `probability` of a sequence's tokens: `mask_share` of them become the
    mask, `random_share` another token, the rest stays. With `smoothing` s (DistilBERT: 0.7) they are drawn over the
    whole batch, rare ones more often: a token that occurs c times has the weight max(c, 1)^−s. `whole_words`
    hides words, not pieces of them; up to `max_ngram` in a row, n of them with a probability proportional to 1/n
    (ALBERT, section 4.1).
    """

    probability: Annotated[Number, Field(gt=0, lt=1)] = 0.15
    mask_share: Annotated[Number, Field(ge=0, le=1)] = 0.8
    random_share: Annotated[Number, Field(ge=0, le=1)] = 0.1
    smoothing: Annotated[Number, Field(ge=0)] | None = None
    whole_words: Annotated[bool, Field(strict=True)] = False
    max_ngram: Annotated[int, Field(strict=True, ge=1, le=3)] = 1

    @model_validator(mode="after")
    def _rules_go_together(self) -> Self:
        if self.mask_share + self.random_share > 1 + 1e-9:
            raise ValueError(
                f"mask_share {self.mask_share} and random_share {self.random_share} are more than 1 together"
            )
        if self.max_ngram > 1 and not self.whole_words:
            raise ValueError("max_ngram counts whole words: set whole_words = true")
        if self.smoothing is not None and self.whole_words:
            raise ValueError("smoothing draws single tokens: leave it out, or set whole_words = false")
        return self


class Augmentation(Frozen):
    """How a train split is enlarged by replacing words (Jiao et al. 2020, Algorithm 1).

    Each example is copied `copies` times, a pair as often on either side; 0 is no augmentation. `copies_for` says by
    the task's name what differs there, by default as published. In a copy each word is replaced with
    `replace_probability` by one of its `candidates` likeliest.

    `min_confidence` is not of the paper: a copy is kept only where the fine-tuned teacher gives its own most likely
    class at least this probability. A regression has none.
    """

    copies: Annotated[int, Field(strict=True, ge=0)] = 20
    copies_for: dict[str, Annotated[int, Field(strict=True, ge=0)]] = Field(
        default={"cola": 30, "mrpc": 30, "rte": 30, "stsb": 30, "sst2": 20, "qnli": 20, "mnli": 10, "qqp": 10}
    )
    replace_probability: Annotated[Number, Field(gt=0, le=1)] = 0.4
    candidates: PositiveInt = 15
    min_confidence: Annotated[Number, Field(gt=0, le=1)] | None = None

    def copies_on(self, task: str) -> int:
        """How often an example of a task is copied."""
        return self.copies_for.get(task, self.copies)


class StageRecipe(Frozen):
    """One stage of a method: what is minimized, and the schedule.

    `training_for` says by the task's name what differs there.
    """

    terms: Terms
    training: Training = Training()
    training_for: TrainingFor = Field(default={})

    def training_on(self, task: str) -> Training:
        """The schedule for a task."""
        return choose_training(self.training, self.training_for, task)


class Logits(Frozen):
    """Distillation from the teacher's answers alone (Hinton et al. 2015); the schedule is the student's `training`."""

    terms: Terms = (SoftTerm(),)

    @model_validator(mode="before")
    @classmethod
    def _read_older(cls, value: Any) -> Any:
        """Records of before there were terms held a temperature and two weights."""
        if not (isinstance(value, Mapping) and "soft_weight" in value):
            return value
        terms = (
            {"loss": "soft", "weight": value["soft_weight"], "temperature": value.get("temperature", 1.0)},
            {"loss": "hard", "weight": value.get("hard_weight", 0.0)},
        )
        return {"terms": tuple(term for term in terms if term["weight"] > 0)}


_FINE_TUNING = {"learning_rate": 3e-5, "num_train_epochs": 3, "warmup_steps": 0.1}


class TinyBert(Frozen):
    """Two-stage distillation (Jiao et al. 2020).

    General: hidden states and attention on documents, from the un-fine-tuned teacher. On the task, from the fine-tuned
    one and on augmented texts: the same two terms, then the soft labels alone.
    """

    general: StageRecipe = StageRecipe(
        terms=(HiddenTerm(), AttentionTerm()),
        training=Training(
            learning_rate=1e-4, num_train_epochs=3, per_device_train_batch_size=256, warmup_steps=0.1
        ),
    )
    intermediate: StageRecipe = StageRecipe(
        terms=(HiddenTerm(), AttentionTerm()),
        training=Training(
            learning_rate=5e-5, num_train_epochs=20, lr_scheduler_type="constant", warmup_steps=0
        ),
        training_for={
            "cola": Training(num_train_epochs=50),
            "mnli": Training(num_train_epochs=10),
            "qqp": Training(num_train_epochs=10),
            "qnli": Training(num_train_epochs=10),
        },
    )
    prediction: StageRecipe = StageRecipe(terms=(SoftTerm(),), training=Training(**_FINE_TUNING))
    augmentation: Augmentation = Augmentation()


class MiniLm(Frozen):
    """Self-attention relations of one layer (Wang et al. 2021, MiniLMv2), then soft labels on the task.

    Version 1 (Wang et al. 2020) is `terms = [{loss = "attention_distribution"}, {loss = "relations", of = "value",
    relation_heads = A}]` with the A heads that both models have.
    """

    general: StageRecipe = StageRecipe(
        terms=(RelationTerm(of="query"), RelationTerm(of="key"), RelationTerm(of="value")),
        training=Training(
            learning_rate=6e-4,
            max_steps=400_000,
            per_device_train_batch_size=256,
            warmup_steps=4000,
            max_length=512,
        ),
    )
    prediction: StageRecipe = StageRecipe(terms=(SoftTerm(),), training=Training(**_FINE_TUNING))


class Triple(Frozen):
    """DistilBERT's triple loss (Sanh et al. 2019), then soft labels on the task. Needs a teacher with an MLM head."""

    general: StageRecipe = StageRecipe(
        terms=(SoftTerm(weight=5.0, temperature=2.0), MaskedLmTerm(weight=2.0), CosineTerm()),
        training=Training(
            learning_rate=5e-4,
            num_train_epochs=3,
            per_device_train_batch_size=32,
            gradient_accumulation_steps=128,
            warmup_steps=0.05,
            weight_decay=0.0,
            adam_beta2=0.98,
            adam_epsilon=1e-6,
            max_grad_norm=5.0,
            max_length=512,
        ),
    )
    masking: Masking = Masking(smoothing=0.7)
    prediction: StageRecipe = StageRecipe(
        terms=(SoftTerm(weight=0.5, temperature=2.0), HardTerm(weight=0.5)), training=Training(**_FINE_TUNING)
    )


_SMALL_GENERAL = {"num_train_epochs": 1, "max_steps": 4000, "max_length": 64}
_SMALL_STATES = (HiddenTerm(), AttentionTerm(weight=0.1))
"""The authors' mean over padding makes their attention term that much smaller; see `losses.attention`."""
_LONG = Training(max_length=256)
"""One in eight of RTE's pairs is longer than 128 tokens."""
_SMALL_PREDICTION = StageRecipe(
    terms=(SoftTerm(),),
    training=Training(learning_rate=1e-4, num_train_epochs=5, warmup_steps=0.1),
    training_for={"sst2": Training(num_train_epochs=2), "rte": _LONG},
)
SMALL_TINYBERT = TinyBert(
    general=StageRecipe(
        terms=_SMALL_STATES, training=Training(learning_rate=8e-4, warmup_steps=0.06, **_SMALL_GENERAL)
    ),
    intermediate=StageRecipe(
        terms=_SMALL_STATES,
        training=Training(learning_rate=3e-4, num_train_epochs=3, warmup_steps=0.06),
        training_for={"sst2": Training(num_train_epochs=1), "rte": _LONG},
    ),
    prediction=_SMALL_PREDICTION,
    augmentation=Augmentation(copies=1, copies_for={"mrpc": 5}),
)
SMALL_MINILM = MiniLm(
    general=StageRecipe(
        terms=MiniLm().general.terms,
        training=Training(learning_rate=6e-4, warmup_steps=0.06, **_SMALL_GENERAL),
    ),
    prediction=_SMALL_PREDICTION,
)
SMALL_TRIPLE = Triple(
    general=StageRecipe(
        terms=Triple().general.terms,
        training=Training(
            learning_rate=5e-4,
            warmup_steps=0.05,
            adam_beta2=0.98,
            adam_epsilon=1e-6,
            max_grad_norm=5.0,
            **_SMALL_GENERAL,
        ),
    ),
    prediction=StageRecipe(
        terms=Triple().prediction.terms,
        training=_SMALL_PREDICTION.training,
        training_for=_SMALL_PREDICTION.training_for,
    ),
)


class Budgets(Frozen):
    """A method's schedules. A file says what differs from the ones that are meant, number by number."""

    @field_validator("published", "small", mode="before", check_fields=False)
    @classmethod
    def _change_number_by_number(cls, value: Any, info: ValidationInfo) -> Any:
        usual = cls.model_fields[str(info.field_name)].default
        return _changed(usual, value) if isinstance(value, Mapping) else value


class TinyBertBudgets(Budgets):
    """TinyBERT's schedules."""

    published: TinyBert = TinyBert()
    small: TinyBert = SMALL_TINYBERT


class MiniLmBudgets(Budgets):
    """MiniLM's schedules."""

    published: MiniLm = MiniLm()
    small: MiniLm = SMALL_MINILM


class TripleBudgets(Budgets):
    """The triple loss's schedules."""

    published: Triple = Triple()
    small: Triple = SMALL_TRIPLE


class Distillation(Frozen):
    """How a student is distilled unless the command line says otherwise.

    Attributes:
        method: One of the four.
        corpus: The documents of the general stage: a dataset of the Hub, `OWNER/NAME` or `OWNER/NAME:CONFIG`.
        budget: Whose schedule.
    """

    method: MethodName = "logits"
    corpus: str = "Salesforce/wikitext:wikitext-103-raw-v1"
    budget: Budget = "small"
    logits: Logits = Logits()
    tinybert: TinyBertBudgets = TinyBertBudgets()
    minilm: MiniLmBudgets = MiniLmBudgets()
    triple: TripleBudgets = TripleBudgets()


def _changed(recipe: Frozen, value: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe with a file's changes, table by table; what is no table is replaced whole."""
    base = recipe.model_dump()
    augmentation = value.get("augmentation")
    if isinstance(augmentation, Mapping) and "copies" in augmentation:
        base["augmentation"]["copies_for"] = {}  # who says how many means everywhere
    return _merge(base, value)


def _merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in changes.items():
        inner = merged.get(name)
        merged[name] = (
            _merge(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
        )
    return merged
