"""What is played in, Ollama's answers out."""

import json
from math import inf
from typing import Any

import pytest

from arriero.backends.scripted import ollama
from arriero.backends.scripted.reply import Reply
from arriero.backends.scripted.script import Form, Model, Play, ToolCall, Usage

CALL = ToolCall("weather", {"city": "Lima"})
METRICS = {
    "total_duration": 900,
    "load_duration": 100,
    "prompt_eval_count": 7,
    "prompt_eval_duration": 200,
    "eval_count": 1,
    "eval_duration": 300,
}
SEEN = {"id": "call_scripted0", "function": {"index": 0, "name": "weather", "arguments": {"city": "Lima"}}}


def frames(reply: Reply) -> list[Any]:
    """The frames of a stream, without what is the same in all."""
    assert (reply.status, reply.content_type, reply.stream) == (200, "application/x-ndjson", True)
    found = [json.loads(piece) for piece in reply.pieces]
    for frame in found:
        assert "error" in frame or (frame.pop("model"), frame.pop("created_at")) == ("tiny", ollama.CREATED)
    return found


def value(reply: Reply) -> Any:
    assert (reply.content_type, reply.stream) == ("application/json; charset=utf-8", False)
    return json.loads(b"".join(reply.pieces))


def message(content: str = "", **more: object) -> dict[str, object]:
    return {"role": "assistant", "content": content, **more}


END = {"message": message(), "done": True, "done_reason": "stop"}


@pytest.mark.parametrize(
    ("play", "expected"),
    [
        (Play(say="Hi"), [{"message": message("Hi"), "done": False}, END | METRICS]),
        (
            Play(say="Hi", form=Form(finish_chunk=False)),
            [{"message": message("Hi"), **END | METRICS | {"message": message("Hi")}}],
        ),
        (Play(say="Hi", usage=False), [{"message": message("Hi"), "done": False}, END]),
        (
            Play(say="Hi", usage=False, finish="none"),
            [{"message": message("Hi"), "done": False}, {"message": message(), "done": True}],
        ),
        (
            Play(say="Hi", think="Hm", usage=Usage(7, 1)),
            [
                {"message": message(thinking="Hm"), "done": False},
                {"message": message("Hi"), "done": False},
                END | METRICS,
            ],
        ),
        (Play(call=(CALL,)), [{"message": message(tool_calls=[SEEN]), "done": False}, END | METRICS]),
        (Play(say="Hi", error="boom"), [{"message": message("Hi"), "done": False}, {"error": "boom"}]),
    ],
)
def test_chat_streams(play: Play, expected: list[Any]) -> None:
    assert frames(ollama.chat(play, {}, "tiny")) == expected


def test_generate() -> None:
    assert frames(ollama.generate(Play(say="Hi", usage=False), {}, "tiny")) == [
        {"response": "Hi", "done": False},
        {"response": "", "done": True, "done_reason": "stop"},
    ]
    whole = value(ollama.generate(Play(say="Hi you", think="Hm", usage=False), {"stream": False}, "tiny"))
    assert whole == {
        "model": "tiny",
        "created_at": ollama.CREATED,
        "response": "Hi you",
        "thinking": "Hm",
        "done": True,
        "done_reason": "stop",
    }


def test_a_whole_chat() -> None:
    play = Play(say="Hi", think="Hm", call=(CALL,), form=Form(reasoning="tags"), usage=Usage(7, 1))
    assert value(ollama.chat(play, {"stream": False}, "tiny")) == {
        "model": "tiny",
        "created_at": ollama.CREATED,
        "message": message("<think>Hm</think>Hi", tool_calls=[SEEN]),
        "done": True,
        "done_reason": "stop",
        **METRICS,
    }
    failed = ollama.chat(Play(error="boom"), {"stream": False}, "tiny")
    assert (failed.status, value(failed)) == (500, {"error": "boom"})


def test_the_form_can_be_forced() -> None:
    assert not ollama.chat(Play(form=Form(shape="json")), {}, "tiny").stream
    assert ollama.chat(Play(form=Form(shape="stream")), {"stream": False}, "tiny").stream


def test_loading() -> None:
    assert value(ollama.loading("tiny", "load", chatting=True))["message"] == message()
    assert value(ollama.loading("tiny", "unload", chatting=False)) == {
        "model": "tiny",
        "created_at": ollama.CREATED,
        "response": "",
        "done": True,
        "done_reason": "unload",
    }


@pytest.mark.parametrize(
    ("play", "body", "lengths"),
    [
        (Play(), {"input": "a"}, [8]),
        (Play(), {"input": ["a", "b"]}, [8, 8]),
        (Play(), {"input": "a", "dimensions": 3}, [3]),
        (Play(), {"input": "a", "dimensions": 99}, [8]),
        (Play(embed=5), {"input": ["a"]}, [5]),
        (Play(), {"input": ""}, []),
        (Play(), {}, []),
    ],
)
def test_embed(play: Play, body: dict[str, Any], lengths: list[int]) -> None:
    found = value(ollama.embed(play, body, "tiny", 8))
    assert [len(vector) for vector in found["embeddings"]] == lengths
    assert found.get("prompt_eval_count") == (len(lengths) or None)


def test_the_old_embeddings() -> None:
    assert len(value(ollama.embeddings(Play(), {"prompt": "a"}, 8))["embedding"]) == 8
    assert value(ollama.embeddings(Play(), {"prompt": ""}, 8)) == {"embedding": []}


def test_listings() -> None:
    model = Model(name="tiny", context_length=512, embedding_length=4, capabilities=("completion",), size_bytes=9)
    (tag,) = value(ollama.tags([model]))["models"]
    details = {
        "parent_model": "",
        "format": "gguf",
        "family": "llama",
        "families": ["llama"],
        "parameter_size": "1.2B",
        "quantization_level": "Q8_0",
    }
    assert tag == {
        "name": "tiny:latest",
        "model": "tiny:latest",
        "modified_at": ollama.CREATED,
        "size": 9,
        "digest": ollama.digest("tiny:latest"),
        "details": {**details, "context_length": 512, "embedding_length": 4},
        "capabilities": ["completion"],
    }
    process, other = value(ollama.ps([(model, inf), (model, 1e9 + 0.25)]))["models"]
    assert other == process | {"expires_at": "2001-09-09T01:46:40.250000Z"}
    assert process == {
        "name": "tiny:latest",
        "model": "tiny:latest",
        "size": 9,
        "digest": ollama.digest("tiny:latest"),
        "details": details,
        "expires_at": ollama.FOREVER,
        "size_vram": 9,
        "context_length": 512,
    }
    shown = value(ollama.show(model))
    assert (shown["capabilities"], shown["model_info"]["llama.context_length"]) == (["completion"], 512)


@pytest.mark.parametrize(("name", "tagged"), [("a", "a:latest"), ("a:b", "a:b"), ("h:5000/a", "h:5000/a:latest")])
def test_tagged(name: str, tagged: str) -> None:
    assert ollama.tagged(name) == tagged


def test_long_operations() -> None:
    layer = ollama.digest("tiny")
    blob = {"status": f"pulling {layer[:12]}", "digest": f"sha256:{layer}", "total": 1000}
    assert frames_of(ollama.pulling("tiny", {}, Play())) == [
        {"status": "pulling manifest"},
        blob,
        {**blob, "completed": 500},
        {**blob, "completed": 1000},
        {"status": "verifying sha256 digest"},
        {"status": "writing manifest"},
        {"status": "success"},
    ]
    pushed = [frame["status"] for frame in frames_of(ollama.pulling("tiny", {}, Play(), push=True))]
    assert pushed == ["retrieving manifest", *[f"pushing {layer[:12]}"] * 3, "pushing manifest", "success"]
    assert frames_of(ollama.creating({"from": "a"}, Play()))[-1] == {"status": "success"}
    assert frames_of(ollama.pulling("tiny", {}, Play(error="no"))) == [{"status": "pulling manifest"}, {"error": "no"}]
    for error, status, last in ((None, 200, {"status": "success"}), ("no", 500, {"error": "no"})):
        whole = ollama.pulling("tiny", {"stream": False}, Play(error=error))
        assert (whole.status, whole.content_type, json.loads(whole.pieces[0])) == (status, "application/json", last)


def frames_of(reply: Reply) -> list[Any]:
    assert reply.stream
    return [json.loads(piece) for piece in reply.pieces]
