"""An operator's rules and a request in, the changes out, and the request with the changes in it."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw, structs

from arriero.canonical.requests import (
    ChatRequest,
    CompletionRequest,
    EmbedRequest,
    JsonFormat,
    Message,
    Request,
    Sampling,
    Text,
    Tool,
)
from arriero.filters.rules import KNOBS, NO_CHANGES, Changes, Clamp, Rule, apply, changes


def chat(sampling: Sampling = Sampling(), dialect: str = "openai", **fields: Raw) -> ChatRequest:  # noqa: B008
    return ChatRequest(
        model="fast", messages=(Message("user", (Text("hi"),)),), sampling=sampling, extra=fields, dialect=dialect
    )


HOT = Sampling(temperature=1.5, max_tokens=100, stop=("\n",))


@pytest.mark.parametrize(
    ("rules", "sampling", "made"),
    [
        ([], HOT, NO_CHANGES),
        ([Rule()], HOT, NO_CHANGES),
        # Defaults fill what is not there.
        ([Rule(defaults={"temperature": 0.2, "seed": 7})], HOT, Changes({"seed": 7})),
        ([Rule(defaults={"temperature": 0.2})], Sampling(), Changes({"temperature": 0.2})),
        ([Rule(defaults={"temperature": 0.2})], Sampling(temperature=0), NO_CHANGES),
        # Force overwrites, and changes nothing that is so already.
        ([Rule(force={"temperature": 0.2})], HOT, Changes({"temperature": 0.2})),
        ([Rule(force={"temperature": 1.5})], HOT, NO_CHANGES),
        ([Rule(force={"stop": ("a", "b")})], HOT, Changes({"stop": ("a", "b")})),
        # Clamps bound what is there, defaults and forced values too.
        ([Rule(clamps={"temperature": Clamp(0.1, 1)})], HOT, Changes({"temperature": 1})),
        ([Rule(clamps={"temperature": Clamp(1.6)})], HOT, Changes({"temperature": 1.6})),
        ([Rule(clamps={"temperature": Clamp(0, 2)})], HOT, NO_CHANGES),
        ([Rule(clamps={"temperature": Clamp(0.1, 1)})], Sampling(), NO_CHANGES),
        (
            [Rule(clamps={"max_tokens": Clamp(max=50)}, defaults={"max_tokens": 90})],
            Sampling(),
            Changes({"max_tokens": 50}),
        ),
        ([Rule(clamps={"max_tokens": Clamp(max=50)}, force={"max_tokens": 90})], HOT, Changes({"max_tokens": 50})),
        # Whole numbers stay whole and inside; others keep their fraction, however they were written.
        ([Rule(clamps={"max_tokens": Clamp(max=50.5)})], HOT, Changes({"max_tokens": 50})),
        ([Rule(clamps={"max_tokens": Clamp(min=100.5)})], HOT, Changes({"max_tokens": 101})),
        ([Rule(clamps={"temperature": Clamp(min=0.5)}, force={"temperature": 0})], HOT, Changes({"temperature": 0.5})),
        ([Rule(clamps={"stop": Clamp(0, 1)})], HOT, NO_CHANGES),
        # Strip removes, what comes behind it stays.
        ([Rule(strip=frozenset({"stop"}))], HOT, Changes(drop=frozenset({"stop"}))),
        ([Rule(strip=frozenset({"stop"}), defaults={"stop": ("a",)})], HOT, Changes({"stop": ("a",)})),
        ([Rule(strip=frozenset({"stop"}), defaults={"stop": ("\n",)})], HOT, NO_CHANGES),
        ([Rule(strip=frozenset({"stop"})), Rule(force={"stop": ("a",)})], HOT, Changes({"stop": ("a",)})),
        # Later rules see what earlier ones did.
        ([Rule(force={"seed": 9}), Rule(clamps={"seed": Clamp(max=5)})], HOT, Changes({"seed": 5})),
        ([Rule(force={"seed": 9}), Rule(strip=frozenset({"seed"}))], HOT, Changes(drop=frozenset({"seed"}))),
        ([Rule(force={"seed": 9}), Rule(defaults={"seed": 5})], HOT, Changes({"seed": 9})),
        # Those for other models are passed over.
        ([Rule(models=("gpt*",), force={"seed": 9})], HOT, NO_CHANGES),
        ([Rule(models=("gpt*", "QWEN*"), force={"seed": 9})], HOT, Changes({"seed": 9})),
        ([Rule(models=("fast",), force={"seed": 9})], HOT, Changes({"seed": 9})),  # as the client names it
    ],
)
def test_knobs(rules: Sequence[Rule], sampling: Sampling, made: Changes) -> None:
    assert changes(rules, "qwen3:4b", chat(sampling)) == made
    completion = CompletionRequest(model="fast", prompt="a", sampling=sampling)
    assert changes(rules, "qwen3:4b", completion) == made


@pytest.mark.parametrize(
    ("dialect", "strip", "dropped"),
    [
        ("openai", "user", {"user"}),
        ("openai", "metadata", set()),
        ("openai", "messages model stream", set()),
        ("openai", "max_completion_tokens", {"max_tokens"}),
        ("openai", "repetition_penalty", {"repeat_penalty"}),
        ("openai", "num_predict think format", set()),
        ("openai", "response_format", {"response_format"}),
        ("openai", "reasoning_effort", {"reasoning_effort", "reasoning"}),
        ("openai", "logprobs", {"logprobs", "top_logprobs"}),
        ("openai", "tools", {"tools", "tool_choice"}),
        ("ollama", "num_predict", {"max_tokens"}),
        ("ollama", "think format keep_alive", {"think", "format", "keep_alive"}),
        ("ollama", "response_format", set()),
    ],
)
def test_fields_of_the_clients_dialect_are_stripped_by_their_own_names(
    dialect: str, strip: str, dropped: set[str]
) -> None:
    request = chat(dialect=dialect, user=Raw(b'"me"'))
    assert changes([Rule(strip=frozenset(strip.split()))], "m", request) == Changes(drop=frozenset(dropped))


def test_a_strip_is_a_change_although_the_knob_reads_as_unsaid() -> None:
    # `"num_predict": -1` and `"seed": null` read as nothing, and still stand in the bytes.
    made = changes([Rule(strip=frozenset({"max_tokens", "seed"}))], "m", chat())
    assert made == Changes(drop=frozenset({"max_tokens", "seed"}))


def test_no_changes_are_false() -> None:
    assert not NO_CHANGES
    assert Changes({"seed": 1})
    assert Changes(drop=frozenset({"seed"}))


@pytest.mark.parametrize(
    ("globs", "models", "covered"),
    [
        ((), ("a",), True),
        (("*",), ("a",), True),
        (("qwen*",), ("Qwen3:4b",), True),
        (("QWEN*",), ("qwen3:4b",), True),
        (("qwen*",), ("org/qwen3",), False),
        (("*/qwen*",), ("org/qwen3",), True),
        (("llama3",), ("llama3:latest",), True),
        (("llama3:latest",), ("llama3",), True),
        (("llama3",), ("llama3:8b",), False),
        (("own:latest",), ("host:5000/own",), False),
        (("host:5000/own:latest",), ("host:5000/own",), True),
        (("fast",), ("qwen3:4b", "Fast"), True),
    ],
)
def test_covers(globs: tuple[str, ...], models: tuple[str, ...], covered: bool) -> None:
    assert Rule(models=globs).covers(*models) is covered


def test_apply_to_a_chat() -> None:
    request = structs.replace(
        chat(HOT, user=Raw(b'"me"'), other=Raw(b"1")),
        tools=(Tool("f", Raw(b"{}")),),
        tool_choice=Raw(b'"auto"'),
        think="high",
        format=JsonFormat(),
        logprobs=True,
        top_logprobs=3,
        stream=True,
        include_usage=True,
    )
    dropped = frozenset({"stop", "user", "tools", "tool_choice", "reasoning_effort", "logprobs", "top_logprobs"})
    assert apply(request, Changes({"temperature": 0.5, "seed": 1}, dropped)) == structs.replace(
        chat(Sampling(temperature=0.5, max_tokens=100, seed=1), other=Raw(b"1")),
        format=JsonFormat(),
        stream=True,
        include_usage=True,
    )
    fields = frozenset({"response_format", "stream_options"})
    assert apply(request, Changes(drop=fields)) == structs.replace(request, format=None, include_usage=False)
    assert apply(request, NO_CHANGES) is request


def test_apply_to_a_completion() -> None:
    request = CompletionRequest(model="m", prompt="a", suffix="b", sampling=HOT, keep_alive=5.0, dialect="ollama")
    made = Changes({"max_tokens": 5}, frozenset({"temperature", "keep_alive", "think"}))
    assert apply(request, made) == CompletionRequest(
        model="m", prompt="a", suffix="b", sampling=Sampling(max_tokens=5, stop=("\n",)), dialect="ollama"
    )


def test_an_embedding_has_fields_and_no_knobs() -> None:
    request = EmbedRequest(model="m", inputs=("a",), dimensions=8, extra={"user": Raw(b"1")}, dialect="openai")
    assert changes([Rule(force={"seed": 1}, defaults={"top_k": 1})], "m", request) == NO_CHANGES
    made = changes([Rule(force={"seed": 1}, strip=frozenset({"dimensions", "user"}))], "m", request)
    assert made == Changes(drop=frozenset({"dimensions", "user"}))
    assert apply(request, made) == EmbedRequest(model="m", inputs=("a",), dialect="openai")


def test_the_knobs_are_the_canonical_ones() -> None:
    assert frozenset(Sampling.__struct_fields__) == KNOBS


NUMBER = st.floats(-4, 4)
SAMPLING = st.builds(
    Sampling,
    max_tokens=st.none() | st.integers(1, 9),
    temperature=st.none() | NUMBER,
    top_k=st.none() | st.integers(0, 9),
    stop=st.none() | st.lists(st.text(), min_size=1, max_size=2).map(tuple),
)
NAMES = st.sampled_from(["max_tokens", "temperature", "top_k"])
RULE = st.builds(
    Rule,
    defaults=st.dictionaries(NAMES, st.integers(1, 9), max_size=2),
    force=st.dictionaries(NAMES, st.integers(1, 9), max_size=2),
    clamps=st.dictionaries(
        NAMES, st.builds(Clamp, st.none() | st.integers(1, 3), st.none() | st.integers(3, 9)), max_size=2
    ),
    strip=st.frozensets(st.sampled_from(["max_tokens", "temperature", "stop", "user", "response_format"]), max_size=2),
)


def request_of(sampling: Sampling) -> Request:
    return structs.replace(chat(sampling, user=Raw(b"1")), format=JsonFormat())


@given(SAMPLING, st.lists(RULE, max_size=3))
def test_rule_after_rule_says_the_same_as_all_at_once(sampling: Sampling, rules: list[Rule]) -> None:
    request = request_of(sampling)
    step = request
    for rule in rules:
        step = apply(step, changes([rule], "m", step))
    assert apply(request, changes(rules, "m", request)) == step


@given(SAMPLING, RULE)
def test_what_is_forced_and_clamped_holds(sampling: Sampling, rule: Rule) -> None:
    request = request_of(sampling)
    after = apply(request, changes([rule], "m", request)).sampling  # type: ignore[union-attr]
    for name, clamp in rule.clamps.items():
        value = getattr(after, name)
        if value is not None:
            assert (clamp.min or -9) <= value <= (clamp.max or 99)
    for name, value in rule.force.items():
        if name not in rule.clamps:
            assert getattr(after, name) == value
