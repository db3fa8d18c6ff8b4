"""Round trip: what a driver writes, the endpoint of the same dialect reads back; and the other way round."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw, structs

from arriero.canonical.events import Answer, Embeddings, Started
from arriero.canonical.requests import ChatRequest, CompletionRequest, EmbedRequest, Request, ToolCall
from arriero.canonical.stream import fold, unfold
from arriero.dialects.backend_errors import NOBODY
from arriero.dialects.base import Dialect, Endpoint, Target
from arriero.dialects.profiles import profile_of
from arriero.errors import BadRequest
from support.clients import pairs
from support.dialects import DIALECTS, ENDPOINTS, NOW_NS, context, decode, driver_of, encode, name, sample
from support.recordings import Recording, select
from support.values import EMBEDDINGS, answers, chat_requests, completion_requests, embed_requests

TARGET = Target("m", profile_of("llama-server"))
BY_NAME = {dialect.name: dialect for dialect in DIALECTS}


def there_and_back(dialect: Dialect, request: Request) -> tuple[Request, tuple[str, ...]]:
    """The request as a server of this dialect reads it, and what was dropped on the way."""
    outbound = driver_of(dialect, request).encode(request, TARGET)
    (endpoint,) = [found for found in dialect.endpoints if found.relay_path == outbound.path]
    return endpoint.decode(outbound.body), outbound.dropped


def plain(value: Any) -> Any:
    """A request as plain values, with every piece of JSON parsed: spaces in a schema are nobody's business."""
    match value:
        case Raw():
            return pairs(bytes(value).decode())
        case ToolCall(called, arguments, id):
            return ("call", called, pairs(arguments), id)
        case tuple() | list():
            return [plain(item) for item in value]
        case dict():
            return {key: plain(item) for key, item in value.items()}
        case _ if hasattr(value, "__struct_fields__"):
            return (type(value).__name__, {key: plain(item) for key, item in structs.asdict(value).items()})
        case _:
            return value


@given(request=chat_requests("ollama"))
def test_a_conversation_on_the_ollama_wire(request: ChatRequest) -> None:
    back, dropped = there_and_back(BY_NAME["ollama"], request)
    assert (plain(back), dropped) == (plain(request), ())


@given(request=chat_requests("openai"))
def test_a_conversation_on_the_openai_wire(request: ChatRequest) -> None:
    back, dropped = there_and_back(BY_NAME["openai"], request)
    assert (plain(back), dropped) == (plain(request), ())


@pytest.mark.parametrize("dialect", ["ollama", "openai"])
@given(data=st.data())
def test_a_completion(dialect: str, data: st.DataObject) -> None:
    request = data.draw(completion_requests(dialect))
    back, dropped = there_and_back(BY_NAME[dialect], request)
    if dialect == "ollama" and isinstance(back, CompletionRequest):
        # With no suffix the text goes out untouched (`raw`), which this API's clients have to ask for by name.
        back = structs.replace(back, extra={key: value for key, value in back.extra.items() if key != "raw"})
    assert (plain(back), dropped) == (plain(request), ())


@pytest.mark.parametrize("dialect", ["ollama", "openai"])
@given(data=st.data())
def test_texts_to_embed(dialect: str, data: st.DataObject) -> None:
    request: EmbedRequest = data.draw(embed_requests(dialect))
    back, dropped = there_and_back(BY_NAME[dialect], request)
    assert (plain(back), dropped) == (plain(request), ())


def known(answer: Answer) -> Any:
    """An answer without what each exchange has of its own."""
    usage = answer.finished.usage
    parts = [plain(part) for part in answer.parts]
    return (parts, answer.finished.reason, usage.prompt_tokens, usage.completion_tokens)


CHATS = [
    (dialect, endpoint) for dialect, endpoint in ENDPOINTS if endpoint.path in ("/api/chat", "/v1/chat/completions")
]


@pytest.mark.parametrize("served", CHATS, ids=name)
@given(answer=answers())
def test_a_whole_answer(served: tuple[Dialect, Endpoint], answer: Answer) -> None:
    dialect, endpoint = served
    request = sample(endpoint)
    back = driver_of(dialect, request).decode(endpoint.encode(answer, context(request), NOW_NS), NOBODY)
    assert isinstance(back, Answer)
    assert known(back) == known(answer)


@pytest.mark.parametrize("served", CHATS, ids=name)
@given(answer=answers())
def test_a_streamed_answer(served: tuple[Dialect, Endpoint], answer: Answer) -> None:
    dialect, endpoint = served
    request = sample(endpoint)
    events = decode(driver_of(dialect, request), [encode(endpoint, request, unfold(answer))])
    assert isinstance(events[0], Started)
    assert known(fold(events)) == known(answer)


@given(told=EMBEDDINGS)
def test_vectors(told: Embeddings) -> None:
    """The OpenAI wire and /api/embeddings carry vectors as they are; /api/embed makes their length 1."""
    for dialect, endpoint in ENDPOINTS:
        if endpoint.path not in ("/v1/embeddings", "/api/embeddings", "/api/embed"):
            continue
        request = sample(endpoint)
        back = driver_of(dialect, request).decode(endpoint.encode(told, context(request), NOW_NS), NOBODY)
        assert isinstance(back, Embeddings)
        if endpoint.path == "/v1/embeddings":
            assert (back.vectors, back.usage.prompt_tokens) == (told.vectors, told.usage.prompt_tokens)
        elif endpoint.path == "/api/embeddings":
            assert back.vectors == told.vectors[:1]
        else:
            for vector, original in zip(back.vectors, told.vectors, strict=True):
                assert sum(value * value for value in vector) == pytest.approx(1, rel=1e-5)
                largest = max(range(len(original)), key=lambda at: abs(original[at]))
                assert vector[largest] * original[largest] > 0


REQUESTS = [
    found
    for target in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")
    for found in select(target)
    if found.request.body
]


REFUSED = frozenset({"completion_multi_prompt", "completion_token_ids"})
"""What the llama.cpp server takes and the canonical request has no place for: it is refused, not half understood."""


def asked(recording: Recording) -> tuple[Endpoint, bytes]:
    body = {"model": "m", **json.loads(recording.request.body)}
    return BY_NAME["openai"].by_path[recording.request.target], json.dumps(body).encode()


@pytest.mark.parametrize("recording", [found for found in REQUESTS if found.name not in REFUSED], ids=str)
def test_recorded_requests_survive_a_second_trip(recording: Recording) -> None:
    """What a real client sent may be written otherwise, and says the same ever after."""
    endpoint, body = asked(recording)
    once, _ = there_and_back(BY_NAME["openai"], endpoint.decode(body))
    twice, dropped = there_and_back(BY_NAME["openai"], once)
    assert plain(twice) == plain(once)
    assert dropped == ()


@pytest.mark.parametrize("recording", [found for found in REQUESTS if found.name in REFUSED], ids=str)
def test_recorded_requests_that_have_no_place_are_refused(recording: Recording) -> None:
    endpoint, body = asked(recording)
    with pytest.raises(BadRequest, match="not supported, send"):
        endpoint.decode(body)
