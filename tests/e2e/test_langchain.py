"""LangChain's `ChatOllama` and `OllamaEmbeddings` against the running program."""

from collections.abc import Iterator

import pytest
from langchain_core.messages import AIMessageChunk
from langchain_ollama import ChatOllama, OllamaEmbeddings

from e2e.conftest import FORECAST, SENTENCE, THOUGHT, TOOLS
from support.program import Program


def chat(door: Program, model: str) -> ChatOllama:
    return ChatOllama(model=model, base_url=door.url, client_kwargs={"timeout": 20})


@pytest.fixture
def hello(door: Program) -> Iterator[ChatOllama]:
    model = chat(door, "hello")
    yield model
    _close(model)


def _close(model: ChatOllama | OllamaEmbeddings) -> None:
    assert model._client is not None
    model._client.__exit__(None, None, None)  # type: ignore[no-untyped-call]


def test_invoke(hello: ChatOllama) -> None:
    answer = hello.invoke("hi")
    assert answer.content == SENTENCE
    assert answer.usage_metadata is not None and answer.usage_metadata["output_tokens"] == 8
    assert answer.response_metadata["done_reason"] == "stop"


def test_stream(hello: ChatOllama) -> None:
    whole: AIMessageChunk | None = None
    count = 0
    for chunk in hello.stream("hi"):
        assert isinstance(chunk, AIMessageChunk)
        whole = chunk if whole is None else whole + chunk
        count += 1
    assert whole is not None and whole.content == SENTENCE and count > 4
    assert whole.usage_metadata is not None and whole.usage_metadata["output_tokens"] == 8


def test_tools(door: Program) -> None:
    model = chat(door, "caller")
    answer = model.bind_tools(TOOLS).invoke("hi")
    assert [(call["name"], call["args"]) for call in answer.tool_calls] == [FORECAST]
    _close(model)


def test_reasoning(door: Program) -> None:
    model = ChatOllama(model="thinker", base_url=door.url, reasoning=True, client_kwargs={"timeout": 20})
    answer = model.invoke("hi")
    assert (answer.content, answer.additional_kwargs["reasoning_content"].strip()) == (SENTENCE, THOUGHT)
    _close(model)


def test_embeddings(door: Program) -> None:
    model = OllamaEmbeddings(model="embedder", base_url=door.url, client_kwargs={"timeout": 20})
    assert [len(vector) for vector in model.embed_documents(["a", "b"])] == [64, 64]
    _close(model)
