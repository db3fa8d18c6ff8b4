"""Raw requests in, raw requests with single knobs changed out; every other byte is left alone."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.canonical.requests import Request
from arriero.dialects.edits import edit
from arriero.dialects.ollama import requests as ollama
from arriero.dialects.openai import requests as openai
from arriero.dialects.profiles import profile_of
from arriero.filters.rules import Changes, Clamp, Rule, apply, changes
from arriero.wire.splice import NotAnObject


@pytest.mark.parametrize(
    ("body", "put", "drop", "edited"),
    [
        # Values go into `options`, where they stood or in front.
        (
            '{"model": "a", "options": {"seed": 1,  "top_k":2}}',
            {"seed": 7},
            "",
            '{"model": "a", "options": {"seed": 7,  "top_k":2}}',
        ),
        ('{"options": { "x":1.50 }}', {"seed": 7}, "", '{"options": {"seed":7, "x":1.50 }}'),
        ('{"model": "a"}', {"seed": 7, "stop": ("b",)}, "", '{"options":{"seed":7,"stop":["b"]},"model": "a"}'),
        ('{"model":"a","options":null}', {"seed": 7}, "", '{"model":"a","options":{"seed":7}}'),
        ('{"options":{}}', {"max_tokens": 5}, "", '{"options":{"num_predict":5}}'),
        ('{"options":{"num_predict":-1}}', {"max_tokens": 5}, "", '{"options":{"num_predict":5}}'),
        # An own field of the model's name at the top is not the knob.
        ('{"seed":1}', {"seed": 7}, "", '{"options":{"seed":7},"seed":1}'),
        # Knobs leave `options`, other names leave the top.
        ('{"options":{"seed":1,"top_k":2}}', {}, "seed", '{"options":{"top_k":2}}'),
        ('{"options":{"num_predict":1}}', {}, "max_tokens", '{"options":{}}'),
        ('{"think": true, "options": {"think":1,  "a":2}}', {}, "think", '{"options": {"think":1,  "a":2}}'),
        ('{"a":1, "keep_alive" : 5 , "b":2}', {}, "keep_alive", '{"a":1, "b":2}'),
        # Nothing is there to leave.
        ('{"model" : "a"}', {}, "seed think", '{"model" : "a"}'),
        ('{"options" : null}', {}, "seed", '{"options" : null}'),
        # Keys count whatever their case.
        ('{"Options":{"seed":1}}', {"seed": 7}, "", '{"Options":{"seed":7}}'),
        ('{"a":1,"Think":true,"think":false}', {}, "think", '{"a":1}'),
        # Values are JSON in ASCII.
        ('{"x":"ñ"}', {"stop": ("ñ",)}, "", '{"options":{"stop":["\\u00f1"]},"x":"ñ"}'),
    ],
)
def test_ollama(body: str, put: dict[str, object], drop: str, edited: str) -> None:
    assert edit("ollama", body.encode(), profile_of("ollama"), put, drop.split()).decode() == edited


@pytest.mark.parametrize(
    ("vendor", "body", "put", "drop", "edited"),
    [
        ("generic", '{"seed": 1, "x":1.50}', {"seed": 7}, "", '{"seed": 7, "x":1.50}'),
        ("generic", '{"x":1}', {"seed": 7, "stop": ("a",)}, "", '{"seed":7,"stop":["a"],"x":1}'),
        ("generic", '{"x":1, "seed":7}', {}, "seed x", "{}"),
        # The length limit keeps the client's name, else takes the vendor's.
        ("generic", "{}", {"max_tokens": 5}, "", '{"max_tokens":5}'),
        ("groq", "{}", {"max_tokens": 5}, "", '{"max_completion_tokens":5}'),
        ("groq", '{"max_tokens":9}', {"max_tokens": 5}, "", '{"max_tokens":5}'),
        ("generic", '{"max_completion_tokens":9}', {"max_tokens": 5}, "", '{"max_completion_tokens":5}'),
        (
            "generic",
            '{"max_completion_tokens":9,"max_tokens":8}',
            {"max_tokens": 5},
            "",
            '{"max_completion_tokens":5,"max_tokens":5}',
        ),
        ("generic", '{"max_completion_tokens":9,"max_tokens":8}', {}, "max_tokens", "{}"),
        # A vendor's own words.
        ("mistral", "{}", {"seed": 7}, "", '{"random_seed":7}'),
        ("mistral", '{"random_seed":1}', {"seed": 7}, "", '{"random_seed":7}'),
        ("mistral", '{"a":1,"random_seed":1,"seed":2}', {}, "seed", '{"a":1}'),
        ("vllm", '{"repeat_penalty":1,"a":1}', {"repeat_penalty": 2.5}, "", '{"repetition_penalty":2.5,"a":1}'),
        ("vllm", '{"a":1,"repetition_penalty":1,"repeat_penalty":1}', {}, "repeat_penalty", '{"a":1}'),
        # A knob the vendor has no field for stays out, and the client's own value does not contradict the rule.
        ("mistral", '{"a":1}', {"top_k": 5}, "", '{"a":1}'),
        ("mistral", '{"a":1,"top_k":9}', {"top_k": 5}, "", '{"a":1}'),
        # Names with another meaning further inside stay.
        ("generic", '{"m":{"seed":1},"seed":1}', {"seed": 7}, "", '{"m":{"seed":1},"seed":7}'),
    ],
)
def test_openai(vendor: str, body: str, put: dict[str, object], drop: str, edited: str) -> None:
    assert edit("openai", body.encode(), profile_of(vendor), put, drop.split()).decode() == edited


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        ("ollama", b'{"options":{"seed":1},"Options":{"seed":2}}'),
        ("ollama", b'{"options":[1]}'),
        ("ollama", b"[]"),
        ("ollama", b""),
        ("openai", b"[]"),
        ("openai", b'{"seed":1'),
    ],
)
def test_what_cannot_be_edited(dialect: str, body: bytes) -> None:
    with pytest.raises(NotAnObject):
        edit(dialect, body, profile_of("ollama"), {"seed": 7}, ())


# ---- the law: a relayed edit says the same as the canonical one ----------------------------------------------------

WHOLE, PART = st.integers(1, 9), st.sampled_from([0.25, 0.5, 1.0, 1.75])
STOP = st.lists(st.sampled_from(["a", "\n", "ñ"]), min_size=1, max_size=2)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "num_predict": st.integers(-2, 9),
        "top_k": WHOLE,
        "seed": st.integers(-1, 9),
        "temperature": PART | st.none(),
        "repeat_penalty": PART,
        "stop": STOP,
        "num_ctx": WHOLE,
        "unknown": PART,
    },
)
OLLAMA_BODY = st.fixed_dictionaries(
    {"model": st.just("m"), "messages": st.just([{"role": "user", "content": "hi"}])},
    optional={
        "options": st.none() | OPTIONS,
        "think": st.booleans() | st.just("high"),
        "format": st.just("json"),
        "keep_alive": st.just("5m"),
        "logprobs": st.booleans(),
        "top_logprobs": WHOLE,
        "tools": st.just([{"type": "function", "function": {"name": "f"}}]),
        "own": WHOLE,
    },
)
OPENAI_BODY = st.fixed_dictionaries(
    {"model": st.just("m"), "messages": st.just([{"role": "user", "content": "hi"}])},
    optional={
        "max_tokens": WHOLE,
        "max_completion_tokens": WHOLE,
        "seed": WHOLE,
        "temperature": PART | st.none(),
        "repeat_penalty": PART,
        "repetition_penalty": PART,
        "top_k": WHOLE,
        "stop": STOP,
        "logprobs": st.booleans(),
        "top_logprobs": WHOLE,
        "reasoning_effort": st.sampled_from(["low", "none"]),
        "reasoning": st.just({"effort": "high"}),
        "response_format": st.just({"type": "json_object"}),
        "stream_options": st.just({"include_usage": True}),
        "tools": st.just([{"type": "function", "function": {"name": "f"}}]),
        "tool_choice": st.just("auto"),
        "user": st.just("me"),
    },
)
KNOB = st.sampled_from(["max_tokens", "top_k", "seed"])
PLAY = st.sampled_from(["temperature", "repeat_penalty"])
SET = st.dictionaries(KNOB, WHOLE, max_size=2) | st.dictionaries(PLAY, PART, max_size=2)
RULES = st.lists(
    st.builds(
        Rule,
        defaults=SET,
        force=SET | st.just({"stop": ("z",)}),
        clamps=st.dictionaries(KNOB | PLAY, st.just(Clamp(1, 3)), max_size=2),
        strip=st.frozensets(
            KNOB
            | PLAY
            | st.sampled_from(
                [
                    "stop",
                    "tools",
                    "think",
                    "format",
                    "keep_alive",
                    "own",
                    "user",
                    "logprobs",
                    "top_logprobs",
                    "reasoning",
                    "response_format",
                    "stream_options",
                    "num_predict",
                    "max_completion_tokens",
                    "repetition_penalty",
                ]
            ),
            max_size=3,
        ),
    ),
    max_size=2,
)


def both_ways(
    dialect: str, body: dict[str, object], rules: list[Rule], space: bool
) -> tuple[Request, Request, Changes]:
    """The request decoded from the edited bytes, and the decoded request with the changes applied."""
    raw = json.dumps(body, ensure_ascii=False, separators=None if space else (",", ":")).encode()
    decode = ollama.decode_chat if dialect == "ollama" else openai.decode_chat
    request: Request = decode(raw)
    made = changes(rules, "m", request)
    profile = profile_of("ollama" if dialect == "ollama" else "vllm")
    edited = edit(dialect, raw, profile, made.put, made.drop)
    if not made:
        assert edited == raw
    return decode(edited), apply(request, made), made


@given(OLLAMA_BODY, RULES, st.booleans())
def test_ollama_relayed_says_the_same_as_transcoded(body: dict[str, object], rules: list[Rule], space: bool) -> None:
    relayed, transcoded, _ = both_ways("ollama", body, rules, space)
    assert relayed == transcoded


@given(OPENAI_BODY, RULES, st.booleans())
def test_openai_relayed_says_the_same_as_transcoded(body: dict[str, object], rules: list[Rule], space: bool) -> None:
    relayed, transcoded, _ = both_ways("openai", body, rules, space)
    assert relayed == transcoded


@given(OPENAI_BODY, RULES)
def test_only_the_named_members_move(body: dict[str, object], rules: list[Rule]) -> None:
    raw = json.dumps(body).encode()
    made = changes(rules, "m", openai.decode_chat(raw))
    edited = json.loads(edit("openai", raw, profile_of("vllm"), made.put, made.drop))
    touched = {*made.put, *made.drop, "max_completion_tokens", "repetition_penalty"}
    assert [item for item in edited.items() if item[0] not in touched] == [
        item for item in body.items() if item[0] not in touched
    ]
