"""`python -m compress`."""

from compress.cli.commands import main

if __name__ == "__main__":
    main()
