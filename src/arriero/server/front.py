"""What a connection needs of the application behind it."""

from collections.abc import Coroutine
from typing import Any, Protocol

from arriero.backends.http.call import Headers
from arriero.errors import ArrieroError
from arriero.gateway.door import Door
from arriero.gateway.lane import Inbound
from arriero.server.access import Access
from arriero.server.peer import Peers
from arriero.server.routes import Route, Table


class Front(Protocol):
    """The front of an application: its rules, and the way in."""

    table: Table
    access: Access
    peers: Peers
    max_header_bytes: int
    max_body_bytes: int

    def request_id(self, headers: Headers, door: Door) -> str: ...

    def marked(self, door: Door, request_id: str) -> Headers:
        """The fields of every answer at this door."""
        ...

    def error(self, error: ArrieroError, path: str, request_id: str | None = None) -> tuple[int, bytes, bytes]:
        """Status, content type and body in the dialect that the path belongs to. Counts and logs what was refused."""
        ...

    def begin(self, route: Route, inbound: Inbound, lane: Any) -> Coroutine[Any, Any, None] | None:
        """Hand a request to its handler; what comes back has to be awaited."""
        ...
