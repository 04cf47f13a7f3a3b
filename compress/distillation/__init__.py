"""Ways to teach a student, one a file."""
