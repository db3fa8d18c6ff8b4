"""What a long operation says while it goes on: one frame after the other, as Ollama's clients read them."""

from collections.abc import Callable
from typing import Final, TypeAlias

from msgspec import Struct

FRAME_SECONDS: Final = 0.06
"""Between two frames of one blob."""


class Frame(Struct, frozen=True, omit_defaults=True):
    """One line of progress. `total` and `completed` are bytes, left out while there are none."""

    status: str
    digest: str = ""
    total: int = 0
    completed: int = 0


Report: TypeAlias = Callable[[Frame], None]
"""Takes each frame as it comes, on the event loop; must not block."""
