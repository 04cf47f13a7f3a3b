"""How a teacher is pretrained from nothing: its tokenizer, what it reads, what it learns from that, and for how long."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from compress.recipes.methods import Masking
from compress.recipes.values import Family, Frozen, Number, PositiveInt, Share, Training

TokenizerKind = Literal["wordpiece", "unigram", "byte-bpe"]
ObjectiveName = Literal["mlm", "nsp", "sop", "rtd"]
"""Hidden words alone; they and next-sentence prediction; they and sentence order; replaced tokens."""
Arrangement = Literal["segment-pairs", "sentence-pairs", "sentence-orders", "full-sentences", "doc-sentences"]
"""Which sentences make an example together (Liu et al. 2019, section 4.2; Lan et al. 2019, section 3.1)."""
InitialEmbeddings = Literal["random", "ppmi-svd"]
"""Random numbers; or word vectors counted in the corpus (Levy, Goldberg and Dagan 2015)."""
ARRANGEMENTS: Mapping[ObjectiveName, tuple[Arrangement, ...]] = {
    "mlm": ("full-sentences", "doc-sentences"),
    "nsp": ("segment-pairs", "sentence-pairs"),
    "sop": ("sentence-orders",),
    "rtd": ("full-sentences", "doc-sentences"),
}
"""What each objective can read; the first is what it reads where nothing is said."""
LEARNERS: Mapping[ObjectiveName, frozenset[Family]] = {
    "mlm": frozenset({"bert", "roberta", "albert"}),
    "nsp": frozenset({"bert"}),
    "sop": frozenset({"albert"}),
    "rtd": frozenset({"electra"}),
}
"""Families whose class in `transformers` has the heads that an objective asks for."""


class TokenizerRecipe(Frozen):
    """A tokenizer that is trained on the corpus.

    Attributes:
        kind: WordPiece (Devlin et al. 2018), a unigram language model (Kudo 2018), or byte-pair encoding of bytes
            (Radford et al. 2019).
        vocab_size: Pieces, special tokens included; fewer where the corpus gives no more.
        lowercase: Capitals become small letters, and accents go with them, as in the uncased models; otherwise both
            stay. A byte-bpe has no such step.
    """

    kind: TokenizerKind = "wordpiece"
    vocab_size: PositiveInt = 30_522
    lowercase: Annotated[bool, Field(strict=True)] = True

    @model_validator(mode="after")
    def _bytes_keep_their_case(self) -> Self:
        if self.kind == "byte-bpe" and self.lowercase:
            raise ValueError("a byte-bpe tokenizer keeps every byte: set lowercase = false")
        return self


class Generator(Frozen):
    """ELECTRA's generator (Clark et al. 2020, section 3.2): the same architecture, narrower, and the weight λ.

    Attributes:
        share: Of the model's width, heads and feed-forward network.
        weight: Of replaced token detection beside the generator's masked language modelling.
    """

    share: Annotated[Number, Field(gt=0, le=1)] = 0.25
    weight: Annotated[Number, Field(gt=0)] = 50.0


class Longer(Frozen):
    """The last part of a pretraining, on longer inputs (Devlin et al. 2018, appendix A.2).

    It goes on with the rate that a linear decay over the whole would have come to.

    Attributes:
        share: Of the budget.
        max_length: In tokens.
        per_device_train_batch_size: Examples a step and device.
        gradient_accumulation_steps: Batches that share an optimizer step.
        warmup_steps: A share of this part's steps: its optimizer knows nothing of the gradients before it.
    """

    share: Annotated[Number, Field(gt=0, lt=1)] = 0.1
    max_length: PositiveInt = 512
    per_device_train_batch_size: PositiveInt = 32
    gradient_accumulation_steps: PositiveInt = 1
    warmup_steps: Share = 0.0


class Pretraining(Frozen):
    """How a model learns a language from nothing.

    The budget is one of minutes, of tokens, or of the schedule's steps, the first of these that is set. The defaults
    are BERT's; a teacher's file says what differs from what its family was published with.

    Attributes:
        objective: What is learned.
        arrangement: Which sentences make an example together.
        tokenizer: Is trained on the corpus first.
        initial_embeddings: What the embedding table starts from.
        masking: Which tokens are hidden.
        static_copies: So many copies of the corpus, each masked once and for all; 0 draws masks anew each epoch.
        generator: ELECTRA's.
        dropout: While it is pretrained; None is as in the architecture.
        compile: Whether the encoder goes through `torch.compile` on a GPU.
        training: The schedule.
        max_minutes: Of work.
        max_tokens: That are read, padding not counted.
        longer: The part on longer inputs.
        words_first: Whether the part before that learns single hidden tokens and nothing else; words, rows of them, and
            what is asked about two segments come with the longer inputs.
    """

    objective: ObjectiveName = "nsp"
    arrangement: Arrangement = "segment-pairs"
    tokenizer: TokenizerRecipe = TokenizerRecipe()
    initial_embeddings: InitialEmbeddings = "random"
    masking: Masking = Masking()
    static_copies: Annotated[int, Field(strict=True, ge=0)] = 0
    generator: Generator | None = None
    dropout: Share | None = None
    compile: Annotated[bool, Field(strict=True)] = True
    training: Training = Training()
    max_minutes: Annotated[Number, Field(gt=0)] | None = None
    max_tokens: PositiveInt | None = None
    longer: Longer | None = None
    words_first: Annotated[bool, Field(strict=True)] = False

    @model_validator(mode="after")
    def _parts_go_together(self) -> Self:
        find_arrangement(self.objective, self.arrangement)
        if (self.objective == "rtd") != (self.generator is not None):
            raise ValueError("rtd, and it alone, has a generator: mend objective or generator")
        if self.words_first and self.objective not in ("nsp", "sop"):
            raise ValueError(f"{self.objective} asks nothing about segments: leave out words_first")
        if (self.max_minutes or self.max_tokens) and self.training.warmup_steps >= 1:
            raise ValueError("with max_minutes or max_tokens, warmup_steps is a share of these, below 1")
        return self


def find_arrangement(objective: ObjectiveName, name: str) -> Arrangement:
    """The arrangement of a name, if an objective can ask something about it.

    Raises:
        ValueError: It cannot, or there is no such arrangement.
    """
    for arrangement in ARRANGEMENTS[objective]:
        if arrangement == name:
            return arrangement
    raise ValueError(
        f"{objective} cannot be learned from {name}: take {' or '.join(ARRANGEMENTS[objective])}"
    )


Fields = Mapping[str, Any]
BUDGETS = ("max_minutes", "max_tokens")

_WORDPIECE = {"kind": "wordpiece", "vocab_size": 30_522, "lowercase": True}
_ADAM = {"weight_decay": 0.01, "adam_epsilon": 1e-6, "warmup_steps": 10_000}
_PUBLISHED: Mapping[Family, Fields] = {
    "bert": {  # Devlin et al. 2018, appendix A.2: 256 a batch, one million steps, a tenth of them at 512
        "objective": "nsp",
        "arrangement": "segment-pairs",
        "tokenizer": _WORDPIECE,
        "static_copies": 10,
        "longer": {"share": 0.1, "max_length": 512, "per_device_train_batch_size": 256},
        "training": {
            **_ADAM,
            "learning_rate": 1e-4,
            "max_steps": 1_000_000,
            "per_device_train_batch_size": 256,
            "max_length": 128,
        },
    },
    "roberta": {  # Liu et al. 2019, table 9
        "objective": "mlm",
        "arrangement": "full-sentences",
        "tokenizer": {"kind": "byte-bpe", "vocab_size": 50_265, "lowercase": False},
        "training": {
            **_ADAM,
            "learning_rate": 6e-4,
            "max_steps": 500_000,
            "warmup_steps": 24_000,
            "adam_beta2": 0.98,
            "max_grad_norm": 0.0,
            "per_device_train_batch_size": 256,
            "gradient_accumulation_steps": 32,
            "max_length": 512,
        },
    },
    "electra": {  # Clark et al. 2020, table 6: what the sizes have in common
        "objective": "rtd",
        "arrangement": "doc-sentences",
        "tokenizer": _WORDPIECE,
        "masking": {"mask_share": 0.85, "random_share": 0.0},
        "generator": {},
        "training": {
            **_ADAM,
            "learning_rate": 2e-4,
            "max_steps": 766_000,
            "per_device_train_batch_size": 256,
            "max_length": 512,
        },
    },
    "albert": {  # Lan et al. 2019, section 4.1, with AdamW in LAMB's place: BERT's rate, times the root of 16 times its batch
        "objective": "sop",
        "arrangement": "sentence-orders",
        "tokenizer": {"kind": "unigram", "vocab_size": 30_000, "lowercase": True},
        "masking": {"whole_words": True, "max_ngram": 3},
        "training": {
            **_ADAM,
            "learning_rate": 4e-4,
            "max_steps": 125_000,
            "warmup_steps": 3_125,
            "per_device_train_batch_size": 256,
            "gradient_accumulation_steps": 16,
            "max_length": 512,
        },
    },
}
_SMALL: Fields = {
    # In the manner of Cramming (Geiping and Goldstein 2022): one cycle, no dropout, short inputs, a small vocabulary.
    # The first half of the budget goes to very short ones. What a model learns first is to look at a token's neighbours,
    # and while it still looks everywhere alike, each of L tokens has an L-th of its attention: bert-mini left the plateau
    # of frequencies after 2 million tokens in inputs of 32, and was still on it after 5.6 million in inputs of 128.
    # Tokens are dear, so each teaches much: batches are small, more of them is hidden than published, and the table
    # starts from word vectors. bert-mini on film reviews, hold-out below the unigram entropy in inputs of 32: 0.51 nats
    # after 1.6 million tokens as published, 0.65 after 0.6 million so, 0.88 after 0.4 million with word vectors as well.
    "tokenizer": {"vocab_size": 8_192},
    "initial_embeddings": "ppmi-svd",
    "masking": {"probability": 0.4},
    "static_copies": 0,
    "dropout": 0.0,
    "max_minutes": 50.0,
    "longer": {"share": 0.5, "max_length": 128, "per_device_train_batch_size": 16},
    "training": {
        "learning_rate": 1e-3,
        "max_steps": -1,
        "warmup_steps": 0.1,
        "adam_beta2": 0.98,
        "max_grad_norm": 0.5,
        "per_device_train_batch_size": 32,
        "gradient_accumulation_steps": 1,
        "max_length": 32,
    },
}


def usual_pretraining(family: Family, *, small: bool) -> dict[str, Any]:
    """How a family is pretrained where a teacher's file says nothing: as published, or for an hour on two cores."""
    return overlay(overlay({}, _PUBLISHED[family]), _SMALL if small else {})


def complete_pretraining(family: Family, said: Fields, *, small: bool) -> dict[str, Any]:
    """What a teacher's file says, over what its family has; a budget of one kind takes the place of any other."""
    usual, training = usual_pretraining(family, small=small), said.get("training")
    budgeted = {*BUDGETS, "max_steps"} & {*said, *(training if isinstance(training, Mapping) else ())}
    if budgeted:
        usual |= dict.fromkeys(BUDGETS)
    return overlay(usual, said)


def overlay(usual: Fields, changes: Fields) -> dict[str, Any]:
    """Fields with changes on top, table by table."""
    merged = dict(usual)
    for name, value in changes.items():
        below = merged.get(name)
        table = below if isinstance(below, Mapping) else {}
        merged[name] = overlay(table, value) if isinstance(value, Mapping) else value
    return merged


class Pretrainings(Frozen):
    """A teacher's two ways of being pretrained: as published, or within minutes."""

    published: Pretraining = Pretraining()
    small: Pretraining = Pretraining()
