"""What a model cannot do is said before anything is sent."""

import pytest
from msgspec import Raw

from arriero.canonical.catalog import Capability, ModelCard
from arriero.canonical.requests import ChatRequest, CompletionRequest, EmbedRequest, Message, Request, Text, Tool
from arriero.dialects.ollama import DIALECT
from arriero.errors import UnsupportedCapability

C = Capability
HI = (Message("user", (Text("hi"),)),)
TOOLS = (Tool("f", Raw(b"{}")),)


def card(*capabilities: Capability) -> ModelCard:
    return ModelCard(id="m", capabilities=frozenset(capabilities) or None)


@pytest.mark.parametrize(
    ("path", "request_", "model", "message"),
    [
        ("/api/chat", ChatRequest(model="x", messages=HI, tools=TOOLS), card(C.COMPLETION),
         "registry.ollama.ai/library/x:latest does not support tools"),
        ("/api/chat", ChatRequest(model="openai/o:free", messages=HI, tools=TOOLS), card(C.COMPLETION),
         "registry.ollama.ai/openai/o:free does not support tools"),
        ("/api/chat", ChatRequest(model="@cf/meta/x", messages=HI, tools=TOOLS), card(C.COMPLETION),
         "@cf/meta/x does not support tools"),
        ("/api/generate", CompletionRequest(model="x", prompt="p", suffix="s"), card(C.COMPLETION),
         "registry.ollama.ai/library/x:latest does not support insert"),
        ("/api/chat", ChatRequest(model="x", messages=HI, think=True), card(C.COMPLETION),
         '"x" does not support thinking'),
        ("/api/generate", ChatRequest(model="x", messages=HI, think="low"), card(C.COMPLETION, C.TOOLS),
         '"x" does not support thinking'),
        ("/api/chat", ChatRequest(model="x", messages=HI, think=True, tools=TOOLS), card(C.COMPLETION),
         '"x" does not support thinking'),
        ("/api/chat", ChatRequest(model="x", messages=HI), card(C.EMBEDDING), '"x" does not support chat'),
        ("/api/generate", ChatRequest(model="x"), card(C.EMBEDDING), '"x" does not support generate'),
        ("/api/generate", ChatRequest(model="x", messages=HI), card(C.IMAGE),
         "image generation models are not currently supported"),
    ],
)  # fmt: skip
def test_refused(path: str, request_: Request, model: ModelCard, message: str) -> None:
    with pytest.raises(UnsupportedCapability) as caught:
        DIALECT.by_path[path].check(request_, model)
    assert (caught.value.status, caught.value.message) == (400, message)


@pytest.mark.parametrize(
    ("path", "request_", "model"),
    [
        ("/api/chat", ChatRequest(model="x", messages=HI, tools=TOOLS, think=True), card()),
        ("/api/chat", ChatRequest(model="x", messages=HI, tools=TOOLS, think="high"),
         card(C.COMPLETION, C.TOOLS, C.THINKING)),
        ("/api/chat", ChatRequest(model="x", messages=HI, think=False), card(C.COMPLETION)),
        ("/api/chat", ChatRequest(model="x", keep_alive=0.0), card(C.EMBEDDING)),
        ("/api/generate", CompletionRequest(model="x", prompt="p", suffix="s"), card(C.COMPLETION, C.INSERT)),
        ("/api/embed", EmbedRequest(model="x", inputs=("a",)), card(C.COMPLETION)),
        ("/api/embeddings", EmbedRequest(model="x", inputs=("a",)), card(C.EMBEDDING)),
    ],
)  # fmt: skip
def test_passed(path: str, request_: Request, model: ModelCard) -> None:
    DIALECT.by_path[path].check(request_, model)
