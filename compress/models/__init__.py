"""Architectures that `transformers` lacks, and how a student starts from its teacher."""
