"""The API reference of ollama-proxy: inference, whole and streamed, with a model of OpenRouter.

Where a test says `Ollama`, the Ollama API proper has another shape there, and its clients come first.
"""

import json
import re
from typing import Any

from support.hosts import Host
from support.program import Program

MODEL = "google/gemini-pro:latest"
STATISTICS = {"total_duration", "load_duration", "prompt_eval_count", "eval_count"}
CREATED_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")

CHAT: dict[str, Any] = {
    "model": MODEL,
    "messages": [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "Why is the sky blue?"},
    ],
    "stream": False,
    "options": {"temperature": 0.7, "top_p": 0.9},
}
GENERATE: dict[str, Any] = {
    "model": MODEL,
    "prompt": "Once upon a time",
    "system": "You are a creative writer.",
    "stream": False,
    "options": {"temperature": 0.8},
}


def streamed(proxy: Program, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines of a streamed answer."""
    status, headers, answer = proxy.ask("POST", path, {**body, "stream": True})
    assert (status, headers["content-type"]) == (200, "application/x-ndjson")
    return [json.loads(line) for line in answer.splitlines()]


def is_whole(answer: dict[str, Any]) -> bool:
    """Whether it ends a chat or a generation, with its statistics as numbers."""
    return answer["done"] is True and all(isinstance(answer[key], int) for key in STATISTICS)


# ---- POST /api/chat ------------------------------------------------------------------------------------------------


def test_post_api_chat(proxy: Program) -> None:
    status, answer = proxy.post("/api/chat", CHAT)
    assert status == 200 and is_whole(answer)
    assert (answer["model"], answer["message"]) == (MODEL, {"role": "assistant", "content": "The sky is blue."})
    assert CREATED_AT.fullmatch(answer["created_at"])
    assert (answer["prompt_eval_count"], answer["eval_count"]) == (9, 5)


def test_post_api_chat_sends_what_was_asked(openrouter: Host, proxy: Program) -> None:
    proxy.post("/api/chat", CHAT)
    (request,) = openrouter.requests("/v1/chat/completions")[-1:]
    assert request["headers"]["authorization"] == "***"


def test_post_api_chat_streamed(proxy: Program) -> None:
    *pieces, last = streamed(proxy, "/api/chat", CHAT)
    assert [piece["message"]["content"] for piece in pieces if piece["message"]["content"]] == [
        "The",
        " sky",
        " is",
        " blue",
        ".",
    ]
    for piece in pieces:
        assert (piece["model"], piece["message"]["role"], piece["done"]) == (MODEL, "assistant", False)
        assert CREATED_AT.fullmatch(piece["created_at"])
    assert is_whole(last) and (last["model"], last["message"]["role"]) == (MODEL, "assistant")


# ---- POST /api/generate --------------------------------------------------------------------------------------------


def test_post_api_generate(proxy: Program) -> None:
    status, answer = proxy.post("/api/generate", GENERATE)
    assert status == 200 and is_whole(answer)
    assert (answer["model"], answer["response"]) == (MODEL, " there was a brave knight")
    assert isinstance(answer.get("context", []), list)
    assert CREATED_AT.fullmatch(answer["created_at"])


def test_post_api_generate_streamed(proxy: Program) -> None:
    *pieces, last = streamed(proxy, "/api/generate", GENERATE)
    assert "".join(piece["response"] for piece in pieces) + last["response"] == " there was a brave knight"
    for piece in pieces:
        assert (piece["model"], piece["done"]) == (MODEL, False)
        assert CREATED_AT.fullmatch(piece["created_at"])
    assert is_whole(last)


# ---- Embeddings ----------------------------------------------------------------------------------------------------

EMBEDDER = "text-embedding-ada-002"
SENTENCE = "This is a test sentence."


def test_post_api_embed(proxy: Program) -> None:
    """Ollama: a list of vectors, one for each input; the reference has a single `embedding` here too."""
    status, answer = proxy.post("/api/embed", {"model": EMBEDDER, "input": SENTENCE})
    assert status == 200
    (vector,) = answer["embeddings"]
    assert len(vector) > 1 and all(isinstance(number, float) for number in vector)


def test_post_api_embeddings(proxy: Program) -> None:
    status, answer = proxy.post("/api/embeddings", {"model": EMBEDDER, "prompt": SENTENCE})
    assert (status, list(answer)) == (200, ["embedding"])
    assert len(answer["embedding"]) > 1 and all(isinstance(number, float) for number in answer["embedding"])
