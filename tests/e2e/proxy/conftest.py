"""What stands in ollama-proxy's place: one program, an OpenRouter that is played from its documented shapes, and
providers in every bad condition.

`router` is well; `dead` has gone, `hanging` takes connections and answers nothing, `locked` refuses the key, `limited`
wants to be left alone. All but the first are processes for these tests only.
"""

from collections.abc import Iterator

import pytest

from support.hosts import Host
from support.program import Program, free_port, program, until
from support.proxied import HIDDEN, LIST, MODELS, provider


@pytest.fixture(scope="session")
def openrouter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """OpenRouter, as far as its documentation tells."""
    rules = [
        {"when": {"path": "/v1/models"}, "play": {"body": LIST}},
        {
            "when": {"contains": "Why is the sky blue?"},
            "play": {
                "say": ["The", " sky", " is", " blue", "."],
                "usage": {"prompt_tokens": 9, "completion_tokens": 5},
            },
        },
        {"when": {"contains": "Once upon a time"}, "play": {"say": [" there", " was", " a", " brave", " knight"]}},
    ]
    names = [*MODELS, HIDDEN]
    host = Host("openrouter", tmp_path_factory.mktemp("openrouter"), names, speaks=["openai"], rules=rules)
    host.start()
    yield host
    host.kill()


@pytest.fixture(scope="session")
def proxy(openrouter: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """OpenRouter alone, and a filter."""
    backends = [provider("openrouter", openrouter.url, "openrouter", priority=99)]
    server, models = {"environment": "production"}, {"exclude": ["secret/*"]}
    with program(tmp_path_factory.mktemp("proxy"), backends, server=server, models=models) as running:
        yield running


@pytest.fixture(scope="session")
def troubled(openrouter: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """OpenRouter among providers that are not well."""
    folder = tmp_path_factory.mktemp("troubled")
    hosts = {name: Host(name, folder / name, [f"{name}-model"]) for name in ("hanging", "locked", "limited")}
    backends = [
        provider("router", openrouter.url, "openrouter"),
        provider("dead", f"http://127.0.0.1:{free_port()}", "groq"),
        provider("hanging", hosts["hanging"].url, "mistral"),
        provider("locked", hosts["locked"].url, "openai"),
        provider("limited", hosts["limited"].url, "deepseek"),
    ]
    try:
        for host in hosts.values():
            host.start()
        hosts["hanging"].fault("hang", "*")
        refusal = {"error": {"message": "No auth credentials found", "code": 401}}
        hosts["locked"].play({"path": "*"}, status=401, body=refusal)
        waiting = {"error": {"message": "Rate limit exceeded", "code": 429}}
        hosts["limited"].play({"path": "*"}, status=429, headers={"Retry-After": "600"}, body=waiting)
        with program(folder / "program", backends) as running:
            until(lambda: all(one["state"] != "unknown" for one in running.get("/api/providers")["providers"]))
            yield running
    finally:
        for host in hosts.values():
            host.kill()
