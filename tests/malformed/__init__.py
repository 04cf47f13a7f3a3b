"""Malformed inputs, generated: what can be wrong with each kind of file, and what the message must name."""

from tests.malformed.cases import KINDS, Case, collect_cases

__all__ = ["KINDS", "Case", "collect_cases"]
