"""OpenRouter from its documented shapes, and entries of vendors, for what stands in ollama-proxy's place."""

from typing import Any

KEY = "sk-or-v1-very-secret-key"
MODELS = ("google/gemini-pro", "openai/gpt-4o", "meta-llama/llama-3-8b:free", "openai/text-embedding-ada-002")
HIDDEN = "secret/forbidden-model"


def entry(id: str) -> dict[str, Any]:
    """A model as OpenRouter lists it."""
    embeds = "embedding" in id
    return {
        "id": id,
        "canonical_slug": id,
        "name": id,
        "created": 1_702_389_600,
        "context_length": 32768,
        "architecture": {
            "modality": "text->text",
            "input_modalities": ["text"],
            "output_modalities": ["embeddings" if embeds else "text"],
            "tokenizer": "Other",
            "instruct_type": None,
        },
        "pricing": {"prompt": "0.000001", "completion": "0.000002"},
        "top_provider": {"context_length": 32768, "max_completion_tokens": 8192, "is_moderated": False},
        "supported_parameters": [] if embeds else ["temperature", "top_p", "max_tokens", "tools"],
        "per_request_limits": None,
    }


LIST = {"data": [entry(id) for id in (*MODELS, HIDDEN)], "links": {"next": None}, "total_count": len(MODELS) + 1}


def provider(name: str, url: str, profile: str, **more: Any) -> dict[str, Any]:
    """The entry of a vendor."""
    return {
        "name": name,
        "kind": "openai",
        "profile": profile,
        "url": f"{url}/v1",
        "api_key": KEY,
        "check_interval": 0.5,
        "check_timeout": 1,
        **more,
    }
