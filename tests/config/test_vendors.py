import pytest

from arriero.config import vendors
from arriero.dialects.profiles import PROFILES


def test_local_servers_have_no_key_variable_here() -> None:
    variables = vendors.key_variables()
    assert "OLLAMA_API_KEY" not in variables.values()
    assert variables["openrouter"] == "OPENROUTER_API_KEY"


@pytest.mark.parametrize(
    ("url", "name", "expected"),
    [
        ("https://api.anthropic.com", "anthropic", "https://api.anthropic.com/v1"),
        ("https://api.anthropic.com/", None, "https://api.anthropic.com/v1"),
        ("https://api.anthropic.com/v2", "anthropic", "https://api.anthropic.com/v2"),
        ("https://api.anthropic.com/v", "anthropic", "https://api.anthropic.com/v"),
        ("http://h/v1", "anthropic", "http://h/v1"),
        ("https://api.openai.com", None, "https://api.openai.com/v1"),
        (
            "https://generativelanguage.googleapis.com/v1beta",
            "google",
            "https://generativelanguage.googleapis.com/v1beta/openai",
        ),
        ("https://api.groq.com/openai/", "groq", "https://api.groq.com/openai/v1"),
        ("https://r.openai.azure.com", "azure", "https://r.openai.azure.com"),
        ("http://[", "openai", "http://["),
        ("no url", None, "no url"),
        ("http://h", "nobody", "http://h"),
    ],
)
def test_a_url_at_the_vendor_gets_the_whole_path(url: str, name: str | None, expected: str) -> None:
    assert vendors.completed(url, name) == expected


def test_regions() -> None:
    assert vendors.in_region("bedrock", "eu-west-1") == "https://bedrock-runtime.eu-west-1.amazonaws.com/openai/v1"
    assert vendors.in_region("openai", "eu-west-1") is None
    assert vendors.in_region("azure", "eu-west-1") is None


def test_who_has_a_list() -> None:
    assert [name for name in ("openai", "azure", "bedrock", "nobody") if vendors.has_list(name)] == ["openai", "nobody"]


def test_hosts() -> None:
    assert vendors.is_host_of("azure", "https://r.openai.azure.com/x")
    assert not vendors.is_host_of("azure", "https://openai.azure.com.example.com")
    assert not vendors.is_host_of("azure", "http://[")
    assert not vendors.is_host_of("nobody", "http://h")


def test_names_and_addresses() -> None:
    assert vendors.names() == list(PROFILES)
    assert vendors.is_known("vllm")
    assert not vendors.is_known("vlm")
    assert vendors.nearest("VLM") == "vllm"
    assert vendors.base_url("openai") == "https://api.openai.com/v1"
    assert vendors.base_url("no") is None
    assert vendors.guess_name("https://openrouter.ai/api/v1") == "openrouter"
    assert vendors.guess_name("http://10.0.0.1/v1") == "generic"
