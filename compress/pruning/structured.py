"""Narrower encoders: neurons, heads, and coordinates of hidden states and of embeddings go for good.

torch-pruning traces the model and finds out which weights hang together (its dependency graph, Fang et al. 2023); the
units are ranked, and the rest is built anew at the smaller sizes, so that it reloads as any other model. Each layer
ranks its own heads and neurons; a layer that is shared does so once for all its uses, and so does a shared part. The
hidden width is the same everywhere, so its coordinates are ranked once.

Each function leaves the model as it is and gives back a smaller one.
"""

from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import replace

import torch
import torch_pruning as tp
from torch import Tensor, nn
from transformers import PreTrainedModel

from compress.models.anatomy import Anatomy, read_anatomy
from compress.models.dimensions import Dimensions, read_dimensions, rebuild
from compress.pruning.importance import Importance, Score

TRACED = 5
"""Tokens of the text that the model is traced on."""


def prune_feed_forward(model: PreTrainedModel, width: int, importance: Importance) -> PreTrainedModel:
    """Keep so many neurons of each feed-forward network.

    Args:
        model: A classifier, with or without shared layers.
        width: Neurons that stay.
        importance: Who judges.
    """
    wanted = replace(read_dimensions(model.config), ffn=width)
    return _Cut(model, importance).cut_feed_forward(width).rebuilt(wanted)


def prune_heads(model: PreTrainedModel, count: int, importance: Importance) -> PreTrainedModel:
    """Keep so many heads of each attention, whole; the hidden width stays.

    The result is of our own architecture (`compress.models.head_sizes`), for its heads do not fill the width.

    Args:
        model: A classifier, with or without shared layers.
        count: Heads that stay.
        importance: Who judges.
    """
    wanted = replace(read_dimensions(model.config), heads=count)
    return _Cut(model, importance).cut_heads(count).rebuilt(wanted)


def prune_hidden(model: PreTrainedModel, width: int, heads: int, importance: Importance) -> PreTrainedModel:
    """Keep so many coordinates of the hidden states, the same in all layers, and so many heads.

    Args:
        model: A classifier, with or without shared layers.
        width: Coordinates that stay; so many units of the layer between encoder and classifier stay, too.
        heads: That stay; where together they are as wide as the hidden states the configuration is a plain one.
        importance: Who judges.
    """
    wanted = replace(read_dimensions(model.config), hidden=width, heads=heads)
    return _Cut(model, importance).cut_heads(heads).cut_hidden(width).rebuilt(wanted)


def prune_embedding(model: PreTrainedModel, width: int, importance: Importance) -> PreTrainedModel:
    """Keep so many columns of factorized embedding tables.

    Args:
        model: A classifier whose tables have a width of their own: ALBERT, most ELECTRAs.
        width: Columns that stay.
        importance: Who judges.
    """
    wanted = replace(read_dimensions(model.config), embedding=width)
    return _Cut(model, importance).cut_embedding(width).rebuilt(wanted)


class _Cut:
    """A copy of a model that is being cut, and what hangs together in it."""

    def __init__(self, model: PreTrainedModel, importance: Importance) -> None:
        self.model = deepcopy(model).requires_grad_(True).eval()  # type: ignore[no-untyped-call]
        self.original = model
        self.sizes: Dimensions = read_dimensions(model.config)
        self.anatomy: Anatomy = read_anatomy(self.model)
        self.model.set_attn_implementation("eager")  # products that the trace sees one by one
        self.graph = tp.DependencyGraph().build_dependency(
            self.model,
            example_inputs={
                "input_ids": torch.full((1, TRACED), model.config.vocab_size - 1).to(model.device)
            },
            output_transform=lambda output: output.logits.sum(),
            verbose=False,
        )
        self.score: Score = importance(self.model)

    def cut_feed_forward(self, width: int) -> "_Cut":
        for inner in _distinct(layer.feed_forward.inner for layer in self.anatomy.layers):
            self._keep(inner, width)
        return self

    def cut_heads(self, count: int) -> "_Cut":
        for query in _distinct(layer.attention.query for layer in self.anatomy.layers):
            self._keep(query, count, size=self.sizes.head_size)
        return self

    def cut_hidden(self, width: int) -> "_Cut":
        self._keep(self.anatomy.layers[0].attention.output, width)
        # BERT and ALBERT have a pooler, RoBERTa and ELECTRA a dense layer in their head: square in a configuration.
        between = self.anatomy.pooler or getattr(self.model.classifier, "dense", None)
        if between is not None:
            self._keep(between, width)
        return self

    def cut_embedding(self, width: int) -> "_Cut":
        self._keep(self.anatomy.tables.word, width)
        return self

    def rebuilt(self, wanted: Dimensions) -> PreTrainedModel:
        return rebuild(self.original, wanted, self.model.state_dict())

    def _keep(self, root: nn.Linear | nn.Embedding, count: int, *, size: int = 1) -> None:
        """Keep `count` units of `size` neighbouring outputs of a map, and whatever hangs on them elsewhere."""
        table = isinstance(root, nn.Embedding)
        prune = tp.prune_embedding_out_channels if table else tp.prune_linear_out_channels
        outputs = root.embedding_dim if isinstance(root, nn.Embedding) else root.out_features
        if count * size == outputs:
            return
        whole = self.graph.get_pruning_group(root, prune, idxs=list(range(outputs)))
        strength = self.score(whole).detach().view(-1, size).sum(dim=1)
        gone = _weakest(strength, len(strength) - count)
        units = (gone[:, None] * size + torch.arange(size)).flatten().tolist()
        self.graph.get_pruning_group(root, prune, idxs=units).prune()


def _weakest(strength: Tensor, count: int) -> Tensor:
    """The indices of the `count` smallest, ascending; of equals the later ones."""
    order = torch.argsort(strength.cpu(), descending=True, stable=True)
    return order[len(order) - count :].sort().values


def _distinct(modules: Iterable[nn.Linear]) -> Sequence[nn.Linear]:
    """Each module once, however many layers share it."""
    return list(dict.fromkeys(modules))
