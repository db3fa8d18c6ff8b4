"""Builds the demo model that arriero ships: corpus, training, export and evaluation.

Nothing here is imported at run time. `README.md` says in which order the parts are run.
"""
