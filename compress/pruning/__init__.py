"""What is taken away of a finished model: widths, heads, layers, single weights; each a function from model to model."""
