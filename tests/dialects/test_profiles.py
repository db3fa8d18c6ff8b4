"""The vendor table: every entry makes sense, and every vendor is found by its host."""

import re

import pytest

from arriero.canonical.requests import Sampling
from arriero.dialects.profiles import PROFILES, Profile, guess, profile_of

LEVELS = {"off", "on", "minimal", "low", "medium", "high", "xhigh", "max"}


def test_the_vendors() -> None:
    assert sorted(PROFILES) == [
        "azure",
        "deepseek",
        "dmr",
        "engine",
        "generic",
        "google",
        "groq",
        "lemonade",
        "litellm",
        "llama-server",
        "lmdeploy",
        "lmstudio",
        "mistral",
        "ollama",
        "omlx",
        "openai",
        "openrouter",
        "sglang",
        "together",
        "vllm",
        "vllm-mlx",
        "xai",
    ]


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_an_entry_is_sound(profile: Profile) -> None:
    knobs = set(Sampling.__struct_fields__) - {"max_tokens", "stop"}
    assert set(profile.sampling) <= knobs
    assert "temperature" in profile.sampling
    assert len(set(profile.sampling.values())) == len(profile.sampling)
    assert profile.max_tokens in ("max_tokens", "max_completion_tokens")
    assert profile.base_url is None or not profile.base_url.endswith("/")
    assert profile.reasoning_input in (None, "reasoning", "reasoning_content")
    assert profile.completion_schema in (None, "json_schema", "response_format")
    for rule in profile.think:
        re.compile(rule.models)
        assert set(rule.words) <= LEVELS
    for variable in filter(None, [profile.key_variable]):
        assert variable.endswith("_API_KEY")


HOSTS = {
    "https://api.openai.com/v1": "openai",
    "https://API.OpenAI.com/v1/": "openai",
    "https://openrouter.ai/api/v1": "openrouter",
    "openrouter.ai/api/v1": "openrouter",
    "https://my-resource.openai.azure.com/openai/v1": "azure",
    "https://my-resource.services.ai.azure.com/openai/v1": "azure",
    "https://api.groq.com/openai/v1": "groq",
    "https://api.mistral.ai/v1": "mistral",
    "https://api.deepseek.com": "deepseek",
    "https://api.x.ai/v1": "xai",
    "https://api.together.xyz/v1": "together",
    "https://generativelanguage.googleapis.com/v1beta/openai": "google",
    "https://ollama.com/v1": "ollama",
    "http://10.0.0.6:8000/v1": "generic",
    "http://notapi.openai.com.example.org/v1": "generic",
    "http://[::1": "generic",
    "": "generic",
}


@pytest.mark.parametrize("url", HOSTS)
def test_guess(url: str) -> None:
    assert guess(url).name == HOSTS[url]


@pytest.mark.parametrize("profile", [p for p in PROFILES.values() if p.hosts and p.base_url and p.name != "ollama"])
def test_a_vendor_is_guessed_by_its_own_base_url(profile: Profile) -> None:
    assert guess(profile.base_url or "") is profile


def test_profile_of() -> None:
    assert profile_of("vllm") is PROFILES["vllm"]


def test_an_unknown_name_is_told_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown profile 'opnrouter'; did you mean openrouter"):
        profile_of("opnrouter")


def test_a_name_like_none_is_told_all() -> None:
    with pytest.raises(ValueError, match="azure or deepseek or dmr or engine or generic"):
        profile_of("zzzzzz")
