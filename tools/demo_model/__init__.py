"""Builds the demo model that arriero ships: corpus, training, export and evaluation.

Nothing here is imported at run time. `README.md` says in which order the parts are run.
"""

from __future__ import annotations

from pathlib import Path

SHIPPED = Path(__file__).parents[2] / "src" / "arriero" / "models" / "arriero-demo-q8_0.gguf"
"""The model file that the package carries."""
