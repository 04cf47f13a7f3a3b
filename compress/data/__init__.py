"""Examples: read, checked, tokenized, put into batches."""
