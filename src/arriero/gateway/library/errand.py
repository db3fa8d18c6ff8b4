"""One library request on its way: what came in, who it goes to, and how a backend is asked."""

from collections.abc import AsyncIterator, Mapping

from msgspec import Struct

from arriero.backends.base import Backend, Courier
from arriero.backends.http.call import Call, Head, Headers
from arriero.dialects.base import Dialect
from arriero.errors import ArrieroError, BackendError, BackendRefused, ModelMissing
from arriero.gateway import heads
from arriero.gateway.answering import read_error
from arriero.gateway.entry import Entry
from arriero.gateway.kinds import type_of
from arriero.gateway.lane import Inbound, Lane
from arriero.gateway.marks import marks
from arriero.gateway.outcome import Outcome

NDJSON = (b"content-type", b"application/x-ndjson")
JSON = (b"content-type", b"application/json")


class Errand(Struct):
    """`targets` are those that are asked, empty as long as nobody is. `seen`: the listings show what was done. `model`,
    `status` and `error` are for the log: of what, what the client was told, and why it came to nothing.
    """

    inbound: Inbound
    lane: Lane
    dialect: Dialect
    targets: Mapping[str, Entry] = {}
    seen: bool = False
    model: str | None = None
    status: int | None = None
    error: ArrieroError | None = None

    def go_to(self, targets: Mapping[str, Entry]) -> None:
        """These are asked: none of them is closed, wherever the fleet goes meanwhile, until `end`."""
        self.targets = targets
        for entry in targets.values():
            entry.errands += 1

    def end(self) -> None:
        """Nobody is asked any more."""
        for entry in self.targets.values():
            entry.errands -= 1

    @property
    def outcome(self) -> Outcome:
        """What is known by now, for the log."""
        return Outcome(
            model=self.model,
            backend=",".join(self.targets) or None,
            attempts=len(self.targets),
            status=self.status,
            error=self.error,
        )

    @property
    def marks(self) -> Headers:
        """The fields by which the answer says who was asked."""
        backend = ",".join(self.targets) or None
        types = {type_of(entry.backend): None for entry in self.targets.values()}
        return marks(Outcome(backend=backend, backend_type=",".join(types)), self.inbound)

    def call(self, backend: Backend, courier: Courier, body: bytes | AsyncIterator[bytes]) -> Call:
        """What goes out to one backend."""
        rendered = heads.to_backend(backend, self.inbound)
        length = self.inbound.get(b"content-length")
        told = ((b"content-length", length),) if not isinstance(body, bytes) and length is not None else ()
        target = courier.target(self.inbound.path)
        return Call(self.inbound.method, target, told, body, rendered=rendered, once=True)

    def read_error(self, backend: Backend, head: Head, body: bytes) -> BackendError:
        """A backend's error answer. That it has no such model is its last word: nobody else is asked."""
        error = read_error(self.dialect, backend, head, body)
        if isinstance(error, ModelMissing):
            return BackendRefused(error.message, status=head.status, type=error.type)
        return error
