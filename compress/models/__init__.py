"""How a student's weights come about."""
