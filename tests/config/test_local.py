from urllib.parse import urlsplit

import pytest

from arriero.config import Config, OllamaConfig, ServerConfig
from arriero.config.local import LOCAL_SERVERS, candidates, is_own_address


@pytest.mark.parametrize(
    ("server", "url", "own"),
    [
        (ServerConfig(), "http://127.0.0.1:11434", True),
        (ServerConfig(), "http://localhost:11434/v1", True),
        (ServerConfig(), "http://[::1]:11434", True),
        (ServerConfig(), "http://0.0.0.0:11434", True),
        (ServerConfig(), "http://127.0.0.1:11435", False),
        (ServerConfig(), "http://10.0.0.1:11434", False),
        (ServerConfig(), "http://host:11434", False),
        (ServerConfig(host=""), "http://127.0.0.1:11434", True),
        (ServerConfig(host="10.0.0.1"), "http://127.0.0.1:11434", False),
        (ServerConfig(port=80), "http://localhost", True),
        (ServerConfig(listen=("10.0.0.1:1", ":2")), "http://localhost:2", True),
    ],
)
def test_own_address(server: ServerConfig, url: str, own: bool) -> None:
    assert is_own_address(Config(server=server), url) is own


def test_candidates_leave_out_what_is_configured() -> None:
    config = Config(
        server=ServerConfig(port=1),
        backends=(OllamaConfig(name="x", url="http://localhost:11434"), OllamaConfig(name="vllm", url="http://h")),
    )
    left_out = {"ollama", "vllm"}
    assert candidates(config) == tuple(server for server in LOCAL_SERVERS if server.name not in left_out)


def test_every_usual_port_stands_in_the_table_once() -> None:
    ports = {server.name: urlsplit(getattr(server, "url", "")).port for server in LOCAL_SERVERS}
    assert ports == {
        "ollama": 11434,
        "lmstudio": 1234,
        "llama-server": 8080,
        "vllm": 8000,
        "sglang": 30000,
        "jan": 1337,
        "koboldcpp": 5001,
        "text-generation-webui": 5000,
        "litellm": 4000,
        "gpt4all": 4891,
    }
    assert len(set(ports.values())) == len(LOCAL_SERVERS)
