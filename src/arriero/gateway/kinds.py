"""The words by which Olla's surface sorts backends: the type of each, and which of them a door lets requests to.

A door is the first word of a path under `/olla/`. Two kinds of word are there: those that name a dialect and let
requests to everybody who speaks it (`ollama`, `openai`, `openai-compatible`, `anthropic`, and `proxy` for everybody at
all), and those that name one type of server and let them to nobody else, even where another has the model.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from arriero.backends.base import Backend
from arriero.dialects.profiles import PROFILES

_TYPES: Mapping[str, str] = MappingProxyType(
    {"lmstudio": "lm-studio", "llama-server": "llamacpp", "generic": "openai-compatible"}
)
"""Olla's word for a profile, where it is not the profile's own name."""

_SPELLINGS: Mapping[str, str] = MappingProxyType(
    {
        "lmstudio": "lm-studio",
        "lm_studio": "lm-studio",
        "llama-cpp": "llamacpp",
        "llama_cpp": "llamacpp",
        "llama.cpp": "llamacpp",
        "llama-server": "llamacpp",
        "vllm_mlx": "vllm-mlx",
        "docker-model-runner": "dmr",
    }
)
"""Other words that people write in a path, each with the type that it means."""

_OLLA = ("lm-studio", "vllm", "vllm-mlx", "sglang", "llamacpp", "lemonade", "litellm", "lmdeploy", "dmr", "omlx")
"""The types that Olla has a door for. Its clients know them, so they are there without a profile of that name too."""

_ANTHROPIC = frozenset({"ollama", "engine", "vllm", "vllm-mlx", "lm-studio", "llamacpp", "omlx"})
"""The types that take Anthropic's messages at `/v1/messages`, beside the API they are known for. The engine's process
is a llama.cpp server; Docker's has them at another base than the one that its models are listed under.
"""

_OWN = ("engine", "scripted")
"""Kinds that are types by themselves: their profile only says how they are spoken to."""


def type_of(backend: Backend) -> str:
    """The type of a backend: its kind, or for kind `openai` what its profile says that it is."""
    return backend.kind if backend.kind != "openai" else _TYPES.get(backend.profile.name, backend.profile.name)


def reaches(scope: str, backend: Backend) -> bool:
    """Whether requests at the door `/olla/<scope>/` may go to the backend. A word without a door reaches nobody."""
    wide = _WIDE.get(scope)
    return wide(backend) if wide is not None else _SPELLINGS.get(scope, scope) == type_of(backend)


def _ollama_like(backend: Backend) -> bool:
    # The engine's store is Ollama's and is asked in Ollama's words, whatever its process speaks.
    return type_of(backend) in ("ollama", "engine") or "ollama" in backend.roots


def _speaks_openai(backend: Backend) -> bool:
    return "openai" in backend.roots


def speaks_anthropic(backend: Backend) -> bool:
    """Whether it can be asked in Anthropic's words."""
    return type_of(backend) in _ANTHROPIC


def _any(backend: Backend) -> bool:
    return True


_WIDE: Mapping[str, Callable[[Backend], bool]] = MappingProxyType(
    {
        "ollama": _ollama_like,
        "openai": _speaks_openai,
        "openai-compatible": _speaks_openai,
        "anthropic": speaks_anthropic,
        "proxy": _any,
    }
)
"""The doors that are open to more than one type."""

TYPES: tuple[str, ...] = tuple(dict.fromkeys(("ollama", *(_TYPES.get(name, name) for name in PROFILES), *_OWN)))
"""Every word that `type_of` may answer."""

SCOPES: tuple[str, ...] = tuple(dict.fromkeys((*_WIDE, *TYPES, *_OLLA, *_SPELLINGS)))
"""Every word that is a door. `models` is none: `/olla/models` is a list."""
