"""OpenAI's own Python client against the running program, over each kind of backend."""

import json
from typing import Any

import openai
import pytest

from e2e.conftest import CLOCK, FORECAST, SENTENCE, THOUGHT, TOOLS
from e2e.test_ollama_client import PIXEL, SCHEMA
from support.program import Program

HI: Any = [{"role": "user", "content": "hi"}]
EVERY_TOOL: Any = TOOLS


def test_chat(openai_client: openai.OpenAI) -> None:
    answer = openai_client.chat.completions.create(model="hello", messages=HI)
    assert answer.choices[0].message.content == SENTENCE
    assert (answer.choices[0].finish_reason, answer.object, answer.model) == ("stop", "chat.completion", "hello")
    assert answer.usage is not None and answer.usage.completion_tokens == 8
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 8


def test_chat_in_a_stream(openai_client: openai.OpenAI) -> None:
    chunks = list(openai_client.chat.completions.create(model="hello", messages=HI, stream=True))
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == SENTENCE
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1] == "stop"
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks)


def test_usage_at_the_end_of_a_stream(openai_client: openai.OpenAI) -> None:
    options: Any = {"include_usage": True}
    chunks = list(
        openai_client.chat.completions.create(model="hello", messages=HI, stream=True, stream_options=options)
    )
    assert [chunk.usage.completion_tokens for chunk in chunks if chunk.usage] == [8]
    assert (chunks[-1].choices, chunks[-1].usage is not None) == ([], True)


async def test_the_async_client(door: Program) -> None:
    async with openai.AsyncOpenAI(base_url=f"{door.url}/v1", api_key="any", timeout=20, max_retries=0) as client:
        stream = await client.chat.completions.create(model="hello", messages=HI, stream=True)
        text = "".join([choice.delta.content or "" async for chunk in stream for choice in chunk.choices])
    assert text == SENTENCE


@pytest.mark.parametrize(("model", "wanted"), [("caller", [FORECAST]), ("twice", [FORECAST, CLOCK])])
def test_tool_calls(openai_client: openai.OpenAI, model: str, wanted: list[tuple[str, Any]]) -> None:
    whole = openai_client.chat.completions.create(model=model, messages=HI, tools=EVERY_TOOL)
    found: list[Any] = list(whole.choices[0].message.tool_calls or ())
    assert [(call.function.name, json.loads(call.function.arguments)) for call in found] == wanted
    assert whole.choices[0].finish_reason == "tool_calls"
    assert len({call.id for call in found}) == len(wanted)

    names: dict[int, str] = {}
    arguments: dict[int, str] = {}
    reasons = []
    for chunk in openai_client.chat.completions.create(model=model, messages=HI, tools=EVERY_TOOL, stream=True):
        for choice in chunk.choices:
            reasons.append(choice.finish_reason)
            for call in choice.delta.tool_calls or ():
                assert call.function is not None
                names[call.index] = names.get(call.index, "") + (call.function.name or "")
                arguments[call.index] = arguments.get(call.index, "") + (call.function.arguments or "")
    assert [(names[index], json.loads(arguments[index])) for index in sorted(names)] == wanted
    assert reasons[-1] == "tool_calls"


def test_tool_results_are_sent_back(openai_client: openai.OpenAI) -> None:
    asked = openai_client.chat.completions.create(model="caller", messages=HI, tools=EVERY_TOOL).choices[0].message
    (call,) = list(asked.tool_calls or ())
    history: Any = [*HI, asked.model_dump(), {"role": "tool", "tool_call_id": call.id, "content": "22 degrees"}]
    answer = openai_client.chat.completions.create(model="hello", messages=history, tools=EVERY_TOOL)
    assert answer.choices[0].message.content == SENTENCE


def test_an_answer_after_a_schema(openai_client: openai.OpenAI) -> None:
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
    answer = openai_client.chat.completions.create(
        model="noise", messages=HI, response_format=wanted, max_tokens=600, seed=3
    )
    found = json.loads(answer.choices[0].message.content or "")
    assert found.keys() == {"yes", "count"} and 1 <= found["count"] <= 9


def test_reasoning(openai_client: openai.OpenAI) -> None:
    message: Any = openai_client.chat.completions.create(model="thinker", messages=HI).choices[0].message
    assert (message.content, message.reasoning_content.strip()) == (SENTENCE, THOUGHT)


def test_images_are_refused_by_a_text_model(openai_client: openai.OpenAI) -> None:
    url = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    asked: Any = [{"role": "user", "content": [{"type": "text", "text": "what is this?"}, url]}]
    with pytest.raises(openai.APIStatusError, match="image"):
        openai_client.chat.completions.create(model="hello", messages=asked)


def test_completions(openai_client: openai.OpenAI) -> None:
    answer = openai_client.completions.create(model="hello", prompt="hi")
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == (SENTENCE, "stop")
    chunks = list(openai_client.completions.create(model="hello", prompt="hi", stream=True))
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == SENTENCE


def test_embeddings_in_both_encodings(openai_client: openai.OpenAI) -> None:
    """The client asks for base64 unless it is told otherwise."""
    texts = ["a llama", "a mule"]
    packed = openai_client.embeddings.create(model="embedder", input=texts)
    plain = openai_client.embeddings.create(model="embedder", input=texts, encoding_format="float")
    assert [one.index for one in packed.data] == [one.index for one in plain.data] == [0, 1]
    for one, other in zip(packed.data, plain.data, strict=True):
        assert len(one.embedding) == 64
        assert one.embedding == pytest.approx(other.embedding, abs=1e-3)
    assert packed.usage.prompt_tokens > 0


def test_models(openai_client: openai.OpenAI) -> None:
    listed = {model.id: model for model in openai_client.models.list()}
    names = {id.removesuffix(":latest") for id in listed}
    assert {"hello", "acme/fast"} <= names
    assert all(model.object == "model" and model.created > 0 for model in listed.values())
    (slashed,) = [id for id in listed if id.startswith("acme/")]
    assert openai_client.models.retrieve(slashed).id == slashed
    assert openai_client.models.retrieve("hello").id == "hello"


def test_a_name_with_a_slash_answers(openai_client: openai.OpenAI) -> None:
    answer = openai_client.chat.completions.create(model="acme/fast", messages=HI)
    assert (answer.choices[0].message.content, answer.model) == (SENTENCE, "acme/fast")


def test_errors(openai_client: openai.OpenAI) -> None:
    nonsense: Any = "hi"
    with pytest.raises(openai.NotFoundError) as missing:
        openai_client.chat.completions.create(model="nope", messages=HI)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        openai_client.models.retrieve("acme/nope")
    with pytest.raises(openai.BadRequestError):
        openai_client.chat.completions.create(model="hello", messages=nonsense)
    with pytest.raises(openai.BadRequestError, match="chat"):
        openai_client.chat.completions.create(model="embedder", messages=HI)
