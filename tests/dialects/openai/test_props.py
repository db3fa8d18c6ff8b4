"""What a llama-server's own page tells of its model."""

import json
from typing import Any

import pytest

from arriero.canonical.catalog import Capability, ModelCard
from arriero.dialects.openai.props import Props, read
from arriero.errors import BackendBroken
from support.recordings import load

C = Capability
TALKS = frozenset({C.COMPLETION})


def props(**fields: Any) -> Props:
    return read(json.dumps(fields).encode())


def test_recorded_props() -> None:
    body = load("props").response
    assert read(body.body) == Props(
        context_length=512,
        capabilities=TALKS,
        template=body.json()["chat_template"],
        model_path="models/arriero-demo-f16.gguf",
        slots=1,
    )


def test_props_of_a_model_that_can_everything() -> None:
    found = props(
        chat_template_caps={"supports_tools": True},
        modalities={"vision": True, "audio": True},
        chat_template="{% if enable_thinking %}<think>{% endif %}",
    )
    assert found.capabilities == TALKS | {C.TOOLS, C.VISION, C.AUDIO, C.THINKING}


def test_props_of_an_older_server() -> None:
    assert props(n_ctx=4096) == Props(context_length=4096)


def test_props_onto_a_card() -> None:
    card = ModelCard(id="a", context_length=8192, owned_by="llamacpp")
    assert Props(context_length=512, capabilities=TALKS).onto(card) == ModelCard(
        id="a", context_length=512, owned_by="llamacpp", capabilities=TALKS
    )
    assert Props().onto(card) == card


@pytest.mark.parametrize("body", [b"", b"[]", b"7"])
def test_props_of_nothing(body: bytes) -> None:
    with pytest.raises(BackendBroken):
        read(body)
