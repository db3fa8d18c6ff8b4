"""Asking backends: one whose bytes are relayed, or several at once, for their answers or for their progress."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial

from arriero.backends.base import Backend
from arriero.backends.http.call import Head, Headers, Upstream
from arriero.errors import ArrieroError, BackendError
from arriero.gateway import heads
from arriero.gateway.attempt import ERROR_BODY_BYTES, Attempt
from arriero.gateway.lane import Lane, reply
from arriero.gateway.library.errand import JSON, NDJSON, Errand
from arriero.gateway.library.outcomes import Outcomes, failure
from arriero.gateway.library.progress import SUCCESS, Hide, Progress
from arriero.gateway.library.tee import Branch
from arriero.gateway.pipes import Relay
from arriero.wire.jsontext import json_text

SUCCEEDED = json_text({"status": SUCCESS})


async def relay(
    errand: Errand,
    backend: Backend,
    body: bytes | AsyncIterator[bytes],
    lane: Lane,
    *,
    whole: bool = False,
    on_head: Callable[[Head], None] = lambda head: None,
) -> None:
    """One backend's answer, its bytes untouched. `whole`: nothing leaves `lane` before the answer is complete.

    Raises the error that came before the first byte; a later one is told in the answer.
    """

    def head_of(head: Head, relayed: bool) -> Headers:
        on_head(head)
        errand.status = head.status
        return heads.to_client(head, backend.private) + errand.marks

    attempt = Attempt(
        lane,
        choose=lambda head: Relay(checked=False),
        head_of=head_of,
        read_error=partial(errand.read_error, backend),
        stream_error=errand.dialect.write_stream_error,
        relay_errors=True,
    )
    courier = await backend.courier()
    error = await attempt.carry(courier, errand.call(backend, courier, body))
    if error is not None and not attempt.told:
        if whole or not lane.started:
            raise error
        errand.error = error
        attempt.tell(error)


async def fetch_each(errand: Errand, bodies: Mapping[str, bytes | Branch]) -> dict[str, Head | ArrieroError]:
    """Ask several for a small answer, each with its own body: its head, or what went wrong."""

    async def fetch(name: str, body: bytes | Branch) -> Head | ArrieroError:
        backend = errand.targets[name].backend
        try:
            courier = await backend.courier()
            head, answer = await courier.fetch(errand.call(backend, courier, body))
        except ArrieroError as error:
            return error
        finally:
            if isinstance(body, Branch):
                body.leave()  # where nothing was sent nobody else does it, and the other branches wait for this one
        return head if 200 <= head.status < 300 else errand.read_error(backend, head, answer)

    async with asyncio.TaskGroup() as group:
        tasks = {name: group.create_task(fetch(name, body)) for name, body in bodies.items()}
    return {name: task.result() for name, task in tasks.items()}


def outcomes_of(answers: Mapping[str, Head | ArrieroError]) -> Outcomes:
    """The same without the heads."""
    return {name: answer if isinstance(answer, ArrieroError) else None for name, answer in answers.items()}


class Chorus:
    """Several backends that are asked at once, and whose progress goes to the client as one.

    `run` ends when all have; then `close` says how it went. `verb` is what was done (`pulled`).
    """

    def __init__(self, errand: Errand, verb: str, *, stream: bool) -> None:
        self._errand = errand
        self._lane = errand.lane
        self._verb = verb
        self._stream = stream
        self._hide: dict[str, Hide] = {}
        self._progress = Progress({name: partial(self._hidden, name) for name in errand.targets})
        self._upstreams: set[Upstream] = set()
        self._paused = False

    async def run(self) -> Outcomes:
        """Ask all. Cancelled, it closes every connection."""
        lane = self._lane
        lane.on_pause, lane.on_resume = self._pause, self._resume
        try:
            async with asyncio.TaskGroup() as group:
                for name in self._errand.targets:
                    group.create_task(self._ask(name))
        finally:
            lane.on_pause = lane.on_resume = None
        return self._progress.outcomes

    def close(self) -> None:
        """The last frame, or the whole answer. Raises the error where nothing has been said yet."""
        error = failure(self._verb, self._progress.outcomes)
        lane = self._lane
        if error is not None:
            if not lane.started:
                raise error
            self._errand.error = error
            lane.write(self._errand.dialect.write_stream_error(error))
            lane.finish()
        elif self._stream:
            self._write(SUCCEEDED + b"\n")
            lane.finish()
        else:
            reply(lane, 200, (JSON, *self._errand.marks), SUCCEEDED)

    async def _ask(self, name: str) -> None:
        backend = self._errand.targets[name].backend
        try:
            courier = await backend.courier()
            self._hide[name] = courier.hide
            voice = _Voice(partial(self._errand.read_error, backend), partial(self._hear, name))
            upstream = await courier.open(self._errand.call(backend, courier, self._errand.inbound.body), voice)
            self._upstreams.add(upstream)
            if self._paused:
                upstream.pause()
            try:
                await voice.ended
            finally:
                self._upstreams.discard(upstream)
                upstream.abort()
        except ArrieroError as error:
            self._write(self._progress.fail(name, error))
        else:
            self._write(self._progress.end(name))

    def _hear(self, name: str, data: bytes) -> bool:
        """Whether the backend may go on."""
        self._write(self._progress.feed(name, data))
        return not self._progress.over(name)

    def _hidden(self, name: str, text: str) -> str:
        return self._hide[name](text) if name in self._hide else text

    def _write(self, data: bytes) -> None:
        if not self._stream or not data:
            return
        if not self._lane.started:
            self._lane.start(200, (NDJSON, *self._errand.marks))
        self._lane.write(data)

    def _pause(self) -> None:
        self._paused = True
        for upstream in self._upstreams:
            upstream.pause()

    def _resume(self) -> None:
        self._paused = False
        for upstream in self._upstreams:
            upstream.resume()


class _Voice:
    """Takes one backend's answer: `ended` is done at its end, and raises where it is an error or was cut."""

    __slots__ = ("_error_body", "_error_bytes", "_head", "_hear", "_read_error", "ended")

    def __init__(self, read_error: Callable[[Head, bytes], BackendError], hear: Callable[[bytes], bool]) -> None:
        self._read_error = read_error
        self._hear = hear
        self._head = Head(0, ())
        self._error_body: list[bytes] = []
        self._error_bytes = 0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_head(self, head: Head) -> None:
        self._head = head

    def on_body(self, data: bytes) -> None:
        if 200 <= self._head.status < 300:
            if not self._hear(data):
                self._end(None)
        elif self._error_bytes < ERROR_BODY_BYTES:
            self._error_body.append(data)
            self._error_bytes += len(data)

    def on_end(self) -> None:
        good = 200 <= self._head.status < 300
        self._end(None if good else self._read_error(self._head, b"".join(self._error_body)))

    def on_error(self, error: BackendError) -> None:
        self._end(error)

    def _end(self, error: BackendError | None) -> None:
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)
