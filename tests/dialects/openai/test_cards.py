"""Entries of model lists, in every vendor's own form."""

import json
from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace

from arriero.canonical.catalog import Capability, ModelCard
from arriero.dialects.openai.cards import MAX_BEYOND_BYTES, card_of
from arriero.dialects.profiles import PROFILES

C = Capability
TALKS = frozenset({C.COMPLETION})
EMBEDS = frozenset({C.EMBEDDING})


def card(entry: object, profile: str = "generic") -> ModelCard | None:
    return card_of(entry, PROFILES[profile])


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
    found = card_of(entry, PROFILES[profile])
    assert found is not None and replace(found, beyond=None) == card
    assert card_of(Raw(json.dumps(entry).encode()), PROFILES[profile]) == found


# ---- what a vendor tells besides ------------------------------------------------------------------------------------


def test_what_a_vendor_tells_besides() -> None:
    entry = {"id": "a/b", "name": "B", "description": "long", "owned_by": "a", "pricing": {"prompt": "0"}, "created": 5}
    beyond = Raw(b'{"name":"B","pricing":{"prompt":"0"}}')
    found = card(entry, "openrouter")
    assert found == ModelCard(id="a/b", display_name="B", owned_by="a", created=5, input_price=0.0, beyond=beyond)


def test_nothing_besides() -> None:
    bare = {"id": "a", "object": "model", "created": 5, "owned_by": "x", "description": "y"}
    assert card(bare, "openai") == ModelCard(id="a", created=5, owned_by="x")
    assert card({"id": "a", "tags": ["x" * MAX_BEYOND_BYTES]}, "openrouter") == ModelCard(id="a")
    # A server of the house tells its own paths there.
    assert card({"id": "a", "root": "/home/me/model.gguf"}, "vllm") == ModelCard(id="a")


def test_a_lone_surrogate_costs_nothing_but_what_the_entry_tells_besides() -> None:
    assert card(Raw(b'{"id":"a","note":"\\ud800"}'), "openrouter") == ModelCard(id="a")


# ---- entries that make no sense -------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", [5, None, {}, {"id": 7}, {"id": ""}, "", [], Raw(b"{"), Raw(b"[]")])
def test_no_model_at_all(entry: object) -> None:
    assert card(entry) is None


@pytest.mark.parametrize("length", [0, -1, True, "8192", None, [], 1e300])
def test_numbers_that_are_none(length: object) -> None:
    assert card({"id": "a", "context_length": length}) == ModelCard(id="a")


def test_a_length_with_a_fraction_of_nothing() -> None:
    assert card({"id": "a", "context_length": 8192.0}) == ModelCard(id="a", context_length=8192)


@pytest.mark.parametrize("id", ["a\nb", " a", "a ", "\x1b[31ma", "x" * 513])
def test_ids_that_nobody_could_ask_for_are_passed_over(id: str) -> None:
    assert (card({"id": id}), card(id)) == (None, None)


@pytest.mark.parametrize("id", ["a b", "a/../b", "x" * 512])
def test_other_odd_ids_are_ids(id: str) -> None:
    assert (card({"id": id}), card(id)) == (ModelCard(id=id), ModelCard(id=id))
