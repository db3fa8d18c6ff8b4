"""What the end-to-end tests share: one shelf of models, and three running programs that serve it.

`engine` runs llama.cpp itself; `by_openai` and `by_ollama` know only that program, through its `/v1` and through its
Ollama API. A test that takes `door` runs over all three.
"""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import ollama
import openai
import pytest

from support.gguf import PLAIN_TEMPLATE, random_llama, scripted, thinking, tool_call, truncated
from support.program import Program, program

OLD = 1_700_000_000.25
"""The time of the oldest model."""

SENTENCE = "Hello to the world of small llamas."
THOUGHT = "The user greets me."
WEATHER = tool_call("get_weather", city="Lima", days=3)
TIME = tool_call("get_time", zone="UTC")
FORECAST = ("get_weather", {"city": "Lima", "days": 3})
CLOCK = ("get_time", {"zone": "UTC"})


def tool(name: str, **parameters: str) -> dict[str, Any]:
    """The definition of a tool."""
    properties = {key: {"type": kind} for key, kind in parameters.items()}
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": name,
            "parameters": {"type": "object", "properties": properties, "required": list(properties)},
        },
    }


TOOLS = [tool("get_weather", city="string", days="integer"), tool("get_time", zone="string")]


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models directory: every model says one thing, but for the random ones."""
    folder = tmp_path_factory.mktemp("models")
    scripted(folder / "hello.gguf", SENTENCE)
    scripted(folder / "plain.gguf", SENTENCE, template=PLAIN_TEMPLATE)
    scripted(folder / "caller.gguf", WEATHER)
    scripted(folder / "twice.gguf", f"{WEATHER}\n{TIME}")
    scripted(folder / "talker.gguf", f"Let me look.\n{WEATHER}")
    scripted(folder / "thinker.gguf", thinking(THOUGHT) + SENTENCE)
    random_llama(folder / "noise.gguf")
    random_llama(folder / "embedder.gguf", pooling="mean")
    truncated(folder / "broken.gguf")
    os.utime(folder / "plain.gguf", (OLD, OLD))
    return folder


@pytest.fixture(scope="session")
def engine(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """llama.cpp behind arriero."""
    backend = {
        "name": "local",
        "kind": "engine",
        "models_dir": shelf,
        "read_only": True,
        "demo_model": False,
        "max_loaded": 9,
        "num_parallel": 2,
        "context_length": 1024,
        "threads": 1,
    }
    with program(
        tmp_path_factory.mktemp("engine"), [backend], routing={"aliases": {"acme/fast": ["hello"]}}
    ) as running:
        yield running


@pytest.fixture(scope="session")
def by_openai(engine: Program, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """arriero in front of a server of the OpenAI API."""
    backend = {
        "name": "v1",
        "kind": "openai",
        "url": f"{engine.url}/v1",
        "models": {"capabilities": {"plain*": ["completion"], "thinker*": ["completion", "tools", "thinking"]}},
    }
    with program(tmp_path_factory.mktemp("openai"), [backend]) as running:
        yield running


@pytest.fixture(scope="session")
def by_ollama(engine: Program, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """arriero in front of an Ollama server."""
    backend = {"name": "other", "kind": "ollama", "url": engine.url}
    with program(tmp_path_factory.mktemp("ollama"), [backend]) as running:
        yield running


@pytest.fixture(params=["engine", "by_openai", "by_ollama"])
def door(request: pytest.FixtureRequest) -> Program:
    """Each of the three."""
    running: Program = request.getfixturevalue(request.param)
    return running


@pytest.fixture
def client(door: Program) -> Iterator[ollama.Client]:
    """Ollama's own client."""
    with closing(ollama.Client(door.url, timeout=20)) as client:
        yield client


@pytest.fixture
def openai_client(door: Program) -> Iterator[openai.OpenAI]:
    """OpenAI's own client."""
    with openai.OpenAI(base_url=f"{door.url}/v1", api_key="any", timeout=20, max_retries=0) as client:
        yield client
