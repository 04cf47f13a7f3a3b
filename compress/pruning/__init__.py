"""Structure, depth, vocabulary and weights taken away, one way a file."""
