"""Backends that are nothing but answers to the gateway's own questions; nothing is ever sent to them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar

from arriero.backends.base import Backend, Want
from arriero.backends.http.call import Headers
from arriero.canonical.catalog import LoadedModel, ModelCard, ModelDetail
from arriero.dialects.profiles import profile_of
from arriero.gateway.entry import Entry, Seat
from arriero.gateway.lane import Lane

Lists = Callable[[], Awaitable[tuple[ModelCard, ...]]]


class Plain:
    """A backend whose answers are set from outside: an exception is raised, a coroutine function is called. `asked`
    holds the questions in the order in which they came: `check`, `list` and `loaded`.
    """

    kind = "openai"
    where = "nowhere"
    roots: ClassVar[Mapping[str, str]] = {"openai": ""}
    headers: Headers = ()
    error_type = "openai_error"
    library = has_memory = curated = forwards_client = silent = False
    broken: ClassVar[Mapping[str, str]] = {}

    def __init__(self, name: str, *ids: str, memory: bool = False) -> None:
        self.name = name
        self.profile = profile_of("generic")
        self.has_memory = memory
        self.asked: list[str] = []
        self.closed = False
        self.check_answer: Any = None
        self.list_answer: Any = tuple(ModelCard(id=id) for id in ids)
        self.loaded_answer: Any = ()

    def offers(self, *ids: str) -> None:
        """It has these models from now on."""
        self.list_answer = tuple(ModelCard(id=id) for id in ids)

    async def check(self) -> None:
        self.asked.append("check")
        await _given(self.check_answer)

    async def list_models(self) -> tuple[ModelCard, ...]:
        self.asked.append("list")
        return await _given(self.list_answer)  # type: ignore[no-any-return]

    async def list_loaded(self) -> tuple[LoadedModel, ...]:
        self.asked.append("loaded")
        return await _given(self.loaded_answer)  # type: ignore[no-any-return]

    def at_hand(self, want: Want) -> None:
        return None

    async def reach(self, want: Want) -> Lane:
        raise AssertionError("nothing is sent here")

    async def show(self, card: ModelCard, verbose: bool) -> ModelDetail:
        return ModelDetail(card=card)

    async def load(self, model: str, keep_alive: float | None) -> None:
        return None

    async def close(self) -> None:
        self.closed = True


async def _given(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return await answer() if callable(answer) else answer


def seated(*backends: Plain, seat: Seat | None = None) -> list[tuple[Backend, Seat]]:
    """Each with a seat of its own, or all with the same kind of seat, as a roster takes them."""
    return [(backend, seat or Seat(check_interval=0)) for backend in backends]  # type: ignore[misc]


def entry_of(name: str, most: int | None = None) -> Entry:
    """A backend that nobody asks, with so many places."""
    ((backend, seat),) = seated(Plain(name), seat=Seat(max_concurrency=most))
    return Entry(backend, seat)


async def settled(turns: int = 20) -> None:
    """Every task has gone as far as it can without the world outside."""
    for _ in range(turns):
        await asyncio.sleep(0)


def names(entries: Sequence[Entry]) -> list[str]:
    """The names of the backends."""
    return [entry.backend.name for entry in entries]
