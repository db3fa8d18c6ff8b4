"""What the client of an exchange is told."""

import json

import pytest

from arriero.backends.http.call import Head
from arriero.backends.remote import OpenAI, RemoteSettings
from arriero.canonical.events import Answer, Finished, Reason
from arriero.canonical.requests import ChatRequest, CompletionRequest, Request
from arriero.compose import DIALECTS
from arriero.dialects.backend_errors import NOBODY
from arriero.dialects.base import ErrorAnswer
from arriero.dialects.profiles import profile_of
from arriero.errors import (
    BackendBroken,
    BackendError,
    BackendFailed,
    BackendOverloaded,
    BackendRefused,
    BackendTimeout,
    BackendUnauthorized,
    BackendUnreachable,
    Busy,
)
from arriero.filters.rules import Rule
from arriero.gateway.answering import Answering, at_door, error_answer, owned, read_error
from arriero.gateway.door import FRONT, Door
from arriero.gateway.outcome import Outcome
from arriero.gateway.pipes import Fold, Gather, Transcode
from support.lanes import KeptLane, inbound

OLLAMA = DIALECTS["ollama"]
CHAT = OLLAMA.by_path["/api/chat"]
DRIVER = DIALECTS["openai"].drivers[ChatRequest]
REQUEST = ChatRequest(model="m", stream=True)
ID = (b"x-arriero-request-id", b"req1")


def answering(lane: KeptLane, *rules: Rule, stream: bool = True) -> Answering:
    made = Answering(inbound("POST", "/api/chat"), lane, OLLAMA, CHAT, Outcome(model="m"), rules)
    made.stream = stream
    return made


@pytest.mark.parametrize(
    ("content_type", "stream", "kind"),
    [
        (b"text/event-stream", True, Transcode),
        (b"text/event-stream; charset=utf-8", False, Fold),
        (b"application/x-ndjson", True, Transcode),
        (b"application/json", True, Gather),
        (b"application/json", False, Gather),
        (b"text/plain", True, Transcode),
        (b"text/plain", False, Gather),
    ],
)
def test_the_way_of_a_body(content_type: bytes, stream: bool, kind: type) -> None:
    head = Head(200, ((b"content-type", content_type),))
    assert type(answering(KeptLane(), stream=stream).pipe(head, DRIVER, REQUEST, 0, profile=NOBODY, hide=str)) is kind


@pytest.mark.parametrize(
    ("rules", "request_", "content"),
    [
        ((), REQUEST, {"content": "Hi", "thinking": "Hm"}),
        ((Rule(think_tags=False),), REQUEST, {"content": "<think>Hm</think>Hi"}),
        ((Rule(models=("x",), think_tags=False),), REQUEST, {"content": "Hi", "thinking": "Hm"}),
        ((), CompletionRequest(model="m", prompt=""), {"content": "<think>Hm</think>Hi"}),
    ],
)
def test_tags_become_thinking_in_chats_unless_a_rule_says_otherwise(
    rules: tuple[Rule, ...], request_: Request, content: dict[str, str]
) -> None:
    head = Head(200, ((b"content-type", b"application/json"),))
    pipe = answering(KeptLane(), *rules, stream=False).pipe(head, DRIVER, request_, 0, profile=NOBODY, hide=str)
    pipe.feed(b'{"choices":[{"message":{"content":"<think>Hm</think>Hi"},"finish_reason":"stop"}]}', 1)
    assert json.loads(pipe.close(1))["message"] == {"role": "assistant", **content}


def test_a_head_is_the_backends_where_it_is_relayed_and_the_dialects_where_it_is_not() -> None:
    head = Head(200, ((b"content-type", b"text/x"), (b"set-cookie", b"a=b")))
    assert answering(KeptLane()).head(head, True) == ((b"content-type", b"text/x"), ID)
    assert answering(KeptLane()).head(head, False) == ((b"content-type", b"application/x-ndjson"), ID)
    assert answering(KeptLane(), stream=False).head(head, False) == (
        (b"content-type", b"application/json; charset=utf-8"),
        ID,
    )


def test_an_answer_that_is_made_here_is_whole() -> None:
    lane = KeptLane()
    answering(lane).whole(Answer(finished=Finished(Reason.LOAD)), REQUEST, 0)
    assert (lane.status, lane.headers[0][1], lane.end) == (200, b"application/json; charset=utf-8", "finish")
    assert json.loads(lane.body)["done_reason"] == "load"


def test_an_error_says_when_to_come_again() -> None:
    lane = KeptLane()
    answering(lane).error(Busy(2.4))
    assert (lane.status, lane.field(b"retry-after"), lane.field(b"content-type")) == (503, b"3", b"application/json")
    assert json.loads(lane.body)["error"].startswith("server busy, please try again.")


def test_an_error_never_follows_an_answer() -> None:
    lane = KeptLane()
    lane.start(200, ())
    answering(lane).error(Busy())
    assert lane.body == b""


@pytest.mark.parametrize(("told", "seconds"), [(b"7", 7.0), (b"Fri, 31 Dec 1999 23:59:59 GMT", None), (None, None)])
def test_a_backends_patience_travels_on(told: bytes | None, seconds: float | None) -> None:
    backend = OpenAI(RemoteSettings(name="v", url="http://h/v1", profile=profile_of("generic")))
    head = Head(429, () if told is None else ((b"retry-after", told),))
    error = read_error(DIALECTS["openai"], backend, head, b"slow down")
    assert isinstance(error, BackendOverloaded)
    assert (error.message, error.status, error.retry_after) == ("slow down", 429, seconds)


@pytest.mark.parametrize(
    ("head", "told"),
    [
        (
            Head(307, ((b"location", b"https://h/v2"),)),
            (BackendBroken, 502, "the backend sends its clients elsewhere (HTTP 307 to https://h/v2): look at its url"),
        ),
        (
            Head(200, ((b"content-type", b"text/html"),)),
            (BackendBroken, 502, "the backend answers with a web page (slow down): look at its url"),
        ),
        (Head(400, ()), (BackendRefused, 400, "OpenRouter API error: 400 Bad Request: slow down")),
        # Bytes that nobody can read are nobody's words.
        (Head(400, ((b"content-encoding", b"gzip"),)), (BackendRefused, 400, "OpenRouter API error: 400 Bad Request")),
    ],
)
def test_an_answer_that_is_none_says_what_to_look_at(head: Head, told: tuple[type[BackendError], int, str]) -> None:
    backend = OpenAI(RemoteSettings(name="v", url="http://h/v1", profile=profile_of("openrouter")))
    error = read_error(DIALECTS["openai"], backend, head, b"slow down")
    assert (type(error), error.status, error.message) == told
    assert error.type == "openrouter_error"


def test_a_backends_own_words_stand_where_they_may_and_the_wait_beside_them() -> None:
    failed = BackendFailed("boom", status=503, retry_after=2.1)
    failed.verbatim = (b"application/json", b'{"error":"own"}')
    refused = BackendUnauthorized("bad key")
    refused.verbatim = (b"application/json", b'{"error":"own"}')
    assert error_answer(DIALECTS["ollama"], failed, False, FRONT) == (
        ErrorAnswer(503, b"application/json", b'{"error":"own"}'),
        ((b"retry-after", b"3"),),
    )
    answer, wait = error_answer(DIALECTS["ollama"], refused, False, FRONT)
    assert (answer.status, b"own" in answer.body, wait) == (502, False, ())


def test_a_backend_that_cannot_be_reached_is_a_502_at_ollas_doors_alone() -> None:
    refused, olla = BackendUnreachable("gpu1 refused", retry_after=2.0), Door("/olla/proxy", "proxy", olla=True)
    there = at_door(refused, olla)
    assert (there.status, there.type, there.message, there.retry_after) == (502, "network_error", "gpu1 refused", 2.0)
    assert refused.status == 503 and at_door(refused, FRONT) is refused
    late = BackendTimeout("gpu1 is late")
    assert at_door(late, olla) is late
    statuses = [error_answer(DIALECTS["ollama"], refused, False, door)[0].status for door in (FRONT, olla)]
    assert statuses == [503, 502]


def test_an_error_that_has_no_word_of_its_own_gets_its_backends() -> None:
    backend = OpenAI(RemoteSettings(name="v", url="http://h/v1", profile=profile_of("openrouter")))
    assert owned(BackendBroken("cut"), backend).type == "openrouter_error"
    assert owned(BackendTimeout("late"), backend).type == "network_error"
    assert owned(BackendOverloaded("slow down", status=429), backend).type == "rate_limited"
