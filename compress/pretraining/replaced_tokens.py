"""ELECTRA: a small generator fills in hidden words, and the model tells which words it has replaced."""

from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from transformers import ElectraConfig, ElectraForMaskedLM, PreTrainedModel, set_seed

from compress.encoder import MODEL_INPUTS, load_config, load_weights
from compress.errors import CompressError
from compress.heads import guess_tokens
from compress.losses.masked_lm import IGNORED_LABEL
from compress.losses.replaced_tokens import replaced_tokens_loss
from compress.losses.task import task_loss
from compress.objective import Batch, Judgement, Mean, Objective

GENERATOR_FOLDER = "generator"
"""Beside the discriminator's weights: the generator, which a further stage may go on with."""


class ReplacedTokensObjective(Objective):
    """L_MLM of the generator and, `weight` times, L_disc of the model (Clark et al. 2020, equation in section 2).

    The generator sees the masked text and is asked for the hidden words; at each a word is drawn from its
    distribution. No gradient goes through the draw. A word that happens to be the original counts as original. Both share
    their embeddings, so the table learns from both.

    Args:
        generator: From `build_generator`; learned here and thrown away, or kept beside the model.
        weight: λ, 50 as published.
    """

    def __init__(self, generator: ElectraForMaskedLM, *, weight: float = 50.0) -> None:
        super().__init__()
        self.generator = generator
        self.weight = weight

    def forward(self, model: nn.Module, batch: Batch) -> Judgement:
        """Two terms; what share of words is guessed, of tokens judged rightly, of replaced ones found; and how many these are."""
        labels, mask = batch["labels"], batch["attention_mask"].bool()
        inputs = {name: batch[name] for name in MODEL_INPUTS if name in batch}
        asked = labels != IGNORED_LABEL
        hidden = self.generator.electra(**inputs).last_hidden_state
        logits, words = guess_tokens(self.generator, hidden[asked]).float(), labels[asked]
        shown = fill_in(inputs["input_ids"], labels, draw_tokens(logits))
        replaced = asked & (shown != labels)
        found: Tensor = model(**{**inputs, "input_ids": shown}).logits.float()
        terms = {
            "masked_lm": Mean(task_loss(logits, words), len(words)),
            "replaced_tokens": Mean(self.weight * replaced_tokens_loss(found, replaced, mask), mask.sum()),
        }
        right = ((found > 0) == replaced)[mask].float().mean()
        caught = (found > 0)[replaced].float().mean().nan_to_num()
        measures = {
            "masked_lm_accuracy": Mean((logits.argmax(dim=-1) == words).float().mean(), len(words)),
            "replaced_tokens_accuracy": Mean(right, mask.sum()),
            "replaced_tokens_recall": Mean(caught, replaced.sum()),
            "replaced_tokens_share": Mean(replaced[mask].float().mean(), mask.sum()),
        }
        return Judgement(terms, None, measures)


def draw_tokens(logits: Tensor) -> Tensor:
    """A token of each distribution: `[N, V]` → `[N]`, by the Gumbel trick; no gradient goes through it."""
    noise = torch.empty_like(logits).exponential_().log()  # minus a Gumbel variable
    return (logits.detach() - noise).argmax(dim=-1)


def fill_in(input_ids: Tensor, labels: Tensor, drawn: Tensor) -> Tensor:
    """A masked text with drawn tokens where it was asked for some: `[B, L]`.

    Args:
        input_ids: The masked text, `[B, L]`.
        labels: The original tokens where some are asked for, −100 elsewhere.
        drawn: As many tokens as are asked for, row by row.
    """
    return input_ids.masked_scatter(labels != IGNORED_LABEL, drawn)


def build_generator(model: PreTrainedModel, *, share: float) -> ElectraForMaskedLM:
    """A generator that is a model's own architecture made narrower, and has its embeddings.

    Args:
        model: The discriminator.
        share: Of its width, its heads and its feed-forward network; ¼ to ½ as published (section 3.2).

    Raises:
        ValueError: The width would not be a multiple of the heads.
    """
    whole = model.config
    heads = max(1, round(whole.num_attention_heads * share))
    config = ElectraConfig.from_dict(
        {
            **whole.to_dict(),
            "hidden_size": heads * (whole.hidden_size // whole.num_attention_heads),
            "num_attention_heads": heads,
            "intermediate_size": round(whole.intermediate_size * share),
            "architectures": None,
        }
    )
    return share_embeddings(ElectraForMaskedLM(config), model)


def save_generator(generator: ElectraForMaskedLM, directory: Path) -> None:
    """Leave a generator beside its discriminator, as `transformers` loads it."""
    generator.save_pretrained(directory / GENERATOR_FOLDER)


def find_generator(
    model: PreTrainedModel, before: Path | None, *, share: float, seed: int
) -> ElectraForMaskedLM:
    """The generator that lies beside a discriminator, or a new one where there is none.

    Args:
        model: The discriminator; the generator takes its embeddings.
        before: The directory that it came from, if any.
        share: Of a new one.
        seed: Of a new one's weights.

    Raises:
        CompressError: The one that is there does not fit.
    """
    folder = before / GENERATOR_FOLDER if before else None
    if folder is None or not folder.is_dir():
        set_seed(seed)
        return build_generator(model, share=share)
    generator, report = load_weights(folder, load_config(folder), ElectraForMaskedLM)
    if report["missing_keys"] or report["mismatched_keys"]:
        raise CompressError(f"{folder} holds no whole generator.", "Delete that folder: a new one is drawn.")
    return share_embeddings(cast(ElectraForMaskedLM, generator), model)


def share_embeddings(generator: ElectraForMaskedLM, model: PreTrainedModel) -> ElectraForMaskedLM:
    """Give a generator its discriminator's embeddings, and with them its last layer (section 3.2)."""
    generator.electra.embeddings = cast(nn.Module, model.base_model.embeddings)  # type: ignore[assignment]
    generator.tie_weights()
    return generator
