from typing import Any

import pytest
from pydantic import ValidationError

from arriero.config import Config, ConfigError
from arriero.config.problems import dotted, explain, keys_at, nearest


def sentences(data: dict[str, Any]) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        Config.model_validate(data)
    return explain(caught.value, dotted)


E = {"name": "e", "kind": "engine"}


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"servr": 1}, "servr: unknown key; the nearest known one is 'server'"),
        ({"server": {"prot": 1}}, "server.prot: unknown key; the nearest known one is 'port'"),
        (
            {"routing": {"retry": {"tries": 1}}},
            "routing.retry.tries: unknown key; the nearest known one is 'statuses'",
        ),
        ({"server": 1}, "server: is not a mapping of keys to values"),
        ({"server": {"port": "x"}}, "server.port: is not a whole number"),
        ({"server": {"port": 1.5}}, "server.port: is not a whole number"),
        ({"server": {"port": 70000}}, "server.port: must be at most 65535"),
        ({"server": {"workers": 0}}, "server.workers: must be at least 1"),
        ({"server": {"discover": "perhaps"}}, "server.discover: is not true or false"),
        ({"timeouts": {"connect": 0}}, "timeouts.connect: must be greater than 0"),
        ({"timeouts": {"connect": []}}, "timeouts.connect: is not a number"),
        ({"limits": {"trusted_proxies": "10.0.0.0/8"}}, "limits.trusted_proxies: is not a list"),
        ({"models": {"context_length": []}}, "models.context_length: is not a mapping of keys to values"),
        ({"models": {"filter_file": 1}}, "models.filter_file: is not a path"),
        ({"models": {"listing": "tag"}}, "models.listing: is not one of tagged, verbatim; did you mean tagged?"),
        ({"backends": {}}, "backends: is not a list"),
        ({"backends": [1]}, "backends[0]: is not a mapping of keys to values"),
        ({"backends": [{}]}, "backends[0]: has no kind; it is one of ollama, openai, engine, scripted"),
        (
            {"backends": [{"kind": "enginee"}]},
            "backends[0]: kind is not one of ollama, openai, engine, scripted; did you mean engine?",
        ),
        (
            {"backends": [{"kind": "anthropic"}]},
            "backends[0]: kind anthropic is not available in this version of arriero; "
            "the kinds are ollama, openai, engine, scripted",
        ),
        ({"backends": [{**E, "wieght": 1}]}, "backends[0].wieght: unknown key; the nearest known one is 'weight'"),
        ({"backends": [{**E, "name": 1}]}, "backends[0].name: is not a text; a number needs quotes here"),
        ({"backends": [{"kind": "engine"}]}, "backends[0].name: is missing"),
        ({"backends": [E, E]}, "backends: the name e is given twice"),
        (
            {"backends": [{**E, "models": {"capabilities": {"*": ["tool"]}}}]},
            "backends[0].models.capabilities.*[0]: is not one of completion, tools, insert, vision, embedding, "
            "thinking, image, audio; did you mean tools?",
        ),
        (
            {"filters": [{"clamps": {"max_token": {"max": 1}}}]},
            "filters[0].clamps.max_token: unknown key; the nearest known one is 'max_tokens'",
        ),
        (
            {"filters": [{"clamps": {"seed": {"mx": 1}}}]},
            "filters[0].clamps.seed.mx: unknown key; the nearest known one is 'max'",
        ),
        (
            {"filters": [{"set": {"temprature": 1}}]},
            "filters[0].set.temprature: unknown key; the nearest known one is 'temperature'",
        ),
    ],
)
def test_sentences(data: dict[str, Any], sentence: str) -> None:
    assert sentences(data) == [sentence]


def test_a_faulty_place_is_told_once() -> None:
    with pytest.raises(ValidationError) as caught:
        Config.model_validate({"server": {"port": "", "workers": 0}})
    assert explain(caught.value, dotted, frozenset({("server", "port")})) == ["server.workers: must be at least 1"]


def test_nearest() -> None:
    assert nearest("PORT", ["host", "port"]) == "port"
    assert nearest("x", []) is None
    assert nearest("xyz", ["abc"], at_least=0.5) is None


def test_keys_at() -> None:
    assert keys_at(("server",))[:2] == ["host", "port"]
    assert "openai_api" in keys_at(("backends", 0, "ollama"))
    assert keys_at(("models", "capabilities")) == []
    assert keys_at(("no", "such")) == []


def test_the_text_has_a_problem_a_line() -> None:
    assert str(ConfigError(["a", "b"])) == "a\nb"
