"""Which texts can be the id of a model at all, whatever its vendor. How names are read is `routing.names`' affair."""

import re

MAX_ID_CHARACTERS = 512

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""What stands in no name."""


def is_id(text: str) -> bool:
    """Whether anybody could ask for a model of this id. A list's entry with a blank around it, a line break in it, or
    without end is passed over: it would stand in clients' lists, and be refused.
    """
    return 0 < len(text) <= MAX_ID_CHARACTERS and text == text.strip() and CONTROL.search(text) is None
