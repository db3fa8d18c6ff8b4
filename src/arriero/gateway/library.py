"""Library operations: pull, push, create, copy, delete and blobs, carried out by a backend that manages models.

They go, bytes untouched, to the library home: the first healthy backend in configuration order that manages models, or
to the one that the `X-Arriero-Backend` header names. They are never tried twice: half of one may have been done.
"""

import asyncio
import re

from arriero.backends.base import Backend, Want
from arriero.backends.http.call import Call, Head, Headers
from arriero.dialects.base import Dialect
from arriero.errors import (
    ArrieroError,
    BackendError,
    BackendRefused,
    BadRequest,
    ModelMissing,
    NotFound,
    NotImplementedHere,
)
from arriero.gateway import heads
from arriero.gateway.attempt import Attempt
from arriero.gateway.lane import Inbound, Lane, reply
from arriero.gateway.pipes import Relay
from arriero.gateway.roster import Roster

UNSUPPORTED = (
    "no configured backend manages models: {path} needs a backend of kind ollama. "
    "For the embedded engine, put *.gguf files into its models directory"
)

_BLOBS = "/api/blobs/"
_DIGEST = re.compile(r"sha256[:-][0-9a-fA-F]{64}")


class Library:
    """Relays library operations, one at a time for each client's request."""

    def __init__(self, roster: Roster, dialect: Dialect) -> None:
        self._roster = roster
        self._dialect = dialect
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, inbound: Inbound, lane: Lane) -> None:
        """Carry one operation. Answers errors itself."""
        task = asyncio.current_task()
        assert task is not None
        lane.on_gone = task.cancel
        try:
            _check_path(inbound.path)
            await self._relay(inbound, lane, self._home(inbound))
        except ArrieroError as error:
            if not lane.started:
                answer = self._dialect.write_error(error, False)
                reply(lane, answer.status, ((b"content-type", answer.content_type),), answer.body)
        except asyncio.CancelledError:
            if not lane.gone:
                raise
            task.uncancel()
        finally:
            lane.on_gone = lane.on_pause = lane.on_resume = None
            if inbound.method != "HEAD":
                self._later()

    def _home(self, inbound: Inbound) -> Backend:
        wanted = inbound.get(b"x-arriero-backend")
        entries = [entry for entry in self._roster.entries.values() if entry.backend.library]
        if wanted is not None:
            name = wanted.decode("latin-1")
            for entry in entries:
                if entry.backend.name == name:
                    return entry.backend
            raise NotFound(f"no backend named '{name}' manages models")
        well = [entry for entry in entries if entry.healthy is not False]
        if not entries:
            raise NotImplementedHere(UNSUPPORTED.format(path=inbound.path))
        return (well or entries)[0].backend

    async def _relay(self, inbound: Inbound, lane: Lane, backend: Backend) -> None:
        mark = ((b"x-arriero-backend", backend.name.encode()), (b"x-arriero-request-id", inbound.request_id.encode()))

        def head_of(head: Head, relayed: bool) -> Headers:
            return heads.to_client(head) + mark

        def read_error(head: Head, body: bytes) -> BackendError:
            error = self._dialect.read_error(head.status, body, backend.error_type)
            if isinstance(error, ModelMissing):
                # Nobody else is asked: the library home has the last word, as it said it.
                return BackendRefused(error.message, status=head.status)
            return error

        attempt = Attempt(
            lane,
            choose=lambda head: Relay(checked=False),
            head_of=head_of,
            read_error=read_error,
            stream_error=self._dialect.write_stream_error,
            relay_errors=True,
        )
        place = await backend.reach(Want(""))
        try:
            target = place.pool.origin.target(inbound.path)
            length = inbound.get(b"content-length")
            headers = (*backend.headers, (b"x-request-id", inbound.request_id.encode()))
            if inbound.upload is not None and length is not None:
                headers += ((b"content-length", length),)
            call = Call(inbound.method, target, headers, inbound.body if inbound.upload is None else inbound.upload)
            error = await attempt.carry(place.pool, call)
            if error is not None and not attempt.told:
                if not lane.started:
                    raise error
                attempt.tell(error)
        finally:
            place.release(None)

    def _later(self) -> None:
        """The operation may have changed what the backend offers: ask it again, without keeping the client waiting."""
        task = asyncio.create_task(self._roster.refresh())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _check_path(path: str) -> None:
    """Only a digest may stand behind `/api/blobs/`: other text could be another path to the backend, or a query."""
    if path.startswith(_BLOBS) and not _DIGEST.fullmatch(path.removeprefix(_BLOBS)):
        raise BadRequest("invalid digest format")
