"""`/version`: what this program is, in the keys that Olla's clients read."""

import platform
import sys
from collections.abc import Sequence

import arriero
from arriero.gateway.kinds import TYPES
from arriero.gateway.lane import Inbound, Lane
from arriero.server.olla.polled import answer
from arriero.server.routes import Route
from arriero.wire.jsontext import json_text

DESCRIPTION = "One door for every model: Ollama servers, OpenAI-compatible APIs and an embedded llama.cpp"

CAPABILITIES = (
    "ollama-api",
    "openai-api",
    "translation",
    "streaming",
    "load-balancing",
    "health-checks",
    "failover",
    "circuit-breaker",
    "queueing",
    "sticky-sessions",
    "model-aliases",
    "model-unification",
    "model-management",
    "embedded-engine",
    "rate-limiting",
)

ENDPOINTS = {
    "health": "/internal/health",
    "status": "/internal/status",
    "endpoints": "/internal/status/endpoints",
    "models": "/internal/status/models",
    "process": "/internal/process",
    "metrics": "/internal/metrics",
    "version": "/version",
}


class About:
    """The handler, and its route."""

    def __init__(self) -> None:
        self._body = json_text(_facts())
        self.routes: Sequence[Route] = (Route("/version", ("GET", "HEAD"), self.version),)

    async def version(self, inbound: Inbound, lane: Lane) -> None:
        """The same as long as the process runs."""
        answer(inbound, lane, self._body)


def _facts() -> object:
    # Nobody wrote the commit, the date of the build or an address into the package, and a guess would be worse.
    return {
        "api": {"endpoints": ENDPOINTS, "version": "v1"},
        "links": {"homepage": None, "documentation": None, "releases": None},
        "build": {
            "commit": None,
            "date": None,
            "go_version": f"python {platform.python_version()}",
            "platform": f"{sys.platform}/{platform.machine()}",
        },
        "name": "arriero",
        "version": arriero.__version__,
        "edition": "community",
        "description": DESCRIPTION,
        "capabilities": CAPABILITIES,
        "capabilities_experimental": [],
        "supported_backends": TYPES,
    }
