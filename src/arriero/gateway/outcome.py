"""What is known when an exchange ends, and the two places that say it: the answer's header fields and the log."""

import re
from functools import lru_cache

import structlog
from msgspec import Struct

from arriero.backends.http.call import Headers
from arriero.canonical.events import Usage
from arriero.errors import ArrieroError, Blame
from arriero.gateway.lane import Inbound

log = structlog.get_logger("arriero.exchange")

FIELD_CHARACTERS = 512
"""A longer name is cut in the answer's header fields: many clients refuse a longer line."""

LOG_CHARACTERS = 1024

_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


class Outcome(Struct):
    """Filled in as the exchange goes on; unknown is `None`. `model` is the client's word for it, `backend_model` the
    backend's.
    """

    model: str | None = None
    backend: str | None = None
    backend_model: str | None = None
    reason: str | None = None
    attempts: int = 0
    relayed: bool | None = None
    dropped: tuple[str, ...] = ()
    usage: Usage | None = None
    first_byte_ns: int | None = None
    error: ArrieroError | None = None


def marks(outcome: Outcome, request_id: str) -> Headers:
    """The fields by which every answer says which way it came."""
    fields = [(b"x-arriero-request-id", request_id.encode())]
    if outcome.backend is not None:
        fields.append((b"x-arriero-backend", _field(outcome.backend)))
    if outcome.backend_model is not None:
        fields.append((b"x-arriero-model", _field(outcome.backend_model)))
    if outcome.attempts:
        fields.append((b"x-arriero-attempts", b"%d" % outcome.attempts))
    if outcome.reason is not None:
        fields.append((b"x-arriero-reason", _field(outcome.reason)))
    if outcome.dropped:
        fields.append((b"x-arriero-dropped", _field(",".join(outcome.dropped))))
    return tuple(fields)


def report(outcome: Outcome, inbound: Inbound) -> None:
    """A log line for an exchange that failed, or that left out something the client asked for. Never any content."""
    error = outcome.error
    if error is not None:
        # Whoever has to act reads it: an operator's warning, or the client's own affair.
        say = log.warning if error.blame in (Blame.BACKEND, Blame.GATEWAY) else log.info
        say(
            "exchange failed",
            request_id=inbound.request_id,
            path=inbound.path,
            model=_brief(outcome.model),
            backend=outcome.backend,
            attempts=outcome.attempts,
            status=error.status,
            error=_brief(error.message),
        )
    elif outcome.dropped:
        log.info(
            "parameters dropped",
            request_id=inbound.request_id,
            model=_brief(outcome.model),
            backend=outcome.backend,
            dropped=list(outcome.dropped),
        )


def report_attempt(outcome: Outcome, inbound: Inbound, error: ArrieroError) -> None:
    """A log line for an attempt that came to nothing, where another backend may be tried."""
    log.warning(
        "attempt failed",
        request_id=inbound.request_id,
        model=_brief(outcome.model),
        backend=outcome.backend,
        attempt=outcome.attempts,
        status=error.status,
        error=_brief(error.message),
    )


def _field(text: str) -> bytes:
    """A header field's value: model names may hold anything."""
    return _shown(text) if len(text) <= FIELD_CHARACTERS else _shown(text[:FIELD_CHARACTERS]) + b"..."


@lru_cache(maxsize=1024)  # the same few names in every answer
def _shown(text: str) -> bytes:
    return _CONTROL.sub(b" ", text.encode("ascii", "backslashreplace"))


def _brief(text: str | None) -> str | None:
    """A text of a client's or a backend's, for the log: it must not grow by what strangers send."""
    return text if text is None or len(text) <= LOG_CHARACTERS else text[:LOG_CHARACTERS] + "..."
