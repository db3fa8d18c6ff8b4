from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from arriero.config import BackendConfig, EngineConfig, OllamaConfig, OpenAIConfig, ScriptedConfig

ADAPTER: TypeAdapter[BackendConfig] = TypeAdapter(BackendConfig)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"kind": "ollama", "url": "http://h:1/"}, OllamaConfig(name="a", url="http://h:1")),
        ({"kind": "engine"}, EngineConfig(name="a")),
        ({"kind": "scripted"}, ScriptedConfig(name="a")),
        ({"kind": "openai", "url": "http://h/v1"}, OpenAIConfig(name="a", url="http://h/v1", profile="generic")),
        (
            {"kind": "openai", "profile": "openrouter"},
            OpenAIConfig(name="a", url="https://openrouter.ai/api/v1", profile="openrouter"),
        ),
        (
            {"kind": "openai", "url": "https://openrouter.ai/api/v1"},
            OpenAIConfig(name="a", url="https://openrouter.ai/api/v1", profile="openrouter"),
        ),
        (
            {"kind": "openai", "url": "http://h/v1", "profile": "vllm"},
            OpenAIConfig(name="a", url="http://h/v1", profile="vllm"),
        ),
    ],
)
def test_kinds(entry: dict[str, Any], expected: BackendConfig) -> None:
    assert ADAPTER.validate_python({"name": "a", **entry}) == expected


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ({}, "kind"),
        ({"kind": "ollama"}, "url"),
        ({"kind": "openai"}, "url"),
        ({"kind": "openai", "profile": "vllm"}, "url"),
        ({"kind": "openai", "profile": "openroute"}, "profile is not known; did you mean openrouter?"),
        ({"kind": "ollama", "url": "http://h", "profile": "vllm"}, "profile"),
        ({"kind": "ollama", "url": "h:1"}, "starts with http"),
        ({"kind": "ollama", "url": "http://h?a=b"}, "must not hold a query or a fragment"),
        ({"kind": "openai", "url": "http://h/v1?api-version=1"}, "query: {api-version: preview}"),
        ({"kind": "openai", "url": "h?a=b"}, "starts with http"),
        ({"kind": "engine", "name": "a/b"}, "may hold only"),
        ({"kind": "engine", "weight": 0}, "greater than 0"),
        ({"kind": "engine", "num_parallel": 0}, "greater than or equal to 1"),
        ({"kind": "engine", "api_key": "x"}, "api_key"),
        ({"kind": "ollama", "url": "http://h", "api_key": "a\nb"}, "line break"),
        ({"kind": "ollama", "url": "http://h", "headers": {"X": "a\r\nb"}}, "line break"),
        ({"kind": "ollama", "url": "http://h", "api_key": "sk-ключ"}, "holds a character that HTTP has no place for"),
        ({"kind": "ollama", "url": "http://h", "headers": {"X Y": "a"}}, "is not the name of a header field"),
    ],
)
def test_entries_that_cannot_be(entry: dict[str, Any], what: str) -> None:
    with pytest.raises(ValidationError, match=what):
        ADAPTER.validate_python({"name": "a", **entry})


@pytest.mark.parametrize("value", [0, "0", None])
def test_0_is_automatic(value: object) -> None:
    engine = EngineConfig.model_validate({"name": "a", "max_loaded": value, "context_length": value, "threads": value})
    assert (engine.max_loaded, engine.context_length, engine.threads) == (None, None, None)


def test_an_empty_key_is_none() -> None:
    assert OllamaConfig.model_validate({"name": "a", "url": "http://h", "api_key": ""}).api_key is None


def test_a_key_from_a_file_of_secrets_loses_its_line_feed() -> None:
    key = OllamaConfig.model_validate({"name": "a", "url": "http://h", "api_key": "k\n"}).api_key
    assert key is not None
    assert key.get_secret_value() == "k"


def test_one_text_is_a_list_of_one() -> None:
    entry = {"name": "a", "kind": "engine", "models": {"include": "x*"}}
    assert ADAPTER.validate_python(entry).models.include == ("x*",)
