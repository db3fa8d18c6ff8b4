"""By which header fields an answer says which way it came: arriero's own, and Olla's where Olla's clients ask."""

import re
from functools import lru_cache

import arriero
from arriero.backends.http.call import Headers
from arriero.errors import Busy, ModelForbidden, ModelNotFound, NoBackend, NotImplementedHere
from arriero.gateway.lane import Inbound
from arriero.gateway.outcome import Outcome

FIELD_CHARACTERS = 512
"""A longer name is cut: many clients refuse a longer line."""

AGENT = b"arriero/" + arriero.__version__.encode()

_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


def marks(outcome: Outcome, inbound: Inbound) -> Headers:
    """The fields of every answer of an exchange."""
    fields = [(b"x-arriero-request-id", inbound.request_id.encode())]
    if outcome.backend is not None:
        fields.append((b"x-arriero-backend", field_text(outcome.backend)))
    if outcome.backend_model is not None:
        fields.append((b"x-arriero-model", field_text(outcome.backend_model)))
    if outcome.attempts:
        fields.append((b"x-arriero-attempts", b"%d" % outcome.attempts))
    if outcome.reason is not None:
        fields.append((b"x-arriero-reason", field_text(outcome.reason)))
    if outcome.dropped:
        fields.append((b"x-arriero-dropped", field_text(",".join(outcome.dropped))))
    if inbound.door.olla:
        _add_olla(fields, outcome, inbound)
    return tuple(fields)


def _add_olla(fields: list[tuple[bytes, bytes]], outcome: Outcome, inbound: Inbound) -> None:
    """The request id is not among them: every answer at such a door has it, also those without an exchange."""
    if outcome.backend is not None:
        fields += (
            (b"x-olla-endpoint", field_text(outcome.backend)),
            (b"x-olla-backend-type", field_text(outcome.backend_type or "")),
        )
        if outcome.model is not None:
            fields.append((b"x-olla-model", field_text(outcome.model.strip().lower())))
        if outcome.head_ns is not None:
            took = max(0, outcome.head_ns - inbound.received_ns) // 1_000_000
            fields.append((b"x-olla-response-time", b"%dms" % took))
        fields += ((b"x-served-by", AGENT), (b"via", b"1.1 " + AGENT))
    if outcome.model is not None:
        fields += zip(_ROUTING_FIELDS, map(field_text, _routing(outcome)), strict=True)
    if (stick := outcome.stick) is not None:
        fields.append((b"x-olla-sticky-session", stick.outcome.encode()))
        if stick.source is not None:
            fields.append((b"x-olla-sticky-key-source", stick.source.encode()))
        if stick.session is not None:
            fields.append((b"x-olla-session-id", field_text(stick.session)))


_ROUTING_FIELDS = (b"x-olla-routing-strategy", b"x-olla-routing-decision", b"x-olla-routing-reason")


def _routing(outcome: Outcome) -> tuple[str, str, str]:
    """Strategy, decision and reason, in Olla's words."""
    strategy = "alias" if outcome.alias is not None else outcome.strategy
    match outcome.error:
        case ModelForbidden() | ModelNotFound():
            return strategy, "rejected", "model_not_found"
        case NoBackend() | Busy():
            return strategy, "rejected", "model_unavailable"
        case NotImplementedHere():
            return strategy, "rejected", "not_implemented"
        case _:
            pass
    if outcome.fallback:
        return strategy, "fallback", "model_unavailable_fallback"
    if outcome.alias is not None:
        return strategy, "routed", f'alias "{outcome.alias}" resolved to {outcome.candidates} endpoint(s)'
    if outcome.loose:
        return strategy, "fallback", "model_not_found_fallback"
    return strategy, "routed", "model_found"


def field_text(text: str) -> bytes:
    """A header field's value: model names may hold anything."""
    return _shown(text) if len(text) <= FIELD_CHARACTERS else _shown(text[:FIELD_CHARACTERS]) + b"..."


@lru_cache(maxsize=1024)  # the same few names in every answer
def _shown(text: str) -> bytes:
    return _CONTROL.sub(b" ", text.encode("ascii", "backslashreplace"))
