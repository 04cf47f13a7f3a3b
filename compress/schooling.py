"""From a command to the stages of a pretraining: from nothing, as a teacher's file says, or from weights that are there.

Everything that can be refused is refused here, before the hours of work.
"""

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from compress.data.corpus import resolve_corpus
from compress.errors import InvalidInputError
from compress.heads import require_learner
from compress.planning import Options, Schooling, change_recipe, decide_training
from compress.recipes.methods import Budget, Masking
from compress.recipes.pretraining import (
    ARRANGEMENTS,
    LEARNERS,
    Arrangement,
    Generator,
    Longer,
    ObjectiveName,
    Pretraining,
    TokenizerRecipe,
    find_arrangement,
    usual_pretraining,
)
from compress.recipes.resolve import resolve_teacher
from compress.recipes.schema import NewModel, Teacher
from compress.recipes.stages import Pretrain
from compress.recipes.values import Training
from compress.sources import STARTING_STAGES, Model, resolve_model
from compress.steps import Step, Workplace

OBJECTIVES: tuple[ObjectiveName, ...] = get_args(ObjectiveName)
BUDGETS: tuple[Budget, ...] = get_args(Budget)
CONTINUED = Training(learning_rate=1e-4, num_train_epochs=1)
"""How weights that are there go on, where nothing else is said."""
POSITIONS_BEFORE_TEXT = {"roberta": 2}
"""Rows of a position table that stand for padding and what comes before it."""


def plan_pretraining(
    teacher: str | None,
    corpus: str,
    workplace: Workplace,
    *,
    source: str | None = None,
    objective: str | None = None,
    seed: int,
    options: Options,
) -> Step:
    """Plan to pretrain a teacher from nothing, or to go on with a model's weights: one of the two is named.

    Raises:
        UnknownNameError: Teacher, model or corpus is unknown.
        InvalidInputError: Both are named, or neither, or an option is wrong.
    """
    if (teacher is None) == (source is None):
        raise InvalidInputError(
            "Pretraining begins either from nothing or from weights: one of both is to be named.",
            "Name a teacher that is made from nothing (compress pretrain bert-mini), or weights (--from MODEL).",
        )
    if source is not None:
        return plan_further_pretraining(
            source, objective or "mlm", corpus, workplace, seed=seed, options=options
        )
    if objective is not None:
        raise InvalidInputError(
            f"{teacher} learns by the objective that its file names.",
            "Leave out --objective, which goes with --from; or change a copy of the file.",
        )
    return plan_first_pretraining(str(teacher), corpus, workplace, seed=seed, options=options)


def plan_first_pretraining(
    teacher: str, corpus: str, workplace: Workplace, *, seed: int, options: Options
) -> Step:
    """Plan to pretrain a teacher from nothing; its part on longer inputs, if it has one, is a stage of its own.

    Args:
        teacher: A teacher's name or file.
        corpus: The documents.
        workplace: Where to work.
        seed: Of everything random.
        options: What the user changes.

    Raises:
        UnknownNameError: There is no such teacher, or no such corpus.
        InvalidInputError: An option is wrong, or contradicts another.
    """
    recipe, given = resolve_teacher(teacher), options.pretraining
    budget = given.budget or "small"
    if budget not in BUDGETS:
        raise InvalidInputError(f"There is no budget {budget!r}.", f"The budgets are: {', '.join(BUDGETS)}.")
    how = _changed(getattr(recipe.pretraining, budget), options)
    inputs: dict[str, Model | Step] = {}
    if given.tokenizer is not None:
        _refuse_together({"--tokenizer": given.tokenizer, "--vocab-size": given.vocab_size})
        inputs["tokenizer"] = resolve_model(given.tokenizer, store=workplace.store, stages=STARTING_STAGES)
    data = resolve_corpus(corpus)

    def step(stage: Pretrain, inputs: Mapping[str, Model | Step]) -> Step:
        _require_positions(recipe, stage.training.max_length)
        details = (_describe(stage),)
        return Step(recipe.name, stage, inputs, data, corpus, seed, workplace.store, details)

    first, *later = _stages(recipe, how, budget, tokenizer=None if inputs else how.tokenizer)
    made = step(first, inputs)
    for stage in later:
        made = step(stage, {"model": made})
    return made


def plan_further_pretraining(
    model: str, objective: str, corpus: str, workplace: Workplace, *, seed: int, options: Options
) -> Step:
    """Plan to go on pretraining a model on documents; heads that it lacks are drawn.

    Args:
        model: A run, a directory, a teacher or a Hub id.
        objective: What it learns.
        corpus: The documents.
        workplace: Where to work.
        seed: Of everything random.
        options: What the user changes.

    Raises:
        UnknownNameError: Model or corpus is unknown.
        InvalidInputError: There is no such objective, the model cannot learn by it, or an option is wrong.
    """
    chosen = next((name for name in OBJECTIVES if name == objective), None)
    if chosen is None:
        raise InvalidInputError(
            f"There is no objective {objective!r}.", f"The objectives are: {', '.join(OBJECTIVES)}."
        )
    given = options.pretraining
    _refuse_where_weights_are(given)
    _refuse_together(_budgets(options))
    source = resolve_model(model, store=workplace.store, stages=STARTING_STAGES)
    require_learner(source.path, objective=chosen)
    stage = Pretrain(
        objective=chosen,
        masking=_usual_masking(source, chosen),
        training=decide_training(CONTINUED, options.training),
        arrangement=_arrangement(chosen, given.arrangement),
        generator=_usual_generator(source) if chosen == "rtd" else None,
    )
    stage = change_recipe(stage, {"max_minutes": given.max_minutes, "max_tokens": given.max_tokens})
    details = (_describe(stage),)
    data = resolve_corpus(corpus)
    return Step(source.name, stage, {"model": source}, data, corpus, seed, workplace.store, details)


def _changed(usual: Pretraining, options: Options) -> Pretraining:
    """A teacher's pretraining with the user's changes: a budget of one kind takes the place of any other.

    The warm-up keeps its share of it.
    """
    given, budgets = options.pretraining, _budgets(options)
    _refuse_together(budgets)
    training = usual.training
    if any(value is not None for value in budgets.values()):
        usual = usual.model_copy(update={"max_minutes": None, "max_tokens": None})
        training = change_recipe(training, {"warmup_steps": training.warmup_share})
    said = {name: getattr(given, name) for name in ("arrangement", "max_minutes", "max_tokens")}
    said["tokenizer"] = change_recipe(usual.tokenizer, {"vocab_size": given.vocab_size})
    said["training"] = decide_training(training, options.training)
    return change_recipe(usual, said)


def _stages(
    recipe: Teacher, how: Pretraining, budget: Budget, *, tokenizer: TokenizerRecipe | None
) -> Iterator[Pretrain]:
    """The whole on one length, or all but the last part and that on longer inputs."""
    same = Pretraining.model_fields.keys() & Pretrain.model_fields.keys() - {"tokenizer"}
    whole = Pretrain(
        new=NewModel(family=recipe.family, architecture=recipe.architecture),
        tokenizer=tokenizer,
        budget=budget,
        **{name: getattr(how, name) for name in same},
    )
    longer = how.longer
    if longer is None or longer.max_length <= how.training.max_length:
        yield whole
        return
    yield _part(whole, 1 - longer.share).model_copy(update=_single_words(how) if how.words_first else {})
    begun = {"new": None, "tokenizer": None, "initial_embeddings": "random"}
    yield _part(whole, longer.share, longer=longer).model_copy(update=begun)


def _single_words(how: Pretraining) -> dict[str, Any]:
    """What the first part asks in a recipe whose words come first: hidden tokens, each by itself."""
    masking = change_recipe(how.masking, {"whole_words": False, "max_ngram": 1})
    return {"objective": "mlm", "arrangement": ARRANGEMENTS["mlm"][0], "masking": masking}


def _part(whole: Pretrain, share: float, *, longer: Longer | None = None) -> Pretrain:
    """A part of a stage's budget; the last one has longer inputs, and the rate that is left."""
    training = whole.training
    changes: dict[str, Any] = {}
    if training.max_steps > 0:
        changes["max_steps"] = max(1, round(share * training.max_steps))
    else:
        changes["num_train_epochs"] = share * training.num_train_epochs
    if longer is not None:
        changes |= longer.model_dump(exclude={"share"})
        changes |= {"learning_rate": share * training.learning_rate}
    return whole.model_copy(
        update={
            "training": change_recipe(training, changes),
            "max_minutes": whole.max_minutes and share * whole.max_minutes,
            "max_tokens": whole.max_tokens and max(1, round(share * whole.max_tokens)),
        }
    )


def _budgets(options: Options) -> dict[str, Any]:
    given = options.pretraining
    return {
        "--max-steps": options.training.get("max_steps"),
        "--num-train-epochs": options.training.get("num_train_epochs"),
        "--max-tokens": given.max_tokens,
        "--max-minutes": given.max_minutes,
    }


def _refuse_together(options: Mapping[str, Any]) -> None:
    said = [name for name, value in options.items() if value is not None]
    if len(said) > 1:
        raise InvalidInputError(f"{' and '.join(said)} contradict each other.", "Give one of them.")


def _refuse_where_weights_are(given: Schooling) -> None:
    said = {"--budget": given.budget, "--tokenizer": given.tokenizer, "--vocab-size": given.vocab_size}
    unheeded = [name for name, value in said.items() if value is not None]
    if unheeded:
        raise InvalidInputError(
            f"{', '.join(unheeded)}: that is for a model that is made from nothing.",
            "Leave it out, or name a teacher in the place of --from.",
        )


def _arrangement(objective: ObjectiveName, given: str | None) -> Arrangement | None:
    """Which sentences make an example of a further pretraining; hidden words alone need no sentences."""
    if given is None:
        return None if objective == "mlm" else ARRANGEMENTS[objective][0]
    try:
        return find_arrangement(objective, given)
    except ValueError as error:
        raise InvalidInputError(f"{error}.", "Mend --arrangement.") from None


def _usual_masking(source: Model, objective: ObjectiveName) -> Masking:
    """BERT's for hidden words alone; for another objective what the only family was published with that learns it."""
    if objective == "mlm":
        return Masking()
    (family,) = LEARNERS[objective]
    return Masking.model_validate(usual_pretraining(family, small=False).get("masking", {}))


def _usual_generator(source: Model) -> Generator:
    """The one that the model was pretrained with here, or ELECTRA's."""
    stage = source.run.run.stage if source.run else None
    return stage.generator if isinstance(stage, Pretrain) and stage.generator else Generator()


def _require_positions(recipe: Teacher, max_length: int) -> None:
    most = recipe.architecture.max_position_embeddings - POSITIONS_BEFORE_TEXT.get(recipe.family, 0)
    if max_length > most:
        raise InvalidInputError(
            f"{recipe.name!r} has positions for {most} tokens, not for {max_length}.",
            f"Set --max-length {most} or less, or more max_position_embeddings in its file.",
        )


def _describe(stage: Pretrain) -> str:
    what = f"{stage.objective} on {stage.arrangement or 'texts'}"
    if stage.max_minutes is not None:
        return f"{what}, {stage.max_minutes:g} minutes"
    return f"{what}, {stage.max_tokens:,} tokens" if stage.max_tokens is not None else what
