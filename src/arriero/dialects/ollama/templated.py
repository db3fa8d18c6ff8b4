"""`template` of /api/generate for backends that cannot apply it: the prompt is made here and sent as plain text."""

from collections.abc import Callable
from functools import partial

from msgspec import Raw
from msgspec.json import decode

from arriero.canonical.requests import ChatRequest, CompletionRequest, Request, Text, Thinking
from arriero.dialects.ollama.driver import single_turn
from arriero.dialects.ollama.requests import DIALECT_NAME

TEMPLATE = "template"
FAULT_STATUS = 500
"""What an Ollama server answers to a template that it cannot read or execute."""


def rendering(request: Request, native: bool) -> Callable[[str], Request] | None:
    """For a conversation with a template of its own, what makes it the text to continue: called with the date as
    `YYYY-MM-DD`, it raises `TemplateError`. `None` for any other request.

    `native`: for an Ollama server, which applies a template to a single turn itself. A conversation with images stays
    one: text has no place for them, and they weigh more than a template.
    """
    if not isinstance(request, ChatRequest) or request.dialect != DIALECT_NAME or TEMPLATE not in request.extra:
        return None
    if native and single_turn(request) is not None:
        return None
    if not all(isinstance(part, Text | Thinking) for message in request.messages for part in message.parts):
        return None
    return partial(_rendered, request)


def _rendered(request: ChatRequest, today: str) -> CompletionRequest:
    return CompletionRequest(
        model=request.model,
        prompt=_prompt(request, request.extra[TEMPLATE], today),
        sampling=request.sampling,
        format=request.format,
        logprobs=request.logprobs,
        top_logprobs=request.top_logprobs,
        stream=request.stream,
        include_usage=request.include_usage,
        keep_alive=request.keep_alive,
        truncate=request.truncate,
        shift=request.shift,
        runner=request.runner,
        extra={name: value for name, value in request.extra.items() if name != TEMPLATE},
        dialect=DIALECT_NAME,
    )


def _prompt(request: ChatRequest, template: Raw, today: str) -> str:
    # Few programs ever meet one: the language is loaded when it is needed, off the event loop as all of this.
    from arriero.dialects.ollama.gotemplate import TemplateError, parse_template

    try:
        return parse_template(decode(template, type=str)).chat(request.messages, think=request.think, today=today)
    except TemplateError as error:
        raise TemplateError(error.message, status=FAULT_STATUS) from None
