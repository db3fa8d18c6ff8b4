"""Why nobody knows a name: not because it is wrong, but because nobody has ever told the models that there are.

These are answers to a client that has asked for a model which is in no list. Whoever has told models once tells them
still; the engine lists files of this machine, and says nothing about the models of others.
"""

from collections.abc import Iterable
from copy import copy

from arriero.errors import ArrieroError, BackendTimeout, BackendUnreachable, NoBackend
from arriero.gateway.entry import Entry
from arriero.routing.fleet import State


def misconfigured(entries: Iterable[Entry]) -> ArrieroError | None:
    """The error of a backend that tells nothing because of how it is configured: the operator has to know."""
    for entry in _silent(entries):
        if entry.state is State.CONFIG_ERROR and entry.error is not None:
            return _own(entry.error)
    return None


def unlisted(entries: Iterable[Entry], now: float) -> ArrieroError | None:
    """The error of a backend that cannot be reached, else one that names those that are not well. `now` is on the
    monotonic clock.
    """
    ill = [entry for entry in _silent(entries) if not entry.well]
    for entry in ill:
        if isinstance(entry.error, BackendUnreachable | BackendTimeout):
            return _own(entry.error)
    if not ill:
        return None
    waits = [entry.cooling_until - now for entry in ill if entry.cooling_until > now]
    told = "; ".join(f"the models of {entry.backend.name} are not known: {_why(entry)}" for entry in ill)
    return NoBackend(told, retry_after=min(waits, default=None))


def _silent(entries: Iterable[Entry]) -> list[Entry]:
    """Those with models of their own to tell, where none of them has ever told any."""
    others = [entry for entry in entries if not entry.backend.curated]
    return [] if any(entry.cards for entry in others) else others


def _own(error: ArrieroError) -> ArrieroError:
    """The same for one request: the entry's own would hold on to it, and to all that came before."""
    return copy(error)


def _why(entry: Entry) -> str:
    return entry.state.value.replace("_", " ") if entry.error is None else entry.error.message
