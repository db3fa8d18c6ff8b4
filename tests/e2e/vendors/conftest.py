"""What the tests of vendors share: one server that plays all of them from their recordings, and one program before it.

Each vendor has a path of its own, behind which its real one follows; a request can be read there to the byte.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from arriero.dialects.profiles import PROFILES
from support.hosts import Witness
from support.program import Program, program

FOLDER = Path(__file__).parents[2] / "recordings" / "vendors"
CLOUD = "ollama-cloud"
NAMES = sorted(folder.name for folder in FOLDER.iterdir() if folder.is_dir())

BASES: Mapping[str, str] = {"azure": "/openai/v1", "azure-deployments": "/openai", CLOUD: ""}
"""What follows the host of vendors that have no address of their own."""

OWN_MODELS: Mapping[str, str] = {
    "azure": "chat-eu",
    "azure-deployments": "chat-eu",
    "bedrock": "openai.gpt-oss-20b-1:0",
    "perplexity": "sonar",
}
"""The model that the operator names where the vendor has no list."""


PAGES: Mapping[str, str] = {"openrouter": "*offset=1*", "anthropic": "*after_id=*"}
"""Whose list has a second page, and what its query looks like."""


def recorded(vendor: str, file: str) -> Any:
    return json.loads((FOLDER / vendor / file).read_bytes())


def key_of(vendor: str) -> str:
    return f"key-of-{vendor}"


def base_of(vendor: str) -> str:
    own = BASES.get(vendor)
    return f"/{vendor}{urlsplit(PROFILES[vendor].base_url or '').path if own is None else own}"


def path_of(vendor: str, path: str = "/chat/completions") -> str:
    """Where a vendor's request about its model goes."""
    if vendor == CLOUD:
        return f"{base_of(vendor)}/api/chat"
    return base_of(vendor) + ("/deployments/chat-eu" if vendor == "azure-deployments" else "") + path


def model_of(vendor: str) -> str:
    """A model of the vendor's."""
    found: str = OWN_MODELS.get(vendor) or recorded(vendor, "expected.json")["ids"][0]
    return found


def _rules() -> Iterator[dict[str, Any]]:
    for vendor in NAMES:
        if (FOLDER / vendor / "models.json").exists():
            path = f"{base_of(vendor)}/models"
            if vendor == "cohere":
                path = "/v1/models"  # beside its compatibility API, at the same host
            elif vendor == CLOUD:
                path = f"{base_of(vendor)}/api/tags"
            if vendor in PAGES:
                second = recorded(vendor, "models-2.json")
                yield {"when": {"path": path, "query": PAGES[vendor]}, "play": {"body": second}}
            yield {"when": {"path": path}, "play": {"body": recorded(vendor, "models.json")}}
        else:
            yield {"when": {"path": f"{base_of(vendor)}/models"}, "play": {"body": {"object": "list", "data": []}}}
        path = path_of(vendor)
        refused = {
            "status": recorded(vendor, "expected.json")["error"]["status"],
            "body": recorded(vendor, "error.json"),
        }
        stream = (FOLDER / vendor / "stream.txt").read_text()
        kind = "application/x-ndjson" if vendor == CLOUD else "text/event-stream"
        yield {"when": {"path": path, "contains": "be refused"}, "play": refused}
        if vendor == CLOUD:
            own = {"body": recorded(vendor, "chat-openai.json")}
            yield {"when": {"path": f"{base_of(vendor)}/v1/chat/completions"}, "play": own}
        if vendor == "openrouter":
            failing = (FOLDER / vendor / "failing.txt").read_text()
            yield {
                "when": {"path": path, "contains": "fail later"},
                "play": {"body": failing, "headers": {"Content-Type": kind}},
            }
            yield {
                "when": {"path": path_of(vendor, "/embeddings")},
                "play": {"body": recorded(vendor, "embed.json")},
            }
            limited = {"status": 429, "body": recorded(vendor, "limited.json"), "headers": {"Retry-After": "7"}}
            yield {"when": {"path": "/limited/chat/completions"}, "play": limited}
            yield {"when": {"path": "/limited/models"}, "play": {"body": {"data": [{"id": "acme/busy"}]}}}
        yield {
            "when": {"path": path, "contains": '"stream":true'},
            "play": {"body": stream, "headers": {"Content-Type": kind}},
        }
        yield {"when": {"path": path}, "play": {"body": recorded(vendor, "chat.json")}}


@pytest.fixture(scope="session")
def vendors() -> Iterator[Witness]:
    """All of them."""
    witness = Witness({"speaks": ["openai"], "rules": list(_rules())})
    yield witness
    witness.close()


@pytest.fixture(scope="session")
def front(vendors: Witness, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The program, with a backend for each of them under the vendor's name."""
    backends: list[dict[str, Any]] = []
    for vendor in NAMES:
        made: dict[str, Any] = {"name": vendor, "url": vendors.url + base_of(vendor), "api_key": key_of(vendor)}
        if vendor == CLOUD:
            made["kind"] = "ollama"
        else:
            made |= {"kind": "openai", "profile": vendor}
        if vendor in OWN_MODELS:
            made["extra_models"] = [OWN_MODELS[vendor]]
        backends.append(made)
    backends += [
        {"name": "limited", "kind": "openai", "profile": "openrouter", "url": f"{vendors.url}/limited"},
        {
            "name": "other-azure",
            "kind": "openai",
            "profile": "azure-deployments",
            "url": vendors.url + base_of("azure-deployments"),
            "api_key": key_of("azure-deployments"),
            "extra_models": ["chat-eu"],
            "query": {"api-version": "2025-03-01 preview", "team": "a&b"},
            "headers": {"X-Team": "lab"},
        },
        {
            "name": "own-title",
            "kind": "openai",
            "profile": "openrouter",
            "url": vendors.url + base_of("openrouter"),
            "headers": {"X-Title": "My Lab"},
        },
        {"name": "nameless", "kind": "openai", "profile": "perplexity", "url": f"{vendors.url}/nobody"},
    ]
    with program(tmp_path_factory.mktemp("vendors"), backends) as running:
        yield running


class Sent(NamedTuple):
    """What a vendor has received."""

    target: str
    headers: Mapping[str, str]
    body: dict[str, Any]


@pytest.fixture
def last(vendors: Witness) -> Any:
    """The last request that came for a path."""

    def found(path: str) -> Sent:
        request = vendors.requests(path)[-1]
        return Sent(request.path, request.headers, json.loads(request.body) if request.body else {})

    return found
