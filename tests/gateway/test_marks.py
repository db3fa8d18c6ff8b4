"""By which fields an answer says which way it came: whole tuples, at arriero's doors and at Olla's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

import arriero
from arriero.backends.http.call import Headers
from arriero.errors import (
    ArrieroError,
    BackendFailed,
    BadRequest,
    Busy,
    ModelForbidden,
    ModelNotFound,
    NoBackend,
)
from arriero.gateway.door import FRONT, Door
from arriero.gateway.lane import Inbound
from arriero.gateway.marks import AGENT, FIELD_CHARACTERS, field_text, marks
from arriero.gateway.outcome import Outcome
from arriero.routing.sticky import Stick
from support.lanes import inbound

OLLA = Door("/olla/ollama", "ollama", olla=True)
NS = 1_000_000


def at(door: Door) -> Inbound:
    return replace(inbound("POST", "/api/chat"), door=door)


def answered(**known: object) -> Outcome:
    """A request for `Qwen3` that the backend gpu1 answers."""
    outcome = Outcome(
        model=" Qwen3:4B ",
        backend="gpu1",
        backend_type="ollama",
        backend_model="qwen3:4b",
        reason="loaded",
        attempts=2,
        candidates=3,
        head_ns=at(OLLA).received_ns + 85 * NS + 999_999,
    )
    for name, value in known.items():
        setattr(outcome, name, value)
    return outcome


OWN: Headers = (
    (b"x-arriero-request-id", b"req1"),
    (b"x-arriero-backend", b"gpu1"),
    (b"x-arriero-model", b"qwen3:4b"),
    (b"x-arriero-attempts", b"2"),
    (b"x-arriero-reason", b"loaded"),
)
IDENTITY: Headers = (
    (b"x-olla-endpoint", b"gpu1"),
    (b"x-olla-backend-type", b"ollama"),
    (b"x-olla-model", b"qwen3:4b"),
    (b"x-olla-response-time", b"85ms"),
    (b"x-served-by", AGENT),
    (b"via", b"1.1 " + AGENT),
)


def routing(strategy: bytes, decision: bytes, reason: bytes) -> Headers:
    return (
        (b"x-olla-routing-strategy", strategy),
        (b"x-olla-routing-decision", decision),
        (b"x-olla-routing-reason", reason),
    )


# ---- arriero's own -------------------------------------------------------------------------------------------------


def test_an_answer_at_a_plain_door() -> None:
    assert marks(answered(stick=Stick("hit", "ip")), at(FRONT)) == OWN


def test_what_was_left_out_is_named() -> None:
    assert marks(answered(dropped=("num_ctx", "seed")), at(FRONT)) == (*OWN, (b"x-arriero-dropped", b"num_ctx,seed"))


def test_an_answer_that_no_backend_gave() -> None:
    assert marks(Outcome(model="m"), at(FRONT)) == ((b"x-arriero-request-id", b"req1"),)


# ---- Olla's --------------------------------------------------------------------------------------------------------


def test_an_answer_at_ollas_door() -> None:
    assert marks(answered(), at(OLLA)) == (*OWN, *IDENTITY, *routing(b"strict", b"routed", b"model_found"))


def test_the_agent_names_the_version() -> None:
    assert AGENT.decode() == f"arriero/{arriero.__version__}"


def test_a_backends_own_error_is_an_answer_too() -> None:
    outcome = answered(error=BackendFailed("boom", status=500), strategy="optimistic")
    assert marks(outcome, at(OLLA)) == (*OWN, *IDENTITY, *routing(b"optimistic", b"routed", b"model_found"))


def test_without_a_model_nothing_is_said_of_one() -> None:
    outcome = answered(model=None, backend_model=None)
    assert marks(outcome, at(OLLA)) == (
        *(field for field in OWN if field[0] != b"x-arriero-model"),
        *(field for field in IDENTITY if field[0] != b"x-olla-model"),
    )


def test_without_a_head_there_is_no_time_and_never_less_than_none() -> None:
    none = marks(answered(head_ns=None), at(OLLA))
    assert b"x-olla-response-time" not in dict(none)
    early = marks(answered(head_ns=at(OLLA).received_ns - 5 * NS), at(OLLA))
    assert dict(early)[b"x-olla-response-time"] == b"0ms"


def test_an_alias_says_how_many_it_may_be() -> None:
    outcome = answered(model="Fast", alias="Fast", candidates=3)
    said = dict(marks(outcome, at(OLLA)))
    assert said[b"x-olla-model"] == b"fast"
    assert tuple(said.items())[-3:] == routing(b"alias", b"routed", b'alias "Fast" resolved to 3 endpoint(s)')


def test_an_unlisted_model_that_goes_anywhere() -> None:
    outcome = answered(loose=True, strategy="optimistic")
    assert marks(outcome, at(OLLA))[-3:] == routing(b"optimistic", b"fallback", b"model_not_found_fallback")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ModelNotFound("m"), b"model_not_found"),
        (ModelForbidden("no"), b"model_not_found"),
        (NoBackend("all are offline"), b"model_unavailable"),
        (Busy(), b"model_unavailable"),
    ],
)
@pytest.mark.parametrize(("alias", "strategy"), [(None, b"discovery"), ("fast", b"alias")])
def test_a_refusal(error: ArrieroError, reason: bytes, alias: str | None, strategy: bytes) -> None:
    outcome = Outcome(model="m", error=error, strategy="discovery", alias=alias)
    assert marks(outcome, at(OLLA)) == (
        (b"x-arriero-request-id", b"req1"),
        *routing(strategy, b"rejected", reason),
    )


def test_a_refusal_before_any_model_was_read() -> None:
    assert marks(Outcome(error=BadRequest("no JSON")), at(OLLA)) == ((b"x-arriero-request-id", b"req1"),)


@pytest.mark.parametrize(
    ("stick", "fields"),
    [
        (Stick("disabled"), ((b"x-olla-sticky-session", b"disabled"),)),
        (Stick("miss", "ip"), ((b"x-olla-sticky-session", b"miss"), (b"x-olla-sticky-key-source", b"ip"))),
        (
            Stick("repin", "session_header", "s\u00e9\r\n1"),
            (
                (b"x-olla-sticky-session", b"repin"),
                (b"x-olla-sticky-key-source", b"session_header"),
                (b"x-olla-session-id", b"s\\xe9  1"),
            ),
        ),
    ],
)
def test_what_became_of_the_session(stick: Stick, fields: Headers) -> None:
    said = marks(answered(stick=stick), at(OLLA))
    assert said[-len(fields) :] == fields
    assert marks(answered(stick=stick), at(FRONT)) == OWN


# ---- field values --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", b""),
        ("acme/big:4b", b"acme/big:4b"),
        ("a\r\nx-evil: 1", b"a  x-evil: 1"),
        ("\0\x7f\t", b"   "),
        ("\u30e2\u30c7\u30eb", b"\\u30e2\\u30c7\\u30eb"),
        ("x" * FIELD_CHARACTERS, b"x" * FIELD_CHARACTERS),
        ("x" * (FIELD_CHARACTERS + 1), b"x" * FIELD_CHARACTERS + b"..."),
    ],
)
def test_any_text_becomes_a_field(text: str, value: bytes) -> None:
    assert field_text(text) == value


@given(st.text(max_size=2000))
def test_no_text_breaks_out_of_its_field(text: str) -> None:
    value = field_text(text)
    assert all(32 <= byte < 127 for byte in value)
    assert len(value) <= 10 * FIELD_CHARACTERS + 3
