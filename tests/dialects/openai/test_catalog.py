"""Lists of models: rendered for clients, and read from every vendor's own form."""

import json
from typing import Any

import pytest

from arriero.canonical.catalog import Capability, Listed, ModelCard
from arriero.dialects.openai.catalog import (
    MAX_MODELS,
    Page,
    read_models,
    read_page,
    with_details,
    write_model,
    write_models,
)
from arriero.dialects.profiles import PROFILES
from arriero.errors import BackendBroken, BackendError, BackendFailed, BackendOverloaded, BackendUnauthorized
from support.recordings import load

C = Capability
TALKS = frozenset({C.COMPLETION})
EMBEDS = frozenset({C.EMBEDDING})


def read(body: Any, profile: str = "generic") -> tuple[ModelCard, ...]:
    return read_models(json.dumps(body).encode(), PROFILES[profile])


# ---- for clients ---------------------------------------------------------------------------------------------------


def test_a_list() -> None:
    cards = (
        Listed("tiny:latest", ModelCard(id="tiny", modified_at=1767319445.9)),
        Listed("openai/gpt-4o", ModelCard(id="gpt-4o", created=5, owned_by="openai")),
        Listed("größe", ModelCard(id="größe")),
    )
    assert write_models(cards) == (
        b'{"object":"list","data":['
        b'{"id":"tiny:latest","object":"model","created":1767319445,"owned_by":"library"},'
        b'{"id":"openai/gpt-4o","object":"model","created":5,"owned_by":"openai"},'
        b'{"id":"gr\\u00f6\\u00dfe","object":"model","created":0,"owned_by":"library"}]}\n'
    )


def test_an_empty_list_is_a_list() -> None:
    assert write_models(()) == b'{"object":"list","data":[]}\n'


def test_one_model() -> None:
    assert write_model(Listed("m", ModelCard(id="m", created=5, owned_by="x"))) == (
        b'{"id":"m","object":"model","created":5,"owned_by":"x"}\n'
    )


def test_a_model_without_a_time_has_the_one_that_is_given() -> None:
    assert b'"created":7,' in write_model(Listed("m", ModelCard(id="m")), 7.9)
    assert b'"created":7,' in write_models([Listed("m", ModelCard(id="m"))], 7.9)
    assert b'"created":5,' in write_model(Listed("m", ModelCard(id="m", created=5)), 7.9)


# ---- what a vendor tells besides ------------------------------------------------------------------------------------


def test_an_openai_client_reads_what_a_vendor_tells_besides() -> None:
    entry = {"id": "a/b", "name": "B", "description": "long", "owned_by": "a", "pricing": {"prompt": "0"}, "created": 5}
    (card,) = read([entry], "openrouter")
    assert bytes(card.beyond or b"") == b'{"name":"B","pricing":{"prompt":"0"}}'
    assert write_models([Listed("near/a/b", card)]) == (
        b'{"object":"list","data":[{"id":"near/a/b","object":"model","created":5,"owned_by":"a",'
        b'"name":"B","pricing":{"prompt":"0"}}]}\n'
    )
    assert write_model(Listed("a/b", card)) == (
        b'{"id":"a/b","object":"model","created":5,"owned_by":"a","name":"B","pricing":{"prompt":"0"}}\n'
    )


# ---- pages ---------------------------------------------------------------------------------------------------------

NEXT: dict[str, tuple[str, Any, dict[str, str] | None]] = {
    "a link": (
        "openrouter",
        {"links": {"next": "/api/v1/models?offset=500&limit=500&output_modalities=all"}},
        {"offset": "500", "limit": "500", "output_modalities": "all"},
    ),
    "a link to somewhere else: only its query counts": (
        "openrouter",
        {"links": {"next": "https://evil.example.com/steal?offset=500"}},
        {"offset": "500"},
    ),
    "the last page": ("openrouter", {"links": {"next": None}, "total_count": 9}, None),
    "no links, and more to come": ("openrouter", {"total_count": 9}, {"offset": "7"}),
    "no links, and no more": ("openrouter", {"total_count": 7}, None),
    "a link without a query": ("openrouter", {"links": {"next": "/api/v1/models"}}, None),
    "a link that is none": ("openrouter", {"links": {"next": "http://[::1"}}, None),
    "junk": ("openrouter", {"links": 5, "total_count": "many"}, None),
    "after the last id": ("anthropic", {"has_more": True, "last_id": "b"}, {"after_id": "b"}),
    "nothing after the last id": ("anthropic", {"has_more": False, "last_id": "b"}, None),
    "more, and no id": ("anthropic", {"has_more": True, "last_id": None}, None),
    "a token": ("cohere", {"next_page_token": "t"}, {"page_token": "t"}),
    "no token": ("cohere", {"next_page_token": ""}, None),
    "a vendor without pages": ("openai", {"has_more": True, "last_id": "b", "links": {"next": "/?offset=1"}}, None),
}


@pytest.mark.parametrize("case", NEXT)
def test_the_next_page(case: str) -> None:
    profile, fields, query = NEXT[case]
    body = json.dumps({"data": [{"id": "a"}, {"id": "b"}], **fields}).encode()
    assert read_page(body, PROFILES[profile], 5) == Page((ModelCard(id="a"), ModelCard(id="b")), 2, query)
    if query is None or profile == "openrouter":
        return
    # The slow reader, which takes what is no UTF-8, says the same.
    loose = json.dumps({"data": [], "note": "!", **fields}).encode().replace(b"!", b"\xff")
    assert read_page(loose, PROFILES[profile]).next == query


# ---- lists that nobody has ------------------------------------------------------------------------------------------


def test_a_list_that_is_longer_than_any() -> None:
    found = read_models(b"[" + b",".join(b'"%d"' % n for n in range(MAX_MODELS + 5)) + b"]", PROFILES["generic"])
    assert (len(found), found[-1].id) == (MAX_MODELS, str(MAX_MODELS - 1))
    with pytest.raises(BackendBroken, match="longer than any list of models"):
        read_models(b"[" + b"1," * 2_000_001 + b"1]", PROFILES["generic"])


def test_a_long_text_that_is_no_json_is_not_read_twice() -> None:
    with pytest.raises(BackendBroken, match=r"is not JSON$"):
        read_models(b"<html>" + b" " * 5_000_000, PROFILES["generic"])


def test_a_recorded_llama_server() -> None:
    assert read_models(load("models").response.body, PROFILES["llama-server"]) == (
        ModelCard(
            id="arriero-demo",
            context_length=512,
            embedding_length=128,
            size_bytes=1872384,
            created=1795164672,
            owned_by="llamacpp",
            parameter_count=935040,
            quantization="F16",
        ),
    )


LISTS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "a bare array": ([{"id": "a"}, {"id": "b"}], ("a", "b")),
    "ids alone": (["a", "b"], ("a", "b")),
    "no data": ({"object": "list", "data": None}, ()),
    "data null, and models beside it": ({"data": None, "models": [{"key": "a"}]}, ("a",)),
    "models instead of data": ({"models": [{"name": "a"}]}, ("a",)),
    "null": (None, ()),
    "empty": ({"data": []}, ()),
    "junk between": ({"data": [5, None, {}, {"id": 7}, {"id": ""}, "", {"id": "a"}, []]}, ("a",)),
    "one id twice": ({"data": [{"id": "a"}, {"id": "b"}, {"id": "a"}]}, ("a", "b")),
}


@pytest.mark.parametrize("case", LISTS)
def test_a_list_of_another_form(case: str) -> None:
    body, ids = LISTS[case]
    assert tuple(card.id for card in read(body)) == ids


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "the backend's model list is empty: there is nothing in its answer"),
        (b" \n", "the backend's model list is empty: there is nothing in its answer"),
        (b"<html>", "the backend's model list is not JSON: Expecting value: line 1 column 1 (char 0)"),
        (b"{}", "the backend's model list is no list"),
        (b'{"data":5}', "the backend's model list is no list"),
        (b'{"error":null}', "the backend's model list is no list"),
        (b"7", "the backend's model list is no list"),
        (b'"a"', "the backend's model list is no list"),
        (b'{"x":' * 2000 + b"1" + b"}" * 2000, "~the backend's model list is no"),
    ],
)
def test_no_list_at_all(body: bytes, told: str) -> None:
    with pytest.raises(BackendBroken) as raised:
        read_models(body, PROFILES["generic"])
    message = raised.value.message
    assert message.startswith(told[1:]) if told[0] == "~" else message == told


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (
            b'{"error":{"message":"No auth credentials found","code":401}}',
            (
                BackendUnauthorized,
                502,
                "OpenRouter API error: 401 Unauthorized (look at OPENROUTER_API_KEY, or at api_key of the backend)",
            ),
        ),
        (
            b'{"error":{"message":"slow down","code":429}}',
            (BackendOverloaded, 429, "OpenRouter API error: 429 Too Many Requests: slow down"),
        ),
        (b'{"error":"x"}', (BackendFailed, 502, "OpenRouter API error: x")),
    ],
)
def test_an_error_where_a_list_was_to_be(body: bytes, told: tuple[type[BackendError], int, str]) -> None:
    with pytest.raises(BackendError) as raised:
        read_models(body, PROFILES["openrouter"])
    assert (type(raised.value), raised.value.status, raised.value.message) == told


# ---- pages of details ----------------------------------------------------------------------------------------------

LLAMA = PROFILES["llama-server"]


def test_llama_servers_page_speaks_of_its_only_model() -> None:
    page = (
        b'{"default_generation_settings":{"n_ctx":8192},"chat_template":"x","modalities":{"vision":true},'
        b'"chat_template_caps":{"supports_tools":true}}'
    )
    one, other = ModelCard(id="a", context_length=131072), ModelCard(id="b")
    (better,) = with_details((one,), page, LLAMA)
    assert (better.context_length, better.capabilities) == (
        8192,
        frozenset({Capability.COMPLETION, Capability.TOOLS, Capability.VISION}),
    )
    assert with_details((one, other), page, LLAMA) == (one, other)


def test_lm_studios_other_list_knows_more_of_the_same_models() -> None:
    page = b'{"data":[{"id":"b","type":"llm","max_context_length":32768,"loaded_context_length":4096}]}'
    found = with_details((ModelCard(id="a"), ModelCard(id="b")), page, PROFILES["lmstudio"])
    assert [(card.id, card.context_length) for card in found] == [("a", None), ("b", 4096)]


@pytest.mark.parametrize("page", [b"<html>", b"[]", b"7"])
def test_a_page_that_is_none_is_the_backends_fault(page: bytes) -> None:
    with pytest.raises(BackendBroken):
        with_details((ModelCard(id="a"),), page, LLAMA)
