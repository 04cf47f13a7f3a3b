"""Architectures that `transformers` lacks."""
