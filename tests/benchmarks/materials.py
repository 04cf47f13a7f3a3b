"""What both sides learn from and with: a teacher, a student, a model that fills in words, and texts.

Weights are random: a matrix product does not take longer for knowing something. They are drawn once and saved, so all
engines load the same. Texts of one length are whole words of the vocabulary, a token each.
"""

from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np

SEED = 0
TOKENIZER = "minilm-l6"
"""BERT's vocabulary, and it is installed with this project."""


@dataclass(frozen=True)
class Size:
    """How much is compared.

    Attributes:
        batch: Texts of a batch.
        length: Tokens of each, special ones included.
        steps: Optimizer steps of an epoch over texts of one length; the first of a turn is not timed.
        own_steps: The same over a task's own texts.
        augmented: Texts that are augmented.
        copies: Copies of each.
        side: Of the matrices by which the machine's peak is measured.
        tiny: Whether the models are tiny.
    """

    batch: int = 32
    length: int = 128
    steps: int = 5
    own_steps: int = 32
    augmented: int = 64
    copies: int = 20
    side: int = 2048
    tiny: bool = False


FULL = Size()
QUICK = Size(batch=4, length=16, steps=3, own_steps=4, augmented=4, copies=2, side=128, tiny=True)


def shapes(size: Size):
    """The architectures of teacher and student."""
    from compress.recipes.resolve import resolve_student, resolve_teacher

    teacher, student = resolve_teacher("bert-base").architecture, resolve_student("albert-tiny").architecture
    if size.tiny:
        small = {"num_attention_heads": 3, "intermediate_size": 48, "hidden_size": 24}
        teacher = teacher.model_copy(update={**small, "num_hidden_layers": 4})
        student = student.model_copy(
            update={**small, "num_hidden_layers": 2, "embedding_size": 8, "hidden_size": 12}
        )
    return teacher, student


def make_models(folder: Path, size: Size) -> None:
    """Write `teacher` and `student`, classifiers of two labels, and `words`, the teacher's shape with an MLM head."""
    from transformers import BertForMaskedLM, BertForSequenceClassification, set_seed
    from transformers.utils.logging import disable_progress_bar

    from compress.encoder import Encoder, build_classifier, build_config, load_tokenizer, save_encoder
    from compress.recipes.resolve import resolve_student
    from compress.sources import resolve_model
    from compress.tasks import resolve_task

    disable_progress_bar()
    tokenizer = load_tokenizer(resolve_model(TOKENIZER, store=folder).path)
    big, small = shapes(size)
    config = build_config(big, "bert", tokenizer)
    task = resolve_task("sample")
    set_seed(SEED)
    save_encoder(Encoder(BertForMaskedLM(config), tokenizer), folder / "words", max_length=size.length)
    config.id2label = dict(enumerate(task.labels))
    config.label2id = {label: number for number, label in config.id2label.items()}
    teacher = Encoder(BertForSequenceClassification(config), tokenizer)
    save_encoder(teacher, folder / "teacher", max_length=size.length)
    recipe = resolve_student("albert-tiny").model_copy(update={"architecture": small})
    student = build_classifier(recipe, tokenizer, task, seed=SEED)
    save_encoder(student, folder / "student", max_length=size.length)


def texts_of_one_length(folder: Path, size: Size):
    """A task whose train split has so many texts, each of `size.length` tokens, that `size.steps` batches are learned."""
    from compress.data.task_data import Split, TaskData, load_task_data
    from compress.distillation.candidates import whole_words
    from compress.encoder import load_tokenizer
    from compress.tasks import resolve_task

    words = np.array(list(whole_words(load_tokenizer(folder / "teacher")).values()))
    draw = np.random.default_rng(SEED)
    rows = _rows_to_learn(size.steps * size.batch)
    texts = [" ".join(draw.choice(words, size=size.length - 2)) for _ in range(rows)]
    sample = load_task_data(resolve_task("sample"))
    labels = np.arange(rows, dtype=np.int64) % 2
    return TaskData(sample.task, Split("train", texts, labels), sample.validation)


def own_texts(task: str, size: Size):
    """A task cut to so many of its own texts that `size.own_steps` batches are learned; labels are the sample task's."""
    from compress.data.task_data import Split, TaskData, load_task_data
    from compress.tasks import resolve_task

    data = load_task_data(resolve_task(task))
    rows = _rows_to_learn(size.own_steps * size.batch)
    chosen = np.sort(np.random.default_rng(SEED).permutation(len(data.train))[:rows])
    train = data.train.select(chosen, name="train")
    sample = load_task_data(resolve_task("sample"))
    return TaskData(sample.task, Split("train", train.texts, train.labels), sample.validation)


def learned(data):
    """The texts that are learned: what the hold-out, drawn by the seed, leaves of the train split."""
    from compress.data.task_data import hold_out_rows

    rows, _ = hold_out_rows(len(data.train), seed=SEED)
    return data.train.select(rows, name="train")


def _rows_to_learn(wanted: int) -> int:
    from compress.data.task_data import count_held_out

    return next(rows for rows in count(wanted) if rows - count_held_out(rows) == wanted)
