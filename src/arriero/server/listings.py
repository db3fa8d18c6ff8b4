"""The texts of model lists, kept as long as they are true: a list of thousands takes longer to write than to send.

What a list looks like is the dialects' business, and what stands in it the catalog's; here it is only known when a text
has to be written anew: when the index of names is another one, or another backend is offline.
"""

from collections.abc import Callable, Mapping
from weakref import ReferenceType, ref

from msgspec import Struct

from arriero.gateway.door import Door
from arriero.gateway.entry import Entry
from arriero.routing.fleet import State
from arriero.routing.names import Names

MAX_TEXTS = 8
"""Texts that are kept, the latest asked for: each may have megabytes, and most clients use one door."""


class _Text(Struct, frozen=True):
    """One text with what it was written from. The index itself may go: it is as large as the text."""

    names: ReferenceType[Names]
    offline: frozenset[str]
    body: bytes


class Listings:
    """The texts, by door and form."""

    def __init__(self) -> None:
        self._texts: dict[tuple[Door, str], _Text] = {}

    def text(
        self, door: Door, form: str, names: Names, entries: Mapping[str, Entry], write: Callable[[], bytes]
    ) -> bytes:
        """The list in this form behind this door. `names` and `entries` are what is there now; `write` is called where
        the text that is kept was written from something else.
        """
        offline = frozenset([name for name, entry in entries.items() if entry.state is State.OFFLINE])
        kept = self._texts.pop((door, form), None)
        if kept is None or kept.names() is not names or kept.offline != offline:
            kept = _Text(ref(names), offline, write())
        self._texts[door, form] = kept
        if len(self._texts) > MAX_TEXTS:
            del self._texts[next(iter(self._texts))]
        return kept.body
