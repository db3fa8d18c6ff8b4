"""Every profile is found by its name, and every vendor by its host."""

import pytest

from arriero.dialects.profiles import PROFILES, guess, profile_of
from arriero.dialects.quirks import Profile
from arriero.dialects.servers import SERVERS
from arriero.dialects.vendors import VENDORS


def test_every_profile_has_its_name() -> None:
    assert list(PROFILES.values()) == [*VENDORS, *SERVERS]
    assert all(PROFILES[profile.name] is profile for profile in (*VENDORS, *SERVERS))


HOSTS = {
    "https://api.openai.com/v1": "openai",
    "https://API.OpenAI.com/v1/": "openai",
    "https://openrouter.ai/api/v1": "openrouter",
    "openrouter.ai/api/v1": "openrouter",
    "https://my-resource.openai.azure.com/openai/v1": "azure",
    "https://my-resource.services.ai.azure.com/openai/v1": "azure",
    "https://my-resource.openai.azure.com/openai/v1/": "azure",
    "https://my-resource.openai.azure.com/openai": "azure-deployments",
    "https://bedrock-runtime.eu-west-1.amazonaws.com/openai/v1": "bedrock",
    "https://bedrock-mantle.eu-west-1.api.aws/v1": "bedrock-mantle",
    "https://ec2-1-2-3-4.compute.amazonaws.com/v1": "generic",
    "https://api.anthropic.com": "anthropic",
    "https://api.cohere.com/compatibility/v1": "cohere",
    "https://api.perplexity.ai": "perplexity",
    "https://api.fireworks.ai/inference/v1": "fireworks",
    "https://api.cerebras.ai/v1": "cerebras",
    "https://router.huggingface.co/v1": "huggingface",
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
    with pytest.raises(ValueError, match="anthropic or azure or azure-deployments or bedrock"):
        profile_of("zzzzzz")
