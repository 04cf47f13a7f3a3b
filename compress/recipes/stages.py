"""The stages of a run: each a small frozen recipe, complete enough to be repeated from it alone."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from compress.recipes.methods import Augmentation, Budget, Logits, Masking, MethodName
from compress.recipes.pretraining import (
    Arrangement,
    Generator,
    InitialEmbeddings,
    ObjectiveName,
    TokenizerRecipe,
)
from compress.recipes.pruning import ImportanceName, Removal
from compress.recipes.quantization import QuantizationMethod
from compress.recipes.schema import NewModel, Student
from compress.recipes.terms import Terms
from compress.recipes.values import Frozen, Number, PositiveInt, Share, Training

Selection = Literal["holdout", "validation"]
"""Where early stopping looks: a seeded part of the train split, or (flagged by every report) validation."""


class Finetune(Frozen):
    """A model learns a task from its labels.

    `student` or `new` is set where the model is built anew, a student or of a teacher's shape; it takes its parent's
    tokenizer only.
    """

    kind: Literal["finetune"] = "finetune"
    training: Training
    select_on: Selection = "holdout"
    student: Student | None = None
    new: NewModel | None = None

    @model_serializer(mode="wrap")
    def _no_new_model_goes_without_saying(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """That came later: what was made before it keeps its key."""
        fields: dict[str, Any] = write(self)
        return {name: value for name, value in fields.items() if name != "new" or value is not None}

    @property
    def built_anew(self) -> Student | NewModel | None:
        """What begins with random weights, where something does."""
        return self.student or self.new


class Pretrain(Frozen):
    """A model learns language from documents: from nothing, or from the weights that it has.

    Attributes:
        objective: What is learned.
        masking: Which tokens are hidden.
        training: The schedule.
        new: What is built; None is a model that is gone on with.
        tokenizer: Trained first; None is the model's own, or the one that was named.
        initial_embeddings: What a new model's embedding table starts from.
        arrangement: Which sentences make an example; None is lines of a document, as many as fit.
        static_copies: So many copies of the corpus, each masked once and for all; 0 draws masks anew each epoch.
        generator: ELECTRA's.
        dropout: While it learns; None is as in the architecture.
        compile: Whether the encoder goes through `torch.compile` on a GPU.
        budget: Whose schedule, where a recipe has several.
        max_minutes: Of work, instead of the schedule's steps.
        max_tokens: That are read, instead of the schedule's steps.
    """

    kind: Literal["pretrain"] = "pretrain"
    objective: ObjectiveName = "mlm"
    masking: Masking
    training: Training
    new: NewModel | None = None
    tokenizer: TokenizerRecipe | None = None
    initial_embeddings: InitialEmbeddings = "random"
    arrangement: Arrangement | None = None
    static_copies: int = 0
    generator: Generator | None = None
    dropout: Share | None = None
    compile: bool = False
    budget: Budget | None = None
    max_minutes: Annotated[Number, Field(gt=0)] | None = None
    max_tokens: PositiveInt | None = None

    @model_serializer(mode="wrap")
    def _what_came_later_goes_without_saying(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Runs keep the key that they had when there was one objective and one way to read."""
        fields: dict[str, Any] = write(self)
        return {
            name: value
            for name, value in fields.items()
            if name in ("kind", "objective") or getattr(self, name) != type(self).model_fields[name].default
        }


class General(Frozen):
    """A student learns language from a teacher that was not fine-tuned, on unlabelled documents.

    `masking` is set where the terms ask for masked words.
    """

    kind: Literal["general"] = "general"
    student: Student
    method: MethodName
    budget: Budget
    terms: Terms
    masking: Masking | None = None
    training: Training


class Intermediate(Frozen):
    """A student's layers learn from a fine-tuned teacher's, on the texts of a task; it answers nothing yet."""

    kind: Literal["intermediate"] = "intermediate"
    student: Student
    method: MethodName
    budget: Budget
    terms: Terms
    augmentation: Augmentation | None = None
    training: Training
    select_on: Selection = "holdout"


class Distill(Frozen):
    """A student learns a task from fine-tuned teachers: the stage that makes the artefact.

    Attributes:
        student: What is built and started; None is a pruned model, which recovers.
        teacher_weights: Of several teachers, in their order; they add up to 1.
        budget: Set where the method has several schedules.
        simulates: A method of quantization whose rounding the student learns with, so that it loses less by it.
    """

    kind: Literal["distill"] = "distill"
    student: Student | None
    method: MethodName | Literal["recovery"]
    budget: Budget | None = None
    terms: Terms
    teacher_weights: tuple[Annotated[Number, Field(gt=0)], ...] = (1.0,)
    augmentation: Augmentation | None = None
    training: Training
    select_on: Selection = "holdout"
    allow_weak_teacher: bool = False
    simulates: QuantizationMethod | None = None

    @model_serializer(mode="wrap")
    def _no_rounding_goes_without_saying(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """That came later: what was made before it keeps its key."""
        fields: dict[str, Any] = write(self)
        return {name: value for name, value in fields.items() if name != "simulates" or value is not None}

    @model_validator(mode="before")
    @classmethod
    def _read_older(cls, value: Any) -> Any:
        """Records of before there were terms held a method with a temperature and two weights."""
        if not (isinstance(value, Mapping) and isinstance(value.get("method"), Mapping)):
            return value
        return {**value, "method": "logits", "terms": Logits.model_validate(value["method"]).terms}


class Quantize(Frozen):
    """A finished model is rewritten in fewer bits."""

    kind: Literal["quantize"] = "quantize"
    method: QuantizationMethod


ExportFormat = Literal["transformers", "onnx", "openvino"]


class Export(Frozen):
    """A finished model is written in another format, its answers unchanged.

    `transformers`: what `transformers` loads without us; layers that share a part get a copy each. `onnx` and `openvino`:
    a graph in fp32 for either runtime, what is shared written once.
    """

    kind: Literal["export"] = "export"
    format: ExportFormat = "transformers"

    @property
    def makers(self) -> tuple[str, ...]:
        """Distributions whose versions decide the result, torch and transformers apart."""
        graph = () if self.format == "transformers" else ("onnx", "onnxruntime")
        return (*graph, "openvino") if self.format == "openvino" else graph


class CountedCorpus(Frozen):
    """Documents whose pieces were counted: where they are, as the user named it, and a hash of their content."""

    origin: str
    fingerprint: str


class Prune(Frozen):
    """A finished model loses parts of itself.

    Attributes:
        remove: What.
        pieces_from: Documents that decide which pieces of a vocabulary stay; None is the task's train split.
        importance: By which judgement, where units are told apart.
        batches: Of the train split, from which the importance is judged where it asks for texts.
        max_length: Tokens after which these texts are cut.
    """

    kind: Literal["prune"] = "prune"
    remove: Removal
    pieces_from: CountedCorpus | None = None
    importance: ImportanceName = "magnitude"
    batches: PositiveInt = 8
    max_length: PositiveInt = 128

    @model_serializer(mode="wrap")
    def _no_corpus_goes_without_saying(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """That came later: what was made before it keeps its key."""
        fields: dict[str, Any] = write(self)
        return {name: value for name, value in fields.items() if name != "pieces_from" or value is not None}

    def describe(self) -> str:
        """What goes, in a few words, and whose pieces were counted: vocabulary 8000 (counted in sample), ffn 0.5."""
        return self.remove.describe(pieces_from=self.pieces_from.origin if self.pieces_from else None)

    @property
    def reads_texts(self) -> bool:
        """Whether what the model makes of texts of the train split decides what goes."""
        by_loss = self.importance == "taylor" and self.remove.ranks_units
        return by_loss or (self.remove.layers > 0 and self.remove.layer_rule == "importance")

    @property
    def reads_data(self) -> bool:
        """Whether the task's texts or draws decide what goes, and with them the seed."""
        counts_pieces = self.remove.vocabulary is not None and self.pieces_from is None
        return self.reads_texts or counts_pieces or (self.importance == "random" and self.remove.ranks_units)


COMPUTED = (Quantize, Export, Prune)
"""Stages that compute weights from weights: no weight is drawn, and none is trained."""
Head = Literal["task", "masked_lm", "none"]

Stage = Annotated[
    Finetune | Pretrain | General | Intermediate | Distill | Quantize | Export | Prune,
    Field(discriminator="kind"),
]


def head_of(stage: Stage) -> Head:
    """What the model that a stage makes can answer: its task, hidden words, or nothing."""
    if isinstance(stage, General):
        return "masked_lm" if stage.masking else "none"
    if isinstance(stage, Pretrain):
        return "none" if stage.objective == "rtd" else "masked_lm"
    return "none" if isinstance(stage, Intermediate) else "task"


def is_graph(stage: Stage) -> bool:
    """Whether a stage makes a graph for a runtime, which no stage can start from, and not a model."""
    return isinstance(stage, Quantize) or (isinstance(stage, Export) and stage.format != "transformers")


def reads_data(stage: Stage) -> bool:
    """Whether texts decide what a stage makes, and with them the seed that they are drawn by."""
    match stage:
        case Quantize():
            return stage.method.reads_data
        case Prune():
            return stage.reads_data
    return not isinstance(stage, COMPUTED)
