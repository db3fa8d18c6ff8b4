"""Which words sort backends, and which of them a door lets requests to."""

from collections.abc import Mapping

import pytest

from arriero.dialects.profiles import PROFILES
from arriero.gateway.kinds import SCOPES, TYPES, reaches, type_of
from support.olla_fleet import Resting

OLLAMA = Resting("ollama", "ollama", "http://10.0.0.1:11434")
PLAIN_OLLAMA = Resting("plain-ollama", "ollama", "http://10.0.0.1:11434", roots={"ollama": ""})
ENGINE = Resting("engine", "engine", "this machine", profile="engine")
VLLM = Resting("vllm", "openai", "http://10.0.0.2:8000/v1", profile="vllm")
LMSTUDIO = Resting("lmstudio", "openai", "http://10.0.0.3:1234/v1", profile="lmstudio")
LLAMA_SERVER = Resting("llama-server", "openai", "http://10.0.0.4:8080/v1", profile="llama-server")
GENERIC = Resting("generic", "openai", "https://api.example.com/v1", profile="generic")
OLLAMA_V1 = Resting("ollama-v1", "openai", "http://10.0.0.1:11434/v1", profile="ollama")
SCRIPTED = Resting("scripted", "scripted", "built-in script", roots={"ollama": "", "openai": "/v1"})
SCRIPTED_OPENAI = Resting("scripted-openai", "scripted", "built-in script", profile="generic", roots={"openai": "/v1"})

ALL = (
    OLLAMA,
    PLAIN_OLLAMA,
    ENGINE,
    VLLM,
    LMSTUDIO,
    LLAMA_SERVER,
    GENERIC,
    OLLAMA_V1,
    SCRIPTED,
    SCRIPTED_OPENAI,
)

TYPE: Mapping[str, str] = {
    "ollama": "ollama",
    "plain-ollama": "ollama",
    "engine": "engine",
    "vllm": "vllm",
    "lmstudio": "lm-studio",
    "llama-server": "llamacpp",
    "generic": "openai-compatible",
    "ollama-v1": "ollama",
    "scripted": "scripted",
    "scripted-openai": "scripted",
}

SPEAKS_OPENAI = "ollama engine vllm lmstudio llama-server generic ollama-v1 scripted scripted-openai"

REACHED: Mapping[str, str] = {
    "ollama": "ollama plain-ollama engine ollama-v1 scripted",
    "openai": SPEAKS_OPENAI,
    "openai-compatible": SPEAKS_OPENAI,
    "anthropic": "ollama plain-ollama engine vllm lmstudio llama-server ollama-v1",
    "proxy": "ollama plain-ollama engine vllm lmstudio llama-server generic ollama-v1 scripted scripted-openai",
    "vllm": "vllm",
    "lm-studio": "lmstudio",
    "lmstudio": "lmstudio",
    "lm_studio": "lmstudio",
    "llamacpp": "llama-server",
    "llama-cpp": "llama-server",
    "llama_cpp": "llama-server",
    "llama-server": "llama-server",
    "engine": "engine",
    "scripted": "scripted scripted-openai",
    "sglang": "",
    "litellm": "",
    "vllm-mlx": "",
    "openrouter": "",
}


def test_every_backend_has_a_type() -> None:
    assert {backend.name: type_of(backend) for backend in ALL} == TYPE  # type: ignore[arg-type]


@pytest.mark.parametrize("scope", REACHED)
def test_a_door_lets_requests_to_its_own(scope: str) -> None:
    assert " ".join(backend.name for backend in ALL if reaches(scope, backend)) == REACHED[scope]  # type: ignore[arg-type]


@pytest.mark.parametrize("word", ["models", "", "OLLAMA", "nobody"])
def test_another_word_is_no_door(word: str) -> None:
    assert word not in SCOPES
    assert not any(reaches(word, backend) for backend in ALL)  # type: ignore[arg-type]


def test_every_word_is_a_door_once() -> None:
    assert REACHED.keys() <= set(SCOPES)
    assert set(TYPES) <= set(SCOPES)
    assert len(SCOPES) == len(set(SCOPES))


@pytest.mark.parametrize("profile", PROFILES)
def test_a_backend_of_every_profile_is_reached_under_its_type_and_its_own_name(profile: str) -> None:
    backend = Resting(profile, "openai", "http://10.0.0.9/v1", profile=profile)
    assert type_of(backend) in TYPES  # type: ignore[arg-type]
    if profile == "anthropic":
        # The door of this name is that of a dialect, which the vendor's OpenAI-compatible layer does not speak.
        assert not reaches(profile, backend)  # type: ignore[arg-type]
        return
    if profile != "generic":  # no server calls itself that: its type is the wire
        assert profile in SCOPES and reaches(profile, backend)  # type: ignore[arg-type]
    assert reaches(type_of(backend), backend)  # type: ignore[arg-type]
