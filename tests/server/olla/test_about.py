"""What the program says that it is."""

import platform
import sys

import arriero
from arriero.server.olla.about import CAPABILITIES, DESCRIPTION, About
from support.olla_fleet import Site

BODY = {
    "api": {
        "endpoints": {
            "health": "/internal/health",
            "status": "/internal/status",
            "endpoints": "/internal/status/endpoints",
            "models": "/internal/status/models",
            "process": "/internal/process",
            "metrics": "/internal/metrics",
            "version": "/version",
        },
        "version": "v1",
    },
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
    "capabilities": list(CAPABILITIES),
    "capabilities_experimental": [],
    "supported_backends": [
        "ollama",
        "openai",
        "azure",
        "azure-deployments",
        "bedrock",
        "bedrock-mantle",
        "openrouter",
        "groq",
        "mistral",
        "deepseek",
        "xai",
        "together",
        "google",
        "perplexity",
        "cohere",
        "fireworks",
        "cerebras",
        "anthropic",
        "huggingface",
        "vllm",
        "sglang",
        "vllm-mlx",
        "llamacpp",
        "engine",
        "lm-studio",
        "litellm",
        "lmdeploy",
        "lemonade",
        "dmr",
        "omlx",
        "openai-compatible",
        "scripted",
    ],
}


async def test_version_tells_all_there_is_to_know() -> None:
    assert await Site(*About().routes).get("/version") == BODY


async def test_version_does_not_change_while_the_process_runs() -> None:
    asked = Site(*About().routes)
    tag = (await asked.ask("/version")).field(b"etag") or b""
    assert (await asked.ask("/version", headers=((b"if-none-match", tag),))).status == 304
