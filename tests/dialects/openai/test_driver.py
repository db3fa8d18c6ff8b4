"""Canonical requests to the bodies of OpenAI-compatible backends, vendor by vendor."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from arriero.canonical.requests import (
    ChatRequest,
    CompletionRequest,
    EmbedRequest,
    Image,
    JsonFormat,
    Message,
    Sampling,
    SchemaFormat,
    Text,
    Think,
    Tool,
)
from arriero.dialects.base import Target
from arriero.dialects.openai.driver import encode_chat, encode_completion, encode_embed
from arriero.dialects.openai.requests import decode_chat, decode_completion
from arriero.dialects.profiles import PROFILES
from arriero.errors import UnsupportedContent

USER = (Message("user", (Text("Hi"),)),)
WIRE = [{"role": "user", "content": "Hi"}]
BASE = {"model": "far", "messages": WIRE, "stream": False}
SCHEMA = Raw(b'{"type":"object","properties":{"b":{},"a":{}}}')
TOOL = Tool("f", Raw(b'{"type":"function","function":{"name":"f","parameters":{"$ref":"#/x"}}}'))
EVERY_KNOB = Sampling(
    max_tokens=9,
    temperature=0.5,
    top_p=0.9,
    top_k=40,
    min_p=0.1,
    typical_p=0.7,
    seed=3,
    stop=("a", "b"),
    presence_penalty=0.25,
    frequency_penalty=0.75,
    repeat_penalty=1.5,
    repeat_last_n=64,
    num_keep=4,
)


def chat(profile: str = "generic", model: str = "far", **fields: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body as JSON, and what was dropped."""
    out = encode_chat(ChatRequest(model="near", messages=USER, **fields), Target(model, PROFILES[profile]))
    assert out.path == "/chat/completions"
    return json.loads(out.body), out.dropped


def test_only_what_the_client_said() -> None:
    assert chat() == (BASE, ())


def test_a_stream_asks_for_usage() -> None:
    assert chat(stream=True) == (BASE | {"stream": True, "stream_options": {"include_usage": True}}, ())


def test_a_vendor_without_stream_options() -> None:
    assert chat("mistral", stream=True) == (BASE | {"stream": True}, ())


SAMPLING: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "generic": (
        {
            "temperature": 0.5,
            "top_p": 0.9,
            "seed": 3,
            "presence_penalty": 0.25,
            "frequency_penalty": 0.75,
            "max_tokens": 9,
        },
        ("top_k", "min_p", "typical_p", "repeat_penalty", "repeat_last_n", "num_keep"),
    ),
    "openai": (
        {
            "temperature": 0.5,
            "top_p": 0.9,
            "seed": 3,
            "presence_penalty": 0.25,
            "frequency_penalty": 0.75,
            "max_completion_tokens": 9,
        },
        ("top_k", "min_p", "typical_p", "repeat_penalty", "repeat_last_n", "num_keep"),
    ),
    "vllm": (
        {
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 40,
            "min_p": 0.1,
            "seed": 3,
            "presence_penalty": 0.25,
            "frequency_penalty": 0.75,
            "repetition_penalty": 1.5,
            "max_tokens": 9,
        },
        ("typical_p", "repeat_last_n", "num_keep"),
    ),
    "llama-server": (
        {
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 40,
            "min_p": 0.1,
            "typical_p": 0.7,
            "seed": 3,
            "presence_penalty": 0.25,
            "frequency_penalty": 0.75,
            "repeat_penalty": 1.5,
            "repeat_last_n": 64,
            "n_keep": 4,
            "max_tokens": 9,
        },
        (),
    ),
    "mistral": (
        {
            "temperature": 0.5,
            "top_p": 0.9,
            "random_seed": 3,
            "presence_penalty": 0.25,
            "frequency_penalty": 0.75,
            "max_tokens": 9,
        },
        ("top_k", "min_p", "typical_p", "repeat_penalty", "repeat_last_n", "num_keep"),
    ),
    "groq": (
        {"temperature": 0.5, "top_p": 0.9, "seed": 3, "max_completion_tokens": 9},
        (
            "top_k",
            "min_p",
            "typical_p",
            "presence_penalty",
            "frequency_penalty",
            "repeat_penalty",
            "repeat_last_n",
            "num_keep",
        ),
    ),
}


@pytest.mark.parametrize("profile", SAMPLING)
def test_sampling(profile: str) -> None:
    fields, dropped = SAMPLING[profile]
    assert chat(profile, sampling=EVERY_KNOB) == (BASE | fields | {"stop": ["a", "b"]}, dropped)


NOTHING_TO_SAY = {
    "a negative seed means a random one": Sampling(seed=-1),
    "no limit": Sampling(max_tokens=-1),
    "no limit either": Sampling(max_tokens=0),
    "no stop strings": Sampling(stop=()),
}


@pytest.mark.parametrize("case", NOTHING_TO_SAY)
def test_left_out(case: str) -> None:
    assert chat(sampling=NOTHING_TO_SAY[case]) == (BASE, ())


def test_too_many_stops() -> None:
    sampling = Sampling(stop=("a", "b", "c", "d", "e"))
    assert chat("openai", sampling=sampling) == (BASE | {"stop": ["a", "b", "c", "d"]}, ("stop",))
    assert chat("vllm", sampling=sampling) == (BASE | {"stop": ["a", "b", "c", "d", "e"]}, ())


JSON_SCHEMA = {
    "type": "json_schema",
    "json_schema": {"name": "schema", "schema": {"type": "object", "properties": {"b": {}, "a": {}}}},
}


def test_format() -> None:
    assert chat(format=JsonFormat()) == (BASE | {"response_format": {"type": "json_object"}}, ())
    assert chat(format=SchemaFormat(SCHEMA)) == (BASE | {"response_format": JSON_SCHEMA}, ())


def test_a_named_strict_schema() -> None:
    body, _ = chat(format=SchemaFormat(Raw(b"{}"), "person", True))
    assert body["response_format"]["json_schema"] == {"name": "person", "schema": {}, "strict": True}


def test_a_schema_keeps_its_key_order() -> None:
    out = encode_chat(
        ChatRequest(model="near", messages=USER, format=SchemaFormat(SCHEMA)), Target("far", PROFILES["vllm"])
    )
    assert bytes(SCHEMA) in out.body


def test_a_vendor_without_schemas() -> None:
    assert chat("deepseek", format=SchemaFormat(SCHEMA)) == (
        BASE | {"response_format": {"type": "json_object"}},
        ("format",),
    )


def test_a_vendor_without_json_mode() -> None:
    body, dropped = chat("lmstudio", format=JsonFormat())
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "schema", "schema": {"type": "object"}},
    }
    assert dropped == ()


NOT_SAID: tuple[str, ...] = ("think",)
THINK: list[tuple[str, str, Think, dict[str, Any], tuple[str, ...]]] = [
    # OpenAI: by the model's family
    ("openai", "gpt-4o", False, {}, ()),
    ("openai", "gpt-4o", True, {}, NOT_SAID),
    ("openai", "gpt-4o", "high", {}, NOT_SAID),
    ("openai", "o3-mini", False, {}, NOT_SAID),
    ("openai", "o3-mini", True, {}, ()),
    ("openai", "o3-mini", "max", {"reasoning_effort": "high"}, ()),
    ("openai", "gpt-5-codex", False, {}, NOT_SAID),
    ("openai", "gpt-5-pro", "low", {"reasoning_effort": "high"}, ()),
    ("openai", "gpt-5.2-pro", "low", {"reasoning_effort": "medium"}, ()),
    ("openai", "gpt-5-mini", False, {"reasoning_effort": "minimal"}, ()),
    ("openai", "gpt-5-chat-latest", "high", {}, NOT_SAID),
    ("openai", "gpt-5.1", False, {"reasoning_effort": "none"}, ()),
    ("openai", "gpt-5.1", True, {"reasoning_effort": "medium"}, ()),
    ("openai", "gpt-5.1", "max", {"reasoning_effort": "high"}, ()),
    ("openai", "gpt-5.2", "max", {"reasoning_effort": "xhigh"}, ()),
    ("azure", "gpt-5.2", "low", {"reasoning_effort": "low"}, ()),
    # template arguments, and the field for those that read it
    ("vllm", "qwen3", False, {"chat_template_kwargs": {"enable_thinking": False}}, ()),
    ("vllm", "qwen3", True, {"chat_template_kwargs": {"enable_thinking": True}}, ()),
    (
        "vllm",
        "gpt-oss",
        "max",
        {"chat_template_kwargs": {"enable_thinking": True, "reasoning_effort": "high"}, "reasoning_effort": "high"},
        (),
    ),
    ("engine", "qwen3", False, {"chat_template_kwargs": {"enable_thinking": False}}, ()),
    ("openrouter", "x/y", False, {"reasoning": {"effort": "none"}}, ()),
    ("openrouter", "x/y", True, {"reasoning": {"enabled": True}}, ()),
    ("openrouter", "x/y", "max", {"reasoning": {"effort": "xhigh"}}, ()),
    ("deepseek", "deepseek-chat", False, {"thinking": {"type": "disabled"}}, ()),
    ("deepseek", "deepseek-chat", True, {"thinking": {"type": "enabled"}}, ()),
    ("deepseek", "deepseek-chat", "medium", {"thinking": {"type": "enabled"}, "reasoning_effort": "high"}, ()),
    ("together", "Qwen/Qwen3", False, {"reasoning": {"enabled": False}}, ()),
    ("together", "openai/gpt-oss-20b", "low", {"reasoning_effort": "low"}, ()),
    ("groq", "qwen/qwen3-32b", False, {"reasoning_effort": "none"}, ()),
    ("groq", "qwen/qwen3-32b", "high", {"reasoning_effort": "default"}, ()),
    ("groq", "llama-3.3-70b", False, {}, ()),
    ("xai", "grok-4", "high", {}, NOT_SAID),
    ("xai", "grok-4.3", False, {"reasoning_effort": "none"}, ()),
    ("google", "gemini-2.5-flash", False, {"reasoning_effort": "none"}, ()),
    ("google", "gemini-2.5-pro", False, {}, NOT_SAID),
    ("mistral", "ministral-8b-latest", False, {}, ()),
    ("mistral", "mistral-small-latest", False, {"reasoning_effort": "none"}, ()),
    ("mistral", "mistral-small-latest", "low", {"reasoning_effort": "high"}, ()),
    ("ollama", "qwen3", False, {"reasoning_effort": "none"}, ()),
    ("generic", "any", False, {}, NOT_SAID),
    ("generic", "any", True, {}, ()),
    ("generic", "any", "low", {"reasoning_effort": "low"}, ()),
    ("generic", "any", "surely", {}, NOT_SAID),
]


@pytest.mark.parametrize(("profile", "model", "think", "fields", "dropped"), THINK)
def test_think(profile: str, model: str, think: Think, fields: dict[str, Any], dropped: tuple[str, ...]) -> None:
    assert chat(profile, model, think=think) == (BASE | {"model": model} | fields, dropped)


def test_tools_go_out_as_they_came() -> None:
    out = encode_chat(ChatRequest(model="near", messages=USER, tools=(TOOL,)), Target("far", PROFILES["openai"]))
    assert b'"tools":[' + bytes(TOOL.raw) + b"]" in out.body


def test_tool_choice() -> None:
    choice: dict[str, Any] = {"tool_choice": Raw(b'"required"'), "parallel_tool_calls": False}
    wire = {"tools": [json.loads(bytes(TOOL.raw))], "tool_choice": "required", "parallel_tool_calls": False}
    assert chat("openai", tools=(TOOL,), **choice) == (BASE | wire, ())
    body, dropped = chat("ollama", tools=(TOOL,), **choice)
    assert ("tool_choice" in body, dropped) == (False, ("tool_choice", "parallel_tool_calls"))


def test_no_tools_no_choice() -> None:
    assert chat("openai", tools=(), tool_choice=Raw(b'"auto"')) == (BASE, ())


def test_logprobs() -> None:
    assert chat(logprobs=True) == (BASE | {"logprobs": True}, ())
    assert chat(logprobs=True, top_logprobs=5) == (BASE | {"logprobs": True, "top_logprobs": 5}, ())
    assert chat(top_logprobs=5) == (BASE | {"logprobs": True, "top_logprobs": 5}, ())
    assert chat("groq", logprobs=True) == (BASE, ("logprobs",))


def test_what_the_gateway_handles_is_not_sent() -> None:
    assert chat(keep_alive=300.0, truncate=False, shift=True) == (BASE, ())


def test_load_time_options_are_named() -> None:
    assert chat(runner={"num_ctx": 8192, "num_gpu": 1}) == (BASE, ("num_ctx", "num_gpu"))


def test_unknown_fields_of_an_openai_client_travel_on() -> None:
    extra = {"user": Raw(b'"u1"'), "logit_bias": Raw(b'{"5":-100}')}
    assert chat(extra=extra, dialect="openai") == (BASE | {"user": "u1", "logit_bias": {"5": -100}}, ())


def test_unknown_fields_of_another_dialect_are_named() -> None:
    assert chat(extra={"_debug_render_only": Raw(b"true")}, dialect="ollama") == (BASE, ("_debug_render_only",))


def test_several_choices_cannot_be_answered() -> None:
    assert chat(extra={"n": Raw(b"2")}, dialect="openai") == (BASE, ("n",))
    assert chat(extra={"n": Raw(b"1")}, dialect="openai") == (BASE, ())


def test_an_unknown_field_does_not_overwrite() -> None:
    assert chat(extra={"stream": Raw(b"true")}, dialect="openai") == (BASE, ("stream",))


def test_a_token_budget_wins_over_the_effort() -> None:
    extra = {"reasoning": Raw(b'{"effort":"low","exclude":true}')}
    assert chat("openrouter", think="low", extra=extra, dialect="openai") == (
        BASE | {"reasoning": {"effort": "low", "exclude": True}},
        (),
    )


def test_a_vendors_own_fields_travel_from_every_client_and_others_do_not() -> None:
    own = {"provider": Raw(b'{"only":["a"]}'), "models": Raw(b'["a","b"]')}
    assert chat("openrouter", extra={**own, "keep": Raw(b"1")}, dialect="ollama") == (
        BASE | {"provider": {"only": ["a"]}, "models": ["a", "b"]},
        ("keep",),
    )
    assert chat("openrouter", think="low", extra={"reasoning": Raw(b'{"max_tokens":9}')}, dialect="ollama") == (
        BASE | {"reasoning": {"max_tokens": 9}},
        (),
    )
    assert chat("groq", extra=own, dialect="ollama") == (BASE, ("provider", "models"))


def test_a_vendor_may_want_the_model_in_the_path() -> None:
    target = Target("gpt 4", PROFILES["azure-deployments"])
    assert encode_chat(ChatRequest(model="near", messages=USER), target).path == "/deployments/gpt%204/chat/completions"
    assert encode_completion(CompletionRequest(model="near", prompt="a"), target).path == (
        "/deployments/gpt%204/completions"
    )
    assert encode_embed(EmbedRequest(model="near", inputs=("a",)), target).path == "/deployments/gpt%204/embeddings"


def test_template_arguments_are_joined() -> None:
    extra = {"chat_template_kwargs": Raw(b'{"custom":1}')}
    assert chat("vllm", think=False, extra=extra, dialect="openai") == (
        BASE | {"chat_template_kwargs": {"enable_thinking": False, "custom": 1}},
        (),
    )


def test_a_lone_surrogate_travels_as_an_escape() -> None:
    request = ChatRequest(model="near", messages=(Message("user", (Text("a\ud83d"),)),))
    out = encode_chat(request, Target("far", PROFILES["generic"]))
    assert b'"a\\ud83d"' in out.body


# ---- completions ---------------------------------------------------------------------------------------------------


def completion(profile: str = "generic", **fields: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    out = encode_completion(CompletionRequest(model="near", prompt="a", **fields), Target("far", PROFILES[profile]))
    assert out.path == "/completions"
    return json.loads(out.body), out.dropped


TEXT = {"model": "far", "prompt": "a", "stream": False}


def test_completion() -> None:
    assert completion() == (TEXT, ())
    assert completion(suffix="z", stream=True) == (
        TEXT | {"suffix": "z", "stream": True, "stream_options": {"include_usage": True}},
        (),
    )
    assert completion("openai", sampling=Sampling(max_tokens=5)) == (TEXT | {"max_tokens": 5}, ())
    assert completion(logprobs=True) == (TEXT | {"logprobs": 1}, ())
    assert completion(logprobs=True, top_logprobs=3) == (TEXT | {"logprobs": 3}, ())


def test_completion_format() -> None:
    schema = json.loads(bytes(SCHEMA))
    assert completion("engine", format=SchemaFormat(SCHEMA)) == (TEXT | {"json_schema": schema}, ())
    assert completion("engine", format=JsonFormat()) == (TEXT | {"json_schema": {"type": "object"}}, ())
    assert completion("vllm", format=SchemaFormat(SCHEMA)) == (TEXT | {"response_format": JSON_SCHEMA}, ())
    assert completion("openai", format=JsonFormat()) == (TEXT, ("format",))


def test_a_completion_takes_no_images() -> None:
    with pytest.raises(UnsupportedContent):
        completion(images=(Image(data="aGk="),))


# ---- embeddings ----------------------------------------------------------------------------------------------------


def embed(profile: str, **fields: Any) -> dict[str, Any]:
    out = encode_embed(EmbedRequest(model="near", **fields), Target("far", PROFILES[profile]))
    assert (out.path, out.dropped) == ("/embeddings", ())
    return dict(json.loads(out.body))


def test_embed() -> None:
    base = {"model": "far", "encoding_format": "float"}
    assert embed("openai", inputs=("a",)) == base | {"input": ["a"]}
    assert embed("openai", inputs=("a", "")) == base | {"input": ["a", " "]}
    assert embed("llama-server", inputs=("a", "")) == base | {"input": ["a", ""]}
    assert embed("engine", inputs=("a", "")) == base | {"input": ["a", " "]}
    assert embed("openai", inputs=((1, 2), (3,))) == base | {"input": [[1, 2], [3]]}
    assert embed("openai", inputs=("a",), dimensions=64) == base | {"input": ["a"], "dimensions": 64}
    assert embed("mistral", inputs=("a",), dimensions=64) == base | {"input": ["a"], "output_dimension": 64}
    assert embed("vllm", inputs=("a",), dimensions=64) == base | {"input": ["a"]}


# ---- there and back ------------------------------------------------------------------------------------------------

numbers = st.floats(0, 2, width=32)
samplings = st.builds(
    Sampling,
    max_tokens=st.none() | st.integers(1, 9999),
    temperature=st.none() | numbers,
    top_p=st.none() | numbers,
    top_k=st.none() | st.integers(-1, 100),
    min_p=st.none() | numbers,
    typical_p=st.none() | numbers,
    seed=st.none() | st.integers(0, 2**31),
    stop=st.none() | st.lists(st.text(), min_size=1, max_size=4).map(tuple),
    presence_penalty=st.none() | numbers,
    frequency_penalty=st.none() | numbers,
    repeat_penalty=st.none() | numbers,
    repeat_last_n=st.none() | st.integers(-1, 100),
)


@given(
    st.lists(
        st.builds(
            Message, st.sampled_from(["system", "user", "assistant"]), st.builds(Text, st.text()).map(lambda t: (t,))
        ),
        min_size=1,
    ).map(tuple),
    samplings,
    st.booleans(),
    st.none() | st.sampled_from(["minimal", "low", "medium", "high"]),
)
def test_decode_undoes_encode(
    messages: tuple[Message, ...], sampling: Sampling, stream: bool, think: str | None
) -> None:
    request = ChatRequest(
        model="m",
        messages=messages,
        sampling=sampling,
        stream=stream,
        include_usage=stream,
        think=think,
        tools=(TOOL,),
        tool_choice=Raw(b'"auto"'),
        dialect="openai",
    )
    # llama-server takes every knob but `n_keep`, which is no field of this API.
    profile = replace(PROFILES["generic"], sampling=PROFILES["llama-server"].sampling)
    out = encode_chat(request, Target("m", profile))
    assert (decode_chat(out.body), out.dropped) == (request, ())


@given(st.text(), st.none() | st.text(), samplings, st.booleans())
def test_decode_undoes_encode_of_a_completion(
    prompt: str, suffix: str | None, sampling: Sampling, stream: bool
) -> None:
    request = CompletionRequest(
        model="m",
        prompt=prompt,
        suffix=suffix,
        sampling=sampling,
        stream=stream,
        include_usage=stream,
        dialect="openai",
    )
    out = encode_completion(request, Target("m", PROFILES["llama-server"]))
    assert (decode_completion(out.body), out.dropped) == (request, ())
