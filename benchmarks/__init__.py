"""Measurements of arriero beside nginx: `make bench`."""
