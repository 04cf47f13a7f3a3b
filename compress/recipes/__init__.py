"""Teachers and students as data: what a recipe may say, and where recipes are found."""
