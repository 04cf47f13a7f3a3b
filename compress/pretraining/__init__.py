"""Ways to learn a language from documents, one objective a file."""
