"""One log line for each exchange: kept for a moment as it ended, written with the others of that moment.

An ordinary logging call and its write cost half of what a request costs; here an exchange adds one tuple. Where the
lines go, and whether anybody there takes them, is the affair of who opens the journal. No line has any of a prompt,
unless the operator asks for it, and no line has a key.
"""

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec
from msgspec import Struct, structs

from arriero.backends.http.call import Headers
from arriero.dialects.base import Operation
from arriero.errors import ArrieroError, Blame, ClientGone, InternalError
from arriero.gateway.lane import Inbound
from arriero.gateway.outcome import Outcome, brief, printable

MOST = 1000
"""So many records wait at most; one more, and all are written."""

WAIT_SECONDS = 0.1
"""How long a record waits for others at most."""

PROMPT_BYTES = 8192
"""So much of a request's body a line holds, where the operator wants it there."""

INFO, WARNING = 20, 30

WELL, FAILED, REFUSED = "exchange", "exchange failed", "request refused"
"""What a line is about."""

STOPPED = "arriero stopped before the answer was complete"

_HIDDEN = "***"
_KEYS = re.compile(
    r'("[^"\\]{0,40}(?:api[-_]?key|authorization|password|secret|access[-_]?token)"\s*:\s*")(?:[^"\\]|\\.)*',
    re.IGNORECASE,
)
_CREDENTIALS = (b"authorization", b"x-api-key", b"api-key")
_NOTHING = Outcome()  # of a request that came to no exchange
_CREDENTIAL_BYTES = 8  # a shorter one stands in innocent words


class Line(Struct, frozen=True):
    """What a line says. Unknown is null. `way` is `relayed` or `translated`; times are milliseconds since the request
    was there as a whole, `dropped` is what the backend cannot be told.
    """

    event: str
    level: str
    timestamp: str
    request_id: str | None
    path: str
    dialect: str | None
    operation: Operation | str | None
    model: str | None
    backend: str | None
    backend_model: str | None
    status: int | None
    attempts: int
    reason: str | None
    way: str | None
    streamed: bool | None
    prompt_tokens: int | None
    completion_tokens: int | None
    first_byte_ms: float | None
    total_ms: float | None
    dropped: tuple[str, ...]
    error: str | None
    error_type: str | None


class Telling(Line, frozen=True):
    """The same with the request's body, which the operator has asked for."""

    body: str


class Cause(Struct, frozen=True):
    """Why there was no answer, as much as a line says. The error itself would keep its traceback, and with it the
    request.
    """

    level: int
    status: int
    type: str
    message: str


Record: TypeAlias = tuple[
    Outcome, Cause | None, str, str, str, str, Operation | str | None, bool | None, int, int, str | None
]
"""What has happened; cause; request id, prefix of the door, path; dialect, operation, streamed; unix nanoseconds of
its begin and end; body."""

Render: TypeAlias = Callable[[Sequence[Line]], bytes]
Write: TypeAlias = Callable[[bytes], None]

as_json: Render = msgspec.json.Encoder().encode_lines
"""Lines as JSON objects, each with its line end."""


class Journal:
    """The lines of one process. Until it is opened nothing is kept.

    `exchanges`: those that went well get a line too, but for what was dropped, which is always told; `prompts`: with
    the request's body. Both may change while it runs.
    """

    def __init__(self, clock: Callable[[], int] = time.time_ns) -> None:
        self._clock = clock
        self._render: Render = as_json
        self._write: Write | None = None
        self._least = WARNING + 1
        self._exchanges, self._prompts = True, False
        self._well = self._info = self._warning = False
        self._records: list[Record] = []
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False
        self._second, self._date = -1, ""

    def open(self, write: Write, render: Render = as_json, least: int = INFO) -> None:
        """From now on lines go to `write`, which must not block. `least` is the level below which nothing is said."""
        self._write, self._render, self._least = write, render, least
        self._agree()

    def settle(self, *, exchanges: bool, prompts: bool) -> None:
        """What the operator wants."""
        self._exchanges, self._prompts = exchanges, prompts
        self._agree()

    def _agree(self) -> None:
        is_open = self._write is not None
        self._info, self._warning = is_open and self._least <= INFO, is_open and self._least <= WARNING
        self._well = self._info and self._exchanges

    # ---- the hot path ----------------------------------------------------------------------------------------------

    def note(
        self,
        outcome: Outcome,
        inbound: Inbound,
        ended_ns: int,
        dialect: str,
        operation: Operation | str | None,
        streamed: bool | None,
    ) -> None:
        """An exchange has ended, in whatever way; nothing of `outcome` changes any more."""
        cause = None
        if outcome.error is not None:
            cause = cause_of(outcome.error)
            if self._stopped and cause.type == ClientGone.type:
                cause = cause_of(InternalError(STOPPED))
            if not self._takes(cause.level):
                return
            outcome = structs.replace(outcome, error=None)
        elif not self._well and not (self._info and outcome.dropped):
            return
        records = self._records
        records.append(
            (
                outcome,
                cause,
                inbound.request_id,
                inbound.door.prefix,
                inbound.path,
                dialect,
                operation,
                streamed,
                inbound.received_ns,
                ended_ns,
                _body(inbound) if self._prompts else None,
            )
        )
        if self._timer is None or len(records) >= MOST:
            self._hurry()

    def _hurry(self) -> None:
        """Write soon, or at once where too many wait."""
        if len(self._records) >= MOST:
            self.flush()
        else:
            self._timer = asyncio.get_running_loop().call_later(WAIT_SECONDS, self.flush)

    # ---- what is rare ----------------------------------------------------------------------------------------------

    def refused(self, error: ArrieroError, path: str, request_id: str | None) -> None:
        """A request that came to no exchange: its client was told this error."""
        cause = cause_of(error)
        if self._takes(cause.level):
            now = self._clock()
            self._records.append((_NOTHING, cause, request_id or "", "", path, "", None, None, now, now, None))
            if self._timer is None:
                self._hurry()

    def stop(self) -> None:
        """From now on no client leaves: whoever is still here is cut."""
        self._stopped = True

    def flush(self) -> None:
        """Write what waits. At the end of the process nobody else does."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        records, self._records = self._records, []
        if records and self._write is not None:
            self._write(self._render([self._line(record) for record in records]))

    def _takes(self, level: int) -> bool:
        return self._warning if level == WARNING else self._info

    def _line(self, record: Record) -> Line:
        outcome, cause, request_id, prefix, path, dialect, operation, streamed, begun_ns, ended_ns, body = record
        usage, first_ns, model, there = outcome.usage, outcome.first_byte_ns, outcome.model, outcome.backend_model
        status = outcome.status
        if cause is not None and status is None:
            status = cause.status
        said = (
            WELL if cause is None else FAILED if outcome is not _NOTHING else REFUSED,
            "info" if cause is None or cause.level == INFO else "warning",
            self._stamp(ended_ns),
            request_id or None,
            brief(prefix + path) or "",
            dialect or None,
            operation,
            brief(model),
            outcome.backend,
            brief(there),
            status,
            outcome.attempts,
            outcome.reason,
            None if outcome.relayed is None else "relayed" if outcome.relayed else "translated",
            streamed,
            None if usage is None else usage.prompt_tokens,
            None if usage is None else usage.completion_tokens,
            None if first_ns is None else _ms(first_ns - begun_ns),
            _ms(ended_ns - begun_ns) if outcome is not _NOTHING else None,
            outcome.dropped,
            None if cause is None else brief(cause.message),
            None if cause is None else cause.type,
        )
        return Line(*said) if body is None else Telling(*said, body)

    def _stamp(self, ns: int) -> str:
        """Unix nanoseconds in the form of the other log lines."""
        second, rest = divmod(ns, 1_000_000_000)
        if second != self._second:
            self._second, self._date = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._date}.{rest // 1000:06d}Z"


def cause_of(error: ArrieroError) -> Cause:
    """What a line says of an error. Whoever has to act reads it: an operator's warning, or the client's own affair."""
    level = WARNING if error.blame in (Blame.BACKEND, Blame.GATEWAY) else INFO
    return Cause(level, error.status, error.type, error.message)


def _ms(ns: int) -> float:
    return ns // 1000 / 1000 if ns > 0 else 0.0  # the wall clock may have been set back meanwhile


def _body(inbound: Inbound) -> str:
    """The request's body as text, cut, and without what is a key by its name or because the client came with it."""
    body = inbound.body
    text = body[:PROMPT_BYTES].decode("utf-8", "replace") + ("..." if len(body) > PROMPT_BYTES else "")
    for value in _credentials(inbound.headers):
        text = text.replace(value, _HIDDEN)
    return printable(_KEYS.sub(rf"\g<1>{_HIDDEN}", text))


def _credentials(headers: Headers) -> Sequence[str]:
    found = [value.rpartition(b" ")[2].decode("latin-1") for name, value in headers if name in _CREDENTIALS]
    return [value for value in found if len(value) >= _CREDENTIAL_BYTES]
