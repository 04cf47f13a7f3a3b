"""Losses as pure functions of tensors and masks."""
