"""The command line: options, commands, and where their words go."""
