"""A request in, its needs out; needs and a card in, whether the model can do it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from arriero.canonical.catalog import Capability, ModelCard
from arriero.canonical.requests import (
    Audio,
    ChatRequest,
    CompletionRequest,
    EmbedRequest,
    Image,
    Message,
    Opaque,
    Part,
    Request,
    Sampling,
    Text,
    Thinking,
    Tool,
    ToolCall,
)
from arriero.compose import DIALECTS
from arriero.routing.names import Offer
from arriero.routing.needs import GRANTED_TOKENS, NOTHING, Needs, can, fitting, lacking, needs_of

CHAT = frozenset({Capability.COMPLETION})
TOOL = Tool("f", Raw(b'{"type":"function"}'))  # 19 bytes


def said(*parts: Part) -> tuple[Message, ...]:
    return (Message("user", parts),)


def needs(*words: str, tokens: int = 0) -> Needs:
    return Needs(frozenset(map(Capability, words)), tokens)


def card(*words: str, length: int | None = None) -> ModelCard:
    """One that can do these; without any, nobody says what it can."""
    return ModelCard(id="m", capabilities=frozenset(map(Capability, words)) or None, context_length=length)


HI = said(Text("hi"))


@pytest.mark.parametrize(
    ("request_", "wanted"),
    [
        (ChatRequest(model="m", messages=HI), needs("completion")),
        (ChatRequest(model="m", messages=HI, tools=(TOOL,)), needs("completion", "tools", tokens=5)),
        (ChatRequest(model="m", messages=said(Image(data="aaaaaaaa"))), needs("completion", "vision")),
        (ChatRequest(model="m", messages=(*HI, *said(Audio("aaaaaaaa", "wav")))), needs("completion", "audio")),
        (ChatRequest(model="m", messages=HI, think=True), needs("completion", "thinking")),
        (ChatRequest(model="m", messages=HI, think="high"), needs("completion", "thinking")),
        (ChatRequest(model="m", messages=HI, think=False), needs("completion")),
        (CompletionRequest(model="m", prompt="abcdefgh"), needs("completion", tokens=2)),
        (CompletionRequest(model="m", prompt="abcd", suffix="efgh"), needs("completion", "insert", tokens=2)),
        (CompletionRequest(model="m", prompt="", images=(Image(data="x"),)), needs("completion", "vision")),
        (EmbedRequest(model="m", inputs=("abcdefgh", "a" * 40)), needs("embedding", tokens=10)),
        (EmbedRequest(model="m", inputs=((1, 2, 3), "abcd")), needs("embedding", tokens=3)),
        # One that only loads, or unloads.
        (ChatRequest(model="m"), NOTHING),
        (ChatRequest(model="m", tools=(TOOL,), keep_alive=0), NOTHING),
        (EmbedRequest(model="m"), NOTHING),
    ],
)
def test_what_a_request_needs(request_: Request, wanted: Needs) -> None:
    assert needs_of(request_) == wanted


@pytest.mark.parametrize(
    ("request_", "tokens"),
    [
        # Four characters are a token, over all that the model reads.
        (ChatRequest(model="m", messages=(*said(Text("abcdef")), *said(Text("gh"), Text("ijkl")))), 3),
        (ChatRequest(model="m", messages=said(ToolCall("look", '{"a":1}  ', id="x"))), 3),
        (ChatRequest(model="m", messages=said(Text("abc"))), 0),
        (ChatRequest(model="m", messages=said(Text("\N{OLD ITALIC LETTER A}" * 8))), 2),  # characters, not bytes
        # What is not shown to the model again, or has no length that anybody knows, counts nothing.
        (ChatRequest(model="m", messages=said(Thinking("x" * 400), Opaque("openai", "file", Raw(b'"' * 400)))), 0),
        # The answer that is asked for has to have room too.
        (ChatRequest(model="m", messages=said(Text("a" * 40)), sampling=Sampling(max_tokens=100)), 110),
        (CompletionRequest(model="m", prompt="a" * 40, sampling=Sampling(max_tokens=100)), 110),
        # A context that is asked for by its length is that long, or longer where the prompt is.
        (ChatRequest(model="m", messages=said(Text("a" * 40)), runner={"num_ctx": 32768}), 32768),
        (ChatRequest(model="m", messages=said(Text("a" * 400)), runner={"num_ctx": 10}), 100),
        (ChatRequest(model="m", messages=HI, runner={"num_ctx": "many"}), 0),
        (EmbedRequest(model="m", inputs=("abcd",), runner={"num_ctx": 8192}), 8192),
    ],
)
def test_how_long_the_context_has_to_be(request_: Request, tokens: int) -> None:
    assert needs_of(request_).tokens == tokens


@pytest.mark.parametrize(
    ("path", "body", "wanted"),
    [
        (
            "/api/chat",
            b'{"model":"m","messages":[{"role":"user","content":"what is it?!","images":["aGk="]}],"think":"low",'
            b'"options":{"num_predict":50}}',
            needs("completion", "vision", "thinking", tokens=53),
        ),
        ("/api/generate", b'{"model":"m","prompt":"x","suffix":"y"}', needs("completion", "insert")),
        ("/api/generate", b'{"model":"m"}', NOTHING),
        ("/api/embed", b'{"model":"m","input":["a","b"]}', needs("embedding")),
        (
            "/v1/chat/completions",
            b'{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":'
            b'"data:image/png;base64,aGk="}}]}],"max_completion_tokens":9}',
            needs("completion", "vision", tokens=9),
        ),
        ("/v1/embeddings", b'{"model":"m","input":"abcdefgh"}', needs("embedding", tokens=2)),
    ],
)
def test_as_clients_say_it(path: str, body: bytes, wanted: Needs) -> None:
    dialect = DIALECTS["openai" if path.startswith("/v1/") else "ollama"]
    assert needs_of(dialect.by_path[path].decode(body)) == wanted


@pytest.mark.parametrize(
    ("wanted", "model", "able"),
    [
        # The catalog says what it can do.
        (needs("completion"), card("completion"), True),
        (needs("completion", "vision"), card("completion", "vision", "tools"), True),
        (needs("completion", "vision"), card("completion", "tools"), False),
        (needs("completion"), card("embedding"), False),
        (needs("embedding"), card("completion"), False),
        (NOTHING, card("embedding"), True),
        # Nobody says: that it can chat is taken for granted, and nothing else is.
        (needs("completion"), card(), True),
        (needs("completion", "tools"), card(), None),
        (needs("embedding"), card(), None),
        (NOTHING, card(), True),
        # The length of the context.
        (needs("completion", tokens=8192), card("completion", length=8192), True),
        (needs("completion", tokens=8193), card("completion", length=8192), False),
        (needs("completion", "tools", tokens=9), card(length=8), False),
        (needs("completion", tokens=GRANTED_TOKENS), card("completion"), True),
        (needs("completion", tokens=GRANTED_TOKENS + 1), card("completion"), None),
        (needs("completion", tokens=GRANTED_TOKENS + 1), card(), None),
        (needs("completion", "tools", tokens=GRANTED_TOKENS + 1), card("completion"), False),
    ],
)
def test_whether_a_model_can(wanted: Needs, model: ModelCard, able: bool | None) -> None:
    assert can(wanted, model) is able


@pytest.mark.parametrize(
    ("wanted", "model", "words"),
    [
        (needs("completion", "tools"), card("completion", "tools"), None),
        (needs("completion", "tools"), card(), None),
        (needs("vision", "completion", "tools"), card("embedding"), "it cannot do completion, tools, vision"),
        (needs("completion", tokens=20), card(length=8), "its context of 8 tokens is shorter than 20"),
        (
            needs("completion", "vision", tokens=20),
            card("completion", length=8),
            "it cannot do vision; its context of 8 tokens is shorter than 20",
        ),
    ],
)
def test_why_it_cannot(wanted: Needs, model: ModelCard, words: str | None) -> None:
    assert lacking(wanted, model) == words


SOME_NEEDS = st.builds(Needs, st.frozensets(st.sampled_from(Capability)), st.integers(0, 10_000))
SOME_CARD = st.builds(
    ModelCard,
    id=st.just("m"),
    capabilities=st.none() | st.frozensets(st.sampled_from(Capability), min_size=1),
    context_length=st.none() | st.integers(1, 10_000),
)


@given(SOME_NEEDS, SOME_CARD)
def test_only_what_is_told_denies_and_it_can_be_put_into_words(wanted: Needs, model: ModelCard) -> None:
    assert (can(wanted, model) is False) == (lacking(wanted, model) is not None)
    assert can(wanted, ModelCard(id="m")) is not False
    assert can(NOTHING, model) is True


@given(SOME_NEEDS, st.lists(SOME_CARD, min_size=1, max_size=6))
def test_none_that_can_is_left_out(wanted: Needs, cards: list[ModelCard]) -> None:
    offers = [Offer(str(number), one) for number, one in enumerate(cards)]
    fit = fitting(offers, wanted)
    assert fit == ([one for one in offers if can(wanted, one.card) is not False] or offers)
    assert fit
