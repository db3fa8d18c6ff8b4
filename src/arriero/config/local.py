"""Servers on this machine: which ones may be there, and which address is arriero itself."""

import ipaddress
from urllib.parse import urlsplit

from arriero.config.backends import BackendConfig, OllamaConfig, OpenAIConfig
from arriero.config.schema import Config

LOCAL_SERVERS: tuple[BackendConfig, ...] = (
    OllamaConfig(name="ollama", url="http://127.0.0.1:11434"),
    OpenAIConfig(name="lmstudio", url="http://127.0.0.1:1234/v1", profile="lmstudio"),
    OpenAIConfig(name="llama-server", url="http://127.0.0.1:8080/v1", profile="llama-server"),
    OpenAIConfig(name="vllm", url="http://127.0.0.1:8000/v1", profile="vllm"),
    OpenAIConfig(name="sglang", url="http://127.0.0.1:30000/v1", profile="sglang"),
    OpenAIConfig(name="jan", url="http://127.0.0.1:1337/v1"),
    OpenAIConfig(name="koboldcpp", url="http://127.0.0.1:5001/v1"),
    OpenAIConfig(name="text-generation-webui", url="http://127.0.0.1:5000/v1"),
    OpenAIConfig(name="litellm", url="http://127.0.0.1:4000/v1", profile="litellm"),
    OpenAIConfig(name="gpt4all", url="http://127.0.0.1:4891/v1"),
)
"""Model servers on the ports they take when nobody says otherwise. Each port stands here once: llamafile takes that of
llama-server, TabbyAPI that of text-generation-webui."""


def is_own_address(config: Config, url: str) -> bool:
    """Whether a URL leads to where arriero itself listens on this machine."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return _is_here(parts.hostname or "") and any(
        address.port == port and _is_here(address.host) for address in config.server.addresses
    )


def _is_here(host: str) -> bool:
    if host in ("", "localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def candidates(config: Config) -> tuple[BackendConfig, ...]:
    """Local servers worth asking: not arriero itself, and neither address nor name configured already."""
    taken = {name for backend in config.backends for name in (backend.name, _place_of(getattr(backend, "url", "")))}
    return tuple(
        server
        for server in LOCAL_SERVERS
        if server.name not in taken
        and _place_of(getattr(server, "url", "")) not in taken
        and not is_own_address(config, getattr(server, "url", ""))
    )


def _place_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{(parts.hostname or '').replace('localhost', '127.0.0.1')}:{parts.port}" if url else ""
