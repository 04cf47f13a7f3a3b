"""Labels are names: how a cell or a number in a task file becomes one, and which names can be told apart."""

from collections.abc import Sequence
from typing import Any


def name_label(value: Any) -> str | None:
    """A label as a name: a word is its own, 1 and 1.0 are "1", true is "true"; None is what can be no label."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return str(int(value))
    return None


def fold_labels(labels: Sequence[str]) -> list[str]:
    """The first labels that differ in case only, for models' labels are matched case apart; empty if none do."""
    same: dict[str, list[str]] = {}
    for label in labels:
        same.setdefault(label.lower(), []).append(label)
    return next((twins for twins in same.values() if len(twins) > 1), [])


def require_distinct(labels: Sequence[str]) -> None:
    """Refuse labels that cannot be told apart.

    Raises:
        ValueError: There are fewer than two, one is empty, or two are the same but for their case.
    """
    if len(set(labels)) < max(2, len(labels)):
        raise ValueError(f"labels must be two or more, all different, not {list(labels)}")
    if not all(label.strip() for label in labels):
        raise ValueError(f"labels are words, and one of {list(labels)} is empty")
    if twins := fold_labels(labels):
        raise ValueError(f"the labels {' and '.join(map(repr, twins))} differ in case only")


def find_unscorable(metrics: Sequence[str], labels: Sequence[str] | None) -> str | None:
    """What is wrong with `f1`, the score of the second of two labels, where there are more; None if nothing."""
    if labels is not None and "f1" in metrics and len(labels) != 2:
        return (
            f"f1 is a score of two labels, and there are {len(labels)}; macro_f1 is the mean over any number"
        )
    return None
