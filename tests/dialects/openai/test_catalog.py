"""Lists of models: rendered for clients, and read from every vendor's own form."""

import json
from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace

from arriero.canonical.catalog import Capability, Listed, ModelCard
from arriero.dialects.openai.catalog import (
    MAX_MODELS,
    Page,
    Props,
    read_models,
    read_page,
    read_props,
    with_details,
    write_model,
    write_models,
)
from arriero.dialects.profiles import PROFILES
from arriero.errors import BackendBroken
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


# ---- the vendors' forms --------------------------------------------------------------------------------------------

OPENROUTER = {
    "id": "google/gemini-3-flash:free",
    "name": "Google: Gemini 3 Flash (free)",
    "created": 1766000000,
    "context_length": 1048576,
    "architecture": {"input_modalities": ["text", "image", "audio"], "output_modalities": ["text"]},
    "top_provider": {"context_length": 65536, "max_completion_tokens": 8192},
    "supported_parameters": ["tools", "include_reasoning", "max_tokens"],
    "pricing": {"prompt": "0", "completion": "0.0000025", "request": "0"},
}

ENTRIES: dict[str, tuple[str, Any, ModelCard]] = {
    "OpenAI": (
        "openai",
        {"id": "gpt-4o", "object": "model", "created": 1715367049, "owned_by": "system"},
        ModelCard(id="gpt-4o", created=1715367049, owned_by="system"),
    ),
    "OpenRouter": (
        "openrouter",
        OPENROUTER,
        ModelCard(
            id="google/gemini-3-flash:free",
            display_name="Google: Gemini 3 Flash (free)",
            created=1766000000,
            context_length=65536,
            max_output_tokens=8192,
            capabilities=TALKS | {C.VISION, C.AUDIO, C.TOOLS, C.THINKING},
            input_price=0.0,
            output_price=2.5,
        ),
    ),
    "OpenRouter, a router whose price depends": (
        "openrouter",
        {"id": "x/auto", "pricing": {"prompt": "-1", "completion": "cheap"}},
        ModelCard(id="x/auto"),
    ),
    "OpenRouter, embeddings": (
        "openrouter",
        {
            "id": "x/embed",
            "context_length": 8192,
            "architecture": {"input_modalities": ["text"], "output_modalities": ["embeddings"]},
            "top_provider": {"context_length": None},
            "supported_parameters": [],
        },
        ModelCard(id="x/embed", context_length=8192, capabilities=EMBEDS),
    ),
    "OpenRouter, pictures": (
        "openrouter",
        {
            "id": "x/draws",
            "architecture": {"input_modalities": ["text"], "output_modalities": ["image", "text"]},
            "supported_parameters": ["reasoning"],
        },
        ModelCard(id="x/draws", capabilities=TALKS | {C.IMAGE, C.THINKING}),
    ),
    "vLLM": (
        "vllm",
        {"id": "Qwen/Qwen3-8B", "created": 5, "owned_by": "vllm", "root": "x", "max_model_len": 40960},
        ModelCard(id="Qwen/Qwen3-8B", created=5, owned_by="vllm", context_length=40960),
    ),
    "LM Studio, /api/v0": (
        "lmstudio",
        {
            "id": "qwen2-vl-7b",
            "type": "vlm",
            "publisher": "mlx-community",
            "arch": "qwen2_vl",
            "compatibility_type": "mlx",
            "quantization": "4bit",
            "state": "loaded",
            "max_context_length": 32768,
            "loaded_context_length": 4096,
            "capabilities": ["tool_use"],
        },
        ModelCard(
            id="qwen2-vl-7b",
            owned_by="mlx-community",
            family="qwen2_vl",
            format="mlx",
            quantization="4bit",
            context_length=4096,
            capabilities=TALKS | {C.VISION, C.TOOLS},
        ),
    ),
    "LM Studio, not loaded": (
        "lmstudio",
        {"id": "a", "type": "llm", "arch": "llama", "max_context_length": 32768, "capabilities": []},
        ModelCard(id="a", family="llama", context_length=32768, capabilities=TALKS),
    ),
    "LM Studio before it told of tools": (
        "lmstudio",
        {"id": "a", "type": "llm", "arch": "llama", "max_context_length": 32768},
        ModelCard(id="a", family="llama", context_length=32768),
    ),
    "LM Studio, embeddings": (
        "lmstudio",
        {"id": "nomic", "type": "embeddings", "arch": "nomic-bert", "max_context_length": 2048},
        ModelCard(id="nomic", family="nomic-bert", context_length=2048, capabilities=EMBEDS),
    ),
    "LM Studio, /api/v1": (
        "lmstudio",
        {
            "type": "llm",
            "publisher": "google",
            "key": "google/gemma-3-4b",
            "display_name": "Gemma 3 4B",
            "architecture": "gemma3",
            "quantization": {"name": "4bit", "bits_per_weight": 4},
            "size_bytes": 3034755901,
            "params_string": "4B",
            "loaded_instances": [{"id": "x", "config": {"context_length": 8192}}],
            "max_context_length": 131072,
            "format": "mlx",
            "capabilities": {"vision": True, "trained_for_tool_use": False},
        },
        ModelCard(
            id="google/gemma-3-4b",
            owned_by="google",
            display_name="Gemma 3 4B",
            family="gemma3",
            quantization="4bit",
            size_bytes=3034755901,
            parameter_size="4B",
            context_length=8192,
            format="mlx",
            capabilities=TALKS | {C.VISION},
        ),
    ),
    "Mistral": (
        "mistral",
        {
            "id": "codestral-latest",
            "type": "base",
            "created": 5,
            "owned_by": "mistralai",
            "max_context_length": 256000,
            "capabilities": {
                "completion_chat": True,
                "completion_fim": True,
                "function_calling": True,
                "fine_tuning": False,
                "vision": False,
            },
        },
        ModelCard(
            id="codestral-latest",
            created=5,
            owned_by="mistralai",
            context_length=256000,
            capabilities=TALKS | {C.INSERT, C.TOOLS},
        ),
    ),
    "Mistral, embeddings: it says only what they cannot": (
        "mistral",
        {"id": "mistral-embed", "capabilities": {"completion_chat": False, "function_calling": False}},
        ModelCard(id="mistral-embed"),
    ),
    "Together": (
        "together",
        {
            "id": "a/b",
            "type": "chat",
            "organization": "a",
            "display_name": "B",
            "context_length": 8192,
            "created": 0,
            "pricing": {"input": 0.18, "output": 0.2},
        },
        ModelCard(id="a/b", owned_by="a", display_name="B", context_length=8192, input_price=0.18, output_price=0.2),
    ),
    "Together, embeddings": (
        "together",
        {"id": "a/e", "type": "embedding", "context_length": 512},
        ModelCard(id="a/e", context_length=512, capabilities=EMBEDS),
    ),
    "Groq": (
        "groq",
        {
            "id": "llama-3.3-70b",
            "owned_by": "Meta",
            "active": True,
            "context_window": 131072,
            "max_completion_tokens": 32768,
        },
        ModelCard(id="llama-3.3-70b", owned_by="Meta", context_length=131072, max_output_tokens=32768),
    ),
    "Google": (
        "google",
        {"id": "models/gemini-2.5-flash", "object": "model", "owned_by": "google"},
        ModelCard(id="gemini-2.5-flash", owned_by="google"),
    ),
    "xAI": (
        "xai",
        {
            "id": "grok-4.3",
            "created": 5,
            "owned_by": "xai",
            "context_length": 1000000,
            "capabilities": {"reasoning_effort": ["none", "low"]},
        },
        ModelCard(id="grok-4.3", created=5, owned_by="xai", context_length=1000000),
    ),
    "DeepSeek": (
        "deepseek",
        {"id": "deepseek-chat", "object": "model", "owned_by": "deepseek"},
        ModelCard(id="deepseek-chat", owned_by="deepseek"),
    ),
    "Azure": (
        "azure",
        {"id": "my-deployment", "created_at": 5, "capabilities": {"chat_completion": True, "embeddings": False}},
        ModelCard(id="my-deployment", created=5),
    ),
    "Cohere": (
        "cohere",
        {"name": "command-a", "endpoints": ["chat"], "finetuned": False, "context_length": 256000},
        ModelCard(id="command-a", context_length=256000),
    ),
    "Cohere, embeddings": (
        "cohere",
        {"name": "embed-v4.0", "endpoints": ["embed", "classify"], "context_length": 128000.0},
        ModelCard(id="embed-v4.0", context_length=128000, capabilities=EMBEDS),
    ),
    "Fireworks": (
        "fireworks",
        {
            "id": "accounts/a/models/b",
            "owned_by": "a",
            "created": 5,
            "kind": "HF_BASE_MODEL",
            "supports_chat": True,
            "supports_tools": True,
            "context_length": 131072,
        },
        ModelCard(id="accounts/a/models/b", owned_by="a", created=5, context_length=131072),
    ),
    "Fireworks, embeddings": (
        "fireworks",
        {"id": "accounts/a/models/e", "kind": "EMBEDDING_MODEL", "supports_chat": False},
        ModelCard(id="accounts/a/models/e", capabilities=EMBEDS),
    ),
    "Hugging Face": (
        "huggingface",
        {
            "id": "a/b",
            "owned_by": "a",
            "providers": [
                {"provider": "x", "status": "live", "context_length": 131072, "supports_tools": True},
                {"provider": "y", "status": "live", "context_length": 32768},
                {"provider": "z", "status": "staging", "context_length": 4096},
                {"provider": "w", "status": "live"},
            ],
        },
        ModelCard(id="a/b", owned_by="a", context_length=32768),
    ),
    "Anthropic": (
        "anthropic",
        {"type": "model", "id": "claude-x", "display_name": "Claude X", "created_at": "2026-01-02T00:00:00Z"},
        ModelCard(id="claude-x", display_name="Claude X"),
    ),
}


@pytest.mark.parametrize("vendor", ENTRIES)
def test_vendor(vendor: str) -> None:
    profile, entry, card = ENTRIES[vendor]
    (found,) = read({"object": "list", "data": [entry]}, profile)
    assert replace(found, beyond=None) == card


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


def test_nothing_besides() -> None:
    bare = {"id": "a", "object": "model", "created": 5, "owned_by": "x", "description": "y"}
    assert read([bare], "openai") == (ModelCard(id="a", created=5, owned_by="x"),)
    long = {"id": "a", "tags": ["x" * 9000]}
    assert read([long], "openrouter") == (ModelCard(id="a"),)
    # A server of the house tells its own paths there.
    assert read([{"id": "a", "root": "/home/me/model.gguf"}], "vllm") == (ModelCard(id="a"),)


def test_a_lone_surrogate_in_an_entry_costs_nothing_but_what_it_tells_besides() -> None:
    found = read_models(b'{"data":[{"id":"a","note":"\\ud800"},{"id":"b","note":"c"}]}', PROFILES["openrouter"])
    assert found == (ModelCard(id="a"), ModelCard(id="b", beyond=Raw(b'{"note":"c"}')))


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


def test_numbers_that_are_none() -> None:
    lengths: tuple[Any, ...] = (0, -1, True, "8192", None, [], 1e300)
    for length in lengths:
        assert read({"data": [{"id": "a", "context_length": length}]}) == (ModelCard(id="a"),)
    assert read({"data": [{"id": "a", "context_length": 8192.0}]}) == (ModelCard(id="a", context_length=8192),)


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"data":5}', b'{"error":"x"}', b"7", b'"a"'])
def test_no_list_at_all(body: bytes) -> None:
    with pytest.raises(BackendBroken):
        read_models(body, PROFILES["generic"])


# ---- llama-server's own page ---------------------------------------------------------------------------------------


def props(**fields: Any) -> Props:
    return read_props(json.dumps(fields).encode())


def test_recorded_props() -> None:
    body = load("props").response
    assert read_props(body.body) == Props(
        context_length=512,
        capabilities=TALKS,
        template=body.json()["chat_template"],
        model_path="models/arriero-demo-f16.gguf",
        slots=1,
    )


def test_props_of_a_model_that_can_everything() -> None:
    found = props(
        chat_template_caps={"supports_tools": True},
        modalities={"vision": True, "audio": True},
        chat_template="{% if enable_thinking %}<think>{% endif %}",
    )
    assert found.capabilities == TALKS | {C.TOOLS, C.VISION, C.AUDIO, C.THINKING}


def test_props_of_an_older_server() -> None:
    assert props(n_ctx=4096) == Props(context_length=4096)


def test_props_onto_a_card() -> None:
    card = ModelCard(id="a", context_length=8192, owned_by="llamacpp")
    assert Props(context_length=512, capabilities=TALKS).onto(card) == ModelCard(
        id="a", context_length=512, owned_by="llamacpp", capabilities=TALKS
    )
    assert Props().onto(card) == card


@pytest.mark.parametrize("body", [b"", b"[]", b"7"])
def test_props_of_nothing(body: bytes) -> None:
    with pytest.raises(BackendBroken):
        read_props(body)


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
