"""`python -m runtime.cli`: the command npud, without its script."""

from runtime.cli import program

program()
