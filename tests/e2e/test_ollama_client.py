"""Ollama's own Python client against the running program: every call, over each kind of backend."""

import math
from collections.abc import Iterator
from typing import Any

import msgspec
import ollama
import pytest

from e2e.conftest import CLOCK, FORECAST, SENTENCE, THOUGHT, TOOLS
from support.program import Program

HI = [{"role": "user", "content": "hi"}]
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="  # a whole PNG
)
SCHEMA = {
    "type": "object",
    "properties": {"yes": {"type": "boolean"}, "count": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["yes", "count"],
    "additionalProperties": False,
}


def calls(message: ollama.Message) -> list[tuple[str, dict[str, Any]]]:
    return [(call.function.name, dict(call.function.arguments)) for call in message.tool_calls or ()]


def said(frames: Iterator[ollama.ChatResponse]) -> tuple[str, str, list[tuple[str, dict[str, Any]]], list[bool]]:
    """Text, thinking, calls and every frame's `done`."""
    whole = list(frames)
    text = "".join(frame.message.content or "" for frame in whole)
    thought = "".join(frame.message.thinking or "" for frame in whole)
    called = [call for frame in whole for call in calls(frame.message)]
    return text, thought, called, [bool(frame.done) for frame in whole]


# ---- chat and generate ---------------------------------------------------------------------------------------------


def test_chat(client: ollama.Client) -> None:
    answer = client.chat("hello", HI)
    assert (answer.message.role, answer.message.content) == ("assistant", SENTENCE)
    assert (answer.model, answer.done, answer.done_reason) == ("hello", True, "stop")
    assert answer.prompt_eval_count and answer.eval_count == 8
    assert answer.total_duration and answer.load_duration and answer.prompt_eval_duration and answer.eval_duration


def test_chat_in_a_stream(client: ollama.Client) -> None:
    frames = list(client.chat("Hello:latest", HI, stream=True))
    assert "".join(frame.message.content or "" for frame in frames) == SENTENCE
    assert len(frames) > 4, "it comes word by word"
    assert [frame.done for frame in frames] == [False] * (len(frames) - 1) + [True]
    assert {frame.model for frame in frames} == {"Hello:latest"}, "the name is what the client typed"
    assert all(frame.eval_count is None and frame.total_duration is None for frame in frames[:-1])
    assert (frames[-1].done_reason, frames[-1].eval_count) == ("stop", 8)


async def test_the_async_client(door: Program) -> None:
    async with ollama.AsyncClient(door.url, timeout=20) as client:
        assert (await client.chat("hello", HI)).message.content == SENTENCE
        frames = [frame async for frame in await client.generate("hello", "hi", stream=True)]
        assert "".join(frame.response or "" for frame in frames) == SENTENCE
        assert len((await client.embed("embedder", ["a", "b"])).embeddings) == 2
        assert "hello:latest" in [model.model for model in (await client.list()).models]


def test_a_long_conversation_goes_through_whole(client: ollama.Client) -> None:
    """More than one read of a socket, and more than a head may have. What the model has no room for is left out."""
    long = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "a" * 300_000}]
    assert client.chat("hello", [*long, *HI], options={"num_ctx": 1024}).message.content == SENTENCE
    with pytest.raises(ollama.ResponseError, match="context"):
        client.chat("hello", long, options={"num_ctx": 1024})
    assert client.generate("hello", "hi", options={"unknown": "y" * 300_000}).response == SENTENCE


def test_generate(client: ollama.Client) -> None:
    answer = client.generate("hello", "hi")
    assert (answer.response, answer.done_reason, answer.eval_count) == (SENTENCE, "stop", 8)


def test_generate_in_a_stream(client: ollama.Client) -> None:
    frames = list(client.generate("hello", "hi", stream=True))
    assert "".join(frame.response or "" for frame in frames) == SENTENCE
    assert [frame.done for frame in frames][-2:] == [False, True]


def test_generate_raw_has_no_template(client: ollama.Client) -> None:
    raw, templated = client.generate("hello", "hi", raw=True), client.generate("hello", "hi")
    assert raw.response == SENTENCE
    assert (raw.prompt_eval_count or 0) < (templated.prompt_eval_count or 0)


def test_generate_raw_with_a_system_text_is_refused(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="raw mode does not support") as caught:
        client.generate("hello", "hi", raw=True, system="be brief")
    assert caught.value.status_code == 400


@pytest.mark.parametrize("door", ["engine", "by_ollama"], indirect=True)
def test_filling_in_is_refused_by_a_model_that_cannot(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="does not support insert") as caught:
        client.generate("hello", "def f(", suffix="return 1")
    assert caught.value.status_code == 400


def test_options_reach_the_model(client: ollama.Client) -> None:
    short = client.chat("hello", HI, options={"num_predict": 2})
    assert (short.message.content, short.done_reason, short.eval_count) == ("Hello to", "length", 2)
    stopped = client.chat("hello", HI, options={"stop": [" world"]})
    assert (stopped.message.content, stopped.done_reason) == ("Hello to the", "stop")


# ---- tools ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "text", "wanted"),
    [
        ("caller", "", [FORECAST]),
        ("twice", "", [FORECAST, CLOCK]),
        ("talker", "Let me look.", [FORECAST]),
    ],
)
def test_tool_calls(client: ollama.Client, model: str, text: str, wanted: list[tuple[str, dict[str, Any]]]) -> None:
    whole = client.chat(model, HI, tools=TOOLS)
    assert ((whole.message.content or "").strip(), calls(whole.message)) == (text, wanted)
    assert whole.done_reason == "stop"
    streamed, _, called, done = said(client.chat(model, HI, tools=TOOLS, stream=True))
    assert (streamed.strip(), called, done[-1]) == (text, wanted, True)


def test_tool_results_are_sent_back(client: ollama.Client) -> None:
    """As the client gives them: it drops the ids of calls."""
    asked = client.chat("caller", HI, tools=TOOLS)
    result = {"role": "tool", "tool_name": "get_weather", "content": "22 degrees"}
    answer = client.chat("hello", [*HI, asked.message, result], tools=TOOLS)
    assert answer.message.content == SENTENCE
    longer = client.chat("hello", [*HI, asked.message, result | {"content": "22 degrees, no wind"}], tools=TOOLS)
    assert (longer.prompt_eval_count or 0) > (answer.prompt_eval_count or 0), "the model has read the result"


def test_tools_are_refused_by_a_model_without_them(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="plain:latest does not support tools") as caught:
        client.chat("plain", HI, tools=TOOLS)
    assert caught.value.status_code == 400


# ---- structured output ---------------------------------------------------------------------------------------------


def test_an_answer_in_json(client: ollama.Client) -> None:
    """The model says random tokens: only a grammar makes them JSON."""
    answer = client.chat("noise", HI, format="json", options={"num_predict": 400, "seed": 3})
    assert isinstance(msgspec.json.decode(answer.message.content or ""), dict)


def test_an_answer_after_a_schema(client: ollama.Client) -> None:
    class Wanted(msgspec.Struct, forbid_unknown_fields=True):
        yes: bool
        count: int

    whole = client.chat("noise", HI, format=SCHEMA, options={"num_predict": 600, "seed": 3})
    assert 1 <= msgspec.json.decode(whole.message.content or "", type=Wanted).count <= 9
    streamed = client.generate("noise", "hi", format=SCHEMA, options={"num_predict": 600, "seed": 3}, stream=True)
    msgspec.json.decode("".join(frame.response or "" for frame in streamed), type=Wanted)


# ---- thinking ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("think", [None, True, "low"])
def test_thinking_stands_beside_the_answer(client: ollama.Client, think: Any) -> None:
    answer = client.chat("thinker", HI, think=think)
    assert ((answer.message.thinking or "").strip(), answer.message.content) == (THOUGHT, SENTENCE)
    frames = list(client.chat("thinker", HI, think=think, stream=True))
    kinds = ["thinking" if frame.message.thinking else "content" for frame in frames[:-1]]
    assert kinds == sorted(kinds, reverse=True) and set(kinds) == {"thinking", "content"}, "first the thought"
    text, thought, _, _ = said(iter(frames))
    assert (text, thought.strip()) == (SENTENCE, THOUGHT)


def test_no_thinking(client: ollama.Client) -> None:
    answer = client.chat("thinker", HI, think=False)
    assert (answer.message.thinking, answer.message.content) == (None, SENTENCE)
    text, thought, _, _ = said(client.chat("thinker", HI, think=False, stream=True))
    assert (text, thought) == (SENTENCE, "")


def test_thinking_in_generate(client: ollama.Client) -> None:
    answer = client.generate("thinker", "hi", think=True)
    assert ((answer.thinking or "").strip(), answer.response) == (THOUGHT, SENTENCE)


def test_thinking_is_refused_by_a_model_that_does_not_think(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match='"plain" does not support thinking') as caught:
        client.chat("plain", HI, think=True)
    assert caught.value.status_code == 400


# ---- what else an answer has ---------------------------------------------------------------------------------------


def test_logprobs(client: ollama.Client) -> None:
    answer = client.chat("hello", HI, logprobs=True, top_logprobs=2)
    assert "".join(one.token for one in answer.logprobs or ()) == SENTENCE
    assert all(one.logprob <= 0 and len(one.top_logprobs or ()) == 2 for one in answer.logprobs or ())
    frames = list(client.generate("hello", "hi", logprobs=True, top_logprobs=1, stream=True))
    assert "".join(one.token for frame in frames for one in frame.logprobs or ()) == SENTENCE


def test_images_are_refused_by_a_text_model(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match=r"does not support vision|image") as chat:
        client.chat("hello", [{"role": "user", "content": "what is this?", "images": [PIXEL]}])
    with pytest.raises(ollama.ResponseError, match=r"does not support vision|image") as generate:
        client.generate("hello", "what is this?", images=[PIXEL])
    assert chat.value.status_code == generate.value.status_code
    assert client.chat("hello", HI).message.content == SENTENCE


# ---- embeddings ----------------------------------------------------------------------------------------------------


def test_embed(client: ollama.Client) -> None:
    answer = client.embed("embedder", ["a llama", "a mule"])
    assert [len(vector) for vector in answer.embeddings] == [64, 64]
    assert all(math.isclose(math.hypot(*vector), 1, rel_tol=1e-3) for vector in answer.embeddings)
    assert answer.prompt_eval_count and answer.model == "embedder"
    alone = client.embed("embedder", "a llama").embeddings
    assert [round(value, 3) for value in alone[0]] == [round(value, 3) for value in answer.embeddings[0]]


def test_embed_with_fewer_dimensions(client: ollama.Client) -> None:
    (vector,) = client.embed("embedder", "a llama", dimensions=8).embeddings
    assert len(vector) == 8 and math.isclose(math.hypot(*vector), 1, rel_tol=1e-3)


def test_embed_cuts_a_text_that_is_too_long(client: ollama.Client) -> None:
    assert len(client.embed("embedder", "llama " * 2000).embeddings) == 1


@pytest.mark.parametrize("door", ["engine", "by_ollama"], indirect=True)
def test_embed_of_a_text_that_must_not_be_cut(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="input length exceeds") as caught:
        client.embed("embedder", "llama " * 2000, truncate=False)
    assert caught.value.status_code == 400


def test_embeddings(client: ollama.Client) -> None:
    assert len(client.embeddings("embedder", "a llama").embedding) == 64


# ---- the catalog ---------------------------------------------------------------------------------------------------


def test_list(client: ollama.Client) -> None:
    models = {model.model: model for model in client.list().models}
    assert {"hello:latest", "thinker:latest", "embedder:latest"} <= models.keys()
    assert "broken:latest" not in models
    assert all(len(model.digest or "") == 64 and model.size and model.modified_at for model in models.values())


def test_show(client: ollama.Client) -> None:
    shown = client.show("hello")
    assert "completion" in (shown.capabilities or ())
    assert shown.modelinfo and shown.details and shown.modified_at


def test_load_ps_unload(client: ollama.Client, door: Program) -> None:
    def loaded() -> dict[str | None, Any]:
        return {model.model: model for model in client.ps().models}

    assert client.generate("plain").done_reason == "load"
    assert loaded()["plain:latest"].expires_at is not None
    assert client.generate("plain", keep_alive=0).done_reason == "unload"
    assert "plain:latest" not in loaded()
    client.chat("plain", HI, keep_alive=-1)
    assert loaded()["plain:latest"].expires_at.year > 2100
    client.chat("plain", HI, keep_alive=0)
    assert "plain:latest" not in loaded()


# ---- errors --------------------------------------------------------------------------------------------------------


def test_an_unknown_model(client: ollama.Client) -> None:
    def failed(call: Any) -> tuple[int, str]:
        with pytest.raises(ollama.ResponseError) as caught:
            call()
        return caught.value.status_code, caught.value.error

    assert failed(lambda: client.chat("nope", HI)) == (404, "model 'nope' not found")
    assert failed(lambda: list(client.chat("nope", HI, stream=True))) == (404, "model 'nope' not found")
    assert failed(lambda: client.generate("nope", "x")) == (404, "model 'nope' not found")
    assert failed(lambda: client.embed("nope", "x")) == (404, 'model "nope" not found, try pulling it first')
    assert failed(lambda: client.show("nope")) == (404, "model 'nope:latest' not found")


def test_an_embedding_model_does_not_chat(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="does not support chat") as caught:
        client.chat("embedder", HI)
    assert caught.value.status_code == 400


def test_the_library_without_anyone_who_manages_models(by_openai: Program) -> None:
    with (
        ollama.Client(by_openai.url, timeout=20) as client,
        pytest.raises(ollama.ResponseError, match="needs one of kind ollama, or of kind engine") as caught,
    ):
        client.pull("llama")
    assert caught.value.status_code == 501
