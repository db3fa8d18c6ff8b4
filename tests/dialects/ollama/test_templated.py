"""Conversations with a template of their own, as text."""

import pytest
from msgspec import Raw
from msgspec.structs import replace

from arriero.canonical.requests import (
    ChatRequest,
    CompletionRequest,
    EmbedRequest,
    Image,
    JsonFormat,
    Message,
    Request,
    Sampling,
    Text,
)
from arriero.dialects.ollama.gotemplate import TemplateError
from arriero.dialects.ollama.requests import decode_generate
from arriero.dialects.ollama.templated import rendering
from arriero.wire.jsontext import json_text

TODAY = "2026-01-02"
TURNS = (Message("system", (Text("be kind"),)), Message("user", (Text("hi"),)))


def asked(template: str, **fields: object) -> Request:
    return decode_generate(
        json_text({"model": "m", "prompt": "hi", "system": "be kind", "template": template, **fields})
    )


def text(request: Request, *, native: bool = False) -> CompletionRequest:
    render = rendering(request, native)
    assert render is not None
    made = render(TODAY)
    assert isinstance(made, CompletionRequest)
    return made


def test_the_prompt_is_what_the_template_makes_of_it() -> None:
    said = {"options": {"top_k": 1, "num_ctx": 9}, "format": "json", "keep_alive": 5, "truncate": True, "stream": False}
    request = asked("<{{ .System }}> {{ .Prompt }} >> ", **said, logprobs=True, top_logprobs=2, user="me")
    assert text(request) == CompletionRequest(
        model="m",
        prompt="<be kind> hi >> ",
        sampling=Sampling(top_k=1),
        format=JsonFormat(),
        logprobs=True,
        top_logprobs=2,
        keep_alive=5.0,
        truncate=True,
        runner={"num_ctx": 9},
        extra={"user": Raw(b'"me"')},
        dialect="ollama",
    )


def test_turns_before_it_are_in_the_prompt() -> None:
    request = asked("{{ range .Messages }}[{{ .Role }}:{{ .Content }}]{{ end }}", context=[])
    assert text(request).prompt == "[system:be kind][user:hi]"


def test_it_knows_the_date_and_whether_to_think() -> None:
    request = asked("{{ currentDate }}{{ if .Think }} think{{ end }}: {{ .Prompt }}", think=True)
    assert text(request).prompt == "2026-01-02 think: hi"


def test_an_ollama_server_gets_what_it_can_do_itself() -> None:
    native = asked("> {{ .Prompt }}")
    assert rendering(native, True) is None
    assert isinstance(native, ChatRequest)
    turns = (*TURNS, Message("assistant", (Text("Hello"),)), Message("user", (Text("more"),)))
    assert text(replace(native, messages=turns), native=True).prompt == "> hiHello> more"


@pytest.mark.parametrize(
    "request_",
    [
        ChatRequest(model="m", messages=TURNS, dialect="ollama"),
        ChatRequest(model="m", messages=TURNS, extra={"template": Raw(b'"t"')}, dialect="openai"),
        ChatRequest(
            model="m",
            messages=(Message("user", (Text("see"), Image(data="aGk="))),),
            extra={"template": Raw(b'"t"')},
            dialect="ollama",
        ),
        CompletionRequest(model="m", prompt="p", suffix="s", extra={"template": Raw(b'"t"')}, dialect="ollama"),
        EmbedRequest(model="m", inputs=("a",), extra={"template": Raw(b'"t"')}, dialect="ollama"),
    ],
)
def test_every_other_request_stays_as_it_is(request_: Request) -> None:
    assert rendering(request_, False) is None


@pytest.mark.parametrize("template", ["{{ .Prompt", "{{ index .System 99 }}"])
def test_a_faulty_template_is_told(template: str) -> None:
    with pytest.raises(TemplateError, match=r"^template: ") as caught:
        text(asked(template))
    assert caught.value.status == 500
