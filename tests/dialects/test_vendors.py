"""The vendor table: every entry makes sense, and says whom it is about."""

import re

import pytest

from arriero.canonical.requests import Sampling
from arriero.dialects.quirks import Profile
from arriero.dialects.servers import SERVERS
from arriero.dialects.vendors import VENDORS

LEVELS = {"off", "on", "minimal", "low", "medium", "high", "xhigh", "max"}


def test_the_vendors() -> None:
    assert [profile.name for profile in VENDORS] == [
        "openai",
        "azure",
        "azure-deployments",
        "bedrock",
        "bedrock-mantle",
        "openrouter",
        "groq",
        "mistral",
        "deepseek",
        "xai",
        "together",
        "google",
        "perplexity",
        "cohere",
        "fireworks",
        "cerebras",
        "anthropic",
        "huggingface",
    ]


@pytest.mark.parametrize("profile", (*VENDORS, *SERVERS), ids=lambda profile: profile.name)
def test_an_entry_is_sound(profile: Profile) -> None:
    knobs = set(Sampling.__struct_fields__) - {"max_tokens", "stop"}
    assert set(profile.sampling) <= knobs
    assert "temperature" in profile.sampling
    assert len(set(profile.sampling.values())) == len(profile.sampling)
    assert profile.max_tokens in ("max_tokens", "max_completion_tokens")
    assert profile.base_url is None or not profile.base_url.endswith("/")
    assert profile.region is None or profile.region in (profile.base_url or "")
    assert profile.base_url is None or profile.base_url.endswith(profile.base_path)
    assert profile.model_path == "" or (profile.model_path.startswith("/") and "{model}" in profile.model_path)
    for path in (profile.models_path, profile.check_path, profile.details_path):
        assert path is None or path.startswith("/")
    assert profile.reasoning_input in (None, "reasoning", "reasoning_content")
    assert profile.completion_schema in (None, "json_schema", "response_format")
    for rule in profile.think:
        re.compile(rule.models)
        assert set(rule.words) <= LEVELS


@pytest.mark.parametrize("profile", VENDORS, ids=lambda profile: profile.name)
def test_a_vendor_is_somebody_somewhere(profile: Profile) -> None:
    assert profile.title and profile.hosts
    assert (profile.error_type.endswith("_error") and profile.error_type != "openai_error") or profile.name == "openai"
    assert not profile.forwards_client_address
    assert profile.key_variable is None or re.fullmatch(
        "[A-Z_]+_API_KEY|AWS_BEARER_TOKEN_BEDROCK", profile.key_variable
    )


def test_a_key_means_one_vendor() -> None:
    variables = [profile.key_variable for profile in VENDORS if profile.key_variable and profile.base_url]
    assert len(set(variables)) == len(variables)


def test_what_an_attribution_needs_is_openrouters_alone() -> None:
    told = {profile.name: dict(profile.headers) for profile in VENDORS if profile.headers}
    assert told == {
        "openrouter": {"HTTP-Referer": "http://localhost:11434", "X-Title": "arriero"},
        "anthropic": {"anthropic-version": "2023-06-01"},
    }


def test_fields_that_travel_are_no_words_of_the_driver() -> None:
    """What a client says in its own dialect's words has one place; a field of a vendor's never takes it."""
    written = {"model", "messages", "stream", "stream_options", "tools", "stop", "max_tokens", "response_format"}
    for profile in VENDORS:
        assert not profile.carried & {*written, *profile.sampling.values(), profile.max_tokens}
