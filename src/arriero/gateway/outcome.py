"""What is known when an exchange ends. The line that says it is the journal's; a failed attempt has one of its own."""

import structlog
from msgspec import Struct

from arriero.canonical.events import Usage
from arriero.errors import ArrieroError
from arriero.gateway.lane import Inbound
from arriero.routing.sticky import Stick

log = structlog.get_logger("arriero.exchange")

LOG_CHARACTERS = 1024


class Outcome(Struct):
    """Filled in as the exchange goes on; unknown is `None`. `model` is the client's word for it, `backend_model` the
    backend's. `status` is what the client was told. `alias` is the client's word where that was one; `loose`: no
    backend lists the model, and any was taken; `fallback`: it went to another model than the one asked for.
    `candidates` counts the offers to choose from, of an alias the backends that it may lead to; `received_bytes` what
    backends answered. `strategy` is Olla's word for what becomes of unknown models.
    """

    model: str | None = None
    backend: str | None = None
    backend_type: str | None = None
    backend_model: str | None = None
    reason: str | None = None
    attempts: int = 0
    relayed: bool | None = None
    dropped: tuple[str, ...] = ()
    usage: Usage | None = None
    head_ns: int | None = None
    first_byte_ns: int | None = None
    error: ArrieroError | None = None
    status: int | None = None
    received_bytes: int = 0
    alias: str | None = None
    loose: bool = False
    fallback: bool = False
    candidates: int = 0
    strategy: str = "strict"
    stick: Stick | None = None


def report_attempt(outcome: Outcome, inbound: Inbound, error: ArrieroError) -> None:
    """A log line for an attempt that came to nothing, where another backend may be tried."""
    log.warning(
        "attempt failed",
        request_id=inbound.request_id,
        model=brief(outcome.model),
        backend=outcome.backend,
        attempt=outcome.attempts,
        status=error.status,
        error=brief(error.message),
    )


def brief(text: str | None) -> str | None:
    """A text of a client's or a backend's, for the log: it must not grow by what strangers send, nor be anything but
    text.
    """
    if text is None or (text.isprintable() and len(text) <= LOG_CHARACTERS):
        return text
    return printable(text if len(text) <= LOG_CHARACTERS else text[:LOG_CHARACTERS] + "...")


def printable(text: str) -> str:
    """The same, with an escape for every character that would break a line, steer a terminal or turn its text round."""
    if text.isprintable():
        return text
    return "".join([one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text])
