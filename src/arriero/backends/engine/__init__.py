"""llama.cpp inside arriero: GGUF files, one supervised child process per loaded model, and when to load and unload.

What is said to a loaded model, and in which dialect, is not decided here.
"""

from typing import Final

DEMO_ID: Final = "arriero-demo:latest"
"""The model inside the package. It stands here, where nobody pays for the rest of the engine."""
