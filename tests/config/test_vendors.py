from arriero.config import vendors
from arriero.dialects.profiles import PROFILES


def test_local_servers_have_no_key_variable_here() -> None:
    variables = vendors.key_variables()
    assert "OLLAMA_API_KEY" not in variables.values()
    assert variables["openrouter"] == "OPENROUTER_API_KEY"


def test_names_and_addresses() -> None:
    assert vendors.names() == list(PROFILES)
    assert vendors.is_known("vllm")
    assert not vendors.is_known("vlm")
    assert vendors.nearest("VLM") == "vllm"
    assert vendors.base_url("openai") == "https://api.openai.com/v1"
    assert vendors.base_url("no") is None
    assert vendors.guess_name("https://openrouter.ai/api/v1") == "openrouter"
    assert vendors.guess_name("http://10.0.0.1/v1") == "generic"
