"""arriero: one door for every model a person can reach."""

__version__ = "0.1.0"
