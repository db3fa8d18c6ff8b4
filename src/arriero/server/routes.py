"""The routing table: which path and method means what, and what is said where nothing is meant.

Paths are exact, or end in `*` for everything below. A path that misses only by its trailing slash is redirected, an
unknown one is a plain-text 404, a known one with another method a plain-text 405, as Ollama's server has it.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from arriero.backends.http.call import Headers
from arriero.gateway.door import FRONT, Door
from arriero.gateway.lane import Inbound, Lane, reply

Handler: TypeAlias = Callable[[Inbound, Lane], Coroutine[Any, Any, None] | None]
"""Takes a request; what it returns has to be awaited, `None` where the answer comes by callbacks."""

TEXT = (b"content-type", b"text/plain")
JSON: Headers = ((b"content-type", b"application/json"),)

GET_HEAD = ("GET", "HEAD")
"""What a page that is only read is asked by."""


class Route(Struct, frozen=True):
    """One path. `methods` are in the order that `Allow` shows, none for all there are. `streams_upload`: the body is
    not gathered first. `door`: where it stands; its prefix is part of the path. `limited`: it counts for the rates.
    """

    path: str
    methods: tuple[str, ...]
    handler: Handler
    streams_upload: bool = False
    hot: bool = False
    door: Door = FRONT
    limited: bool = False

    def behind(self, door: Door) -> "Route":
        """The same at another door."""
        return replace(self, path=door.prefix + self.path, door=door)

    def inner(self, path: str) -> str:
        """What the handler sees of a path: what stands behind the door's prefix."""
        return path[len(self.door.prefix) :]


class Table:
    """All routes of a server, looked up in one step. `elsewhere`: the door of paths that are behind none."""

    def __init__(self, routes: Sequence[Route], *, elsewhere: Door = FRONT) -> None:
        self.routes = tuple(routes)
        self._elsewhere = elsewhere
        self._doors = sorted({route.door for route in routes if route.door.prefix}, key=lambda door: -len(door.prefix))
        exact: dict[str, list[Route]] = {}
        self._below: list[tuple[str, Route]] = []
        for route in routes:
            if route.path.endswith("*"):
                self._below.append((route.path[:-1], route))
            else:
                exact.setdefault(route.path, []).append(route)
        self._exact: Mapping[str, Sequence[Route]] = exact
        self.hot: Mapping[tuple[str, str], Route] = {
            (route.path, method): route for route in routes if route.hot for method in route.methods
        }

    def find(self, path: str, method: str) -> Route:
        """The route for a request; one that answers 404, 405 or a redirect where there is none."""
        found = self._at(path)
        for route in found:
            if method in route.methods or not route.methods:
                return route
        door = self.door_of(path)
        if found:
            allowed = tuple(m for route in found for m in route.methods)
            return Route(path, (method,), _not_allowed(allowed), door=door)
        other = path[:-1] if path.endswith("/") else path + "/"
        if path != "/" and self._at(other):
            return Route(path, (method,), _redirect(other), door=door)
        return Route(path, (method,), _not_found, door=door)

    def _at(self, path: str) -> Sequence[Route]:
        exact = self._exact.get(path)
        if exact is not None:
            return exact
        return [route for prefix, route in self._below if path.startswith(prefix) and len(path) > len(prefix)]

    def door_of(self, path: str) -> Door:
        """The door that a path stands behind, though nothing may be there."""
        for door in self._doors:
            if path.startswith(door.prefix) and path[len(door.prefix) : len(door.prefix) + 1] in ("", "/"):
                return door
        return self._elsewhere if self._elsewhere.prefix and path.startswith(self._elsewhere.prefix + "/") else FRONT


async def _not_found(inbound: Inbound, lane: Lane) -> None:
    reply(lane, 404, (TEXT,), b"404 page not found")


def _not_allowed(methods: tuple[str, ...]) -> Handler:
    headers: Headers = (TEXT, (b"allow", ", ".join(methods).encode()))

    async def answer(inbound: Inbound, lane: Lane) -> None:
        reply(lane, 405, headers, b"405 method not allowed")

    return answer


def _redirect(path: str) -> Handler:
    async def answer(inbound: Inbound, lane: Lane) -> None:
        status = 301 if inbound.method == "GET" else 307
        where = path.encode() + (b"?" + inbound.query if inbound.query else b"")
        reply(lane, status, ((b"location", where),), b"")

    return answer
