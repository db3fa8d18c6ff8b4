"""A conversation of /api/generate by `context`, as Ollama's own client leads it, over each kind of backend."""

import json

import ollama
import pytest

from arriero.canonical.requests import Message, Text
from arriero.dialects.ollama.memory import MARK, recalled
from e2e.conftest import SENTENCE, THOUGHT
from support.program import Program


def say(role: str, text: str) -> Message:
    return Message(role, (Text(text),))


HI, HELLO, MORE = say("user", "hi"), say("assistant", SENTENCE), say("user", "and then?")


def test_a_conversation_goes_on(client: ollama.Client) -> None:
    first = client.generate("hello", "hi")
    assert recalled(first.context or ()) == (HI, HELLO)
    second = client.generate("hello", "and then?", context=first.context)
    assert second.response == SENTENCE
    assert recalled(second.context or ()) == (HI, HELLO, MORE, HELLO)
    alone = client.generate("hello", "and then?", context=[])
    assert (second.prompt_eval_count or 0) > (alone.prompt_eval_count or 0) + 8, "the model has read what was said"


def test_a_conversation_in_streams(client: ollama.Client) -> None:
    *before, last = client.generate("hello", "hi", system="be kind", stream=True)
    assert [frame.context for frame in before] == [None] * len(before)
    assert recalled(last.context or ()) == (say("system", "be kind"), HI, HELLO)
    *_, last = client.generate("hello", "and then?", system="be brief", context=last.context, stream=True)
    assert recalled(last.context or ()) == (say("system", "be brief"), HI, HELLO, MORE, HELLO)


def test_what_a_model_thought_is_not_carried(client: ollama.Client) -> None:
    answer = client.generate("thinker", "hi", think=True)
    assert (answer.thinking or "").strip() == THOUGHT
    assert recalled(answer.context or ()) == (HI, HELLO)


def test_what_has_no_memory(client: ollama.Client) -> None:
    assert client.generate("hello", "hi", raw=True).context is None
    assert client.generate("hello").context is None, "it only loads the model"
    assert client.generate("hello", keep_alive=60).context is None
    with pytest.raises(ollama.ResponseError, match="raw mode does not support") as caught:
        client.generate("hello", "hi", raw=True, context=[1])
    assert caught.value.status_code == 400


@pytest.mark.parametrize("door", ["engine", "by_openai"], indirect=True)
def test_tokens_of_another_server_are_named_as_dropped(door: Program) -> None:
    body = {"model": "hello", "prompt": "hi", "stream": False, "context": [1, 2, 3]}
    status, headers, answer = door.ask("POST", "/api/generate", body)
    assert (status, headers["x-arriero-dropped"]) == (200, "context")
    assert recalled(json.loads(answer)["context"]) == (HI, HELLO)


def test_a_damaged_memory_is_refused(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="context: it is not as it was given") as caught:
        client.generate("hello", "hi", context=[MARK, 1, 2, 3])
    assert caught.value.status_code == 400


def test_a_memory_moves_from_one_kind_of_backend_to_another(
    engine: Program, by_openai: Program, by_ollama: Program
) -> None:
    """The same conversation through three doors: each reads what another has written."""
    context: list[int] | None = None
    for door in (engine, by_openai, by_ollama, engine):
        body = {"model": "hello", "prompt": "hi", "stream": False}
        status, told = door.post("/api/generate", body if context is None else {**body, "context": context})
        assert status == 200, told
        context = told["context"]
    assert recalled(context or ()) == (HI, HELLO) * 4
