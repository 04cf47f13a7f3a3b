"""Our architectures as those of `transformers`: the same function in more bytes, for those who do not have us."""

from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from compress.errors import CompressError
from compress.models.anatomy import Attention, read_anatomy
from compress.models.head_sizes import PLAIN, is_head_pruned
from compress.models.sharing import is_partially_shared, to_plain_albert

OURS = ("model_type", "head_size", "architectures", "transformers_version")
"""Fields of a configuration that do not go over into another class's."""


def to_plain(model: PreTrainedModel) -> PreTrainedModel:
    """The same function as a model of `transformers`: shared parts are copied, missing heads are zeros.

    Args:
        model: Left as it is, and returned where it is plain already.

    Raises:
        CompressError: Its heads do not fit into its width.
    """
    if is_partially_shared(model):
        model = to_plain_albert(model)
    return pad_heads(model) if is_head_pruned(model) else model


def plain_heads(config: PretrainedConfig) -> tuple[int, int] | None:
    """Number and size of the heads that a plain configuration of the same width has room for.

    They are as many and as wide at least; of the sizes that will do the smallest. None where there is no room.
    """
    hidden, heads, size = config.hidden_size, config.num_attention_heads, config.head_size
    counts = (count for count in range(hidden // size, heads - 1, -1) if hidden % count == 0)
    count = next(counts, None)
    return None if count is None else (count, hidden // count)


@torch.no_grad()
def pad_heads(model: PreTrainedModel) -> PreTrainedModel:
    """Fill the hidden width with heads of zeros, which add nothing to what the others say.

    Where the size of a plain head is larger, rows of zeros fill it, and the queries are scaled for its softmax.

    Raises:
        CompressError: There is no room for the heads that there are.
    """
    config = model.config
    room = plain_heads(config)
    if room is None:
        raise CompressError(
            f"{config.num_attention_heads} heads of size {config.head_size} do not fit into the hidden width "
            f"{config.hidden_size}, which is all that transformers gives them.",
            "Take the artefact as it is: it loads after `import compress`.",
        )
    kind = PLAIN[type(model)]
    fields: dict[str, Any] = {name: value for name, value in config.to_dict().items() if name not in OURS}
    plain = kind(kind.config_class(**{**fields, "num_attention_heads": room[0]}))  # type: ignore[misc]
    plain.to(device=model.device, dtype=model.dtype)  # type: ignore[call-arg]
    own = plain.state_dict()
    fitting = {name: value for name, value in model.state_dict().items() if value.shape == own[name].shape}
    plain.load_state_dict(fitting, strict=False)
    heads = (config.num_attention_heads, room[0])
    pairs = zip(read_anatomy(plain).layers, read_anatomy(model).layers, strict=True)
    for target, given in {mine.attention: theirs.attention for mine, theirs in pairs}.items():
        _pad(target, given, heads, scale=(room[1] / config.head_size) ** 0.5)
    plain.train(model.training)
    return plain


def _pad(target: Attention, given: Attention, heads: tuple[int, int], *, scale: float) -> None:
    for mine, theirs in ((target.query, given.query), (target.key, given.key), (target.value, given.value)):
        _pad_outputs(mine, theirs, heads)
    target.query.weight.mul_(scale)
    target.query.bias.mul_(scale)
    old, new = heads
    target.output.weight.zero_()
    width, rows = given.output.out_features, given.output.in_features // old
    kept = given.output.weight.view(width, old, -1)
    target.output.weight.view(width, new, -1)[:, :old, :rows] = kept
    target.output.bias.copy_(given.output.bias)


def _pad_outputs(target: nn.Linear, given: nn.Linear, heads: tuple[int, int]) -> None:
    old, new = heads
    rows = given.out_features // old
    for mine, theirs in ((target.weight, given.weight), (target.bias, given.bias)):
        mine.zero_().view(new, target.out_features // new, -1)[:old, :rows] = theirs.view(old, rows, -1)
