"""`python -m arriero`."""

from arriero.cli import main

main()
