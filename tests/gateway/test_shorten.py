"""Requests made shorter: which turns go, and which stay."""

import pytest

from arriero.canonical.requests import (
    ChatRequest,
    CompletionRequest,
    EmbedRequest,
    Image,
    Message,
    Request,
    Text,
    ToolCall,
)
from arriero.gateway.shorten import shortened


def said(role: str, text: str) -> Message:
    return Message(role, (Text(text),))


SYSTEM, CALL = said("system", "s" * 10), Message("assistant", (ToolCall("look", "{}"),))
RESULT = said("tool", "r" * 10)


def chat(*messages: Message, truncate: bool | None = None) -> ChatRequest:
    return ChatRequest(model="m", messages=messages, truncate=truncate)


def kept(request: Request, fits: float | None, *, one_prompt: bool = False) -> tuple[Message, ...] | None:
    shorter = shortened(request, fits, one_prompt=one_prompt)
    assert shorter is None or isinstance(shorter, ChatRequest)
    return shorter.messages if shorter else None


def test_the_oldest_turns_go_and_the_system_stays() -> None:
    turns = [said("user", f"turn {at}") for at in range(10)]
    assert kept(chat(*turns[:5], SYSTEM, *turns[5:]), None) == (SYSTEM, *turns[7:])


def test_at_least_one_turn_goes_and_the_last_stays() -> None:
    old, new = said("user", "a"), said("user", "b" * 1000)
    assert kept(chat(old, new), 0.999) == (new,)
    assert kept(chat(old, old, old, new), 0.01) == (new,)
    assert kept(chat(SYSTEM, new), 0.5) is None


def test_a_call_goes_with_its_results() -> None:
    asked, then = said("user", "?"), said("user", "and then?")
    assert kept(chat(asked, CALL, RESULT, RESULT, then), 0.9) == (then,)
    assert kept(chat(asked, CALL, RESULT, RESULT), 0.1) == (CALL, RESULT, RESULT)


@pytest.mark.parametrize("fits", [None, 0.3, 0.9])
def test_the_client_may_forbid_it(fits: float | None) -> None:
    turn = said("user", "a")
    assert kept(chat(turn, turn, truncate=False), fits, one_prompt=True) is None
    assert shortened(CompletionRequest(model="m", prompt="abc", truncate=False), fits, one_prompt=True) is None


def test_a_prompt_loses_its_beginning() -> None:
    picture = Image("AA==")
    asked = Message("user", (picture, Text("0123456789" * 9)))
    shorter = kept(chat(SYSTEM, asked), None, one_prompt=True)
    assert shorter == (SYSTEM, Message("user", (picture, Text(("0123456789" * 9)[55:]))))
    assert kept(chat(said("user", "a")), None, one_prompt=True) is None


def test_a_raw_prompt_loses_its_beginning() -> None:
    assert shortened(CompletionRequest(model="m", prompt="0123456789"), 0.65, one_prompt=True) == CompletionRequest(
        model="m", prompt="456789"
    )


def test_what_stands_between_two_texts_is_not_cut() -> None:
    assert shortened(CompletionRequest(model="m", prompt="abc", suffix="d"), None, one_prompt=True) is None
    assert shortened(EmbedRequest(model="m", inputs=("abc",)), None, one_prompt=True) is None
