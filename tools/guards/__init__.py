"""The executable guards of the house: import arrows, test files, file sizes. `python -m tools.guards` runs them."""
