"""Weights and activations in fewer bits, one backend a file."""
