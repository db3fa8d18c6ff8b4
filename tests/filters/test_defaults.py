"""What a model brings along, and what a request makes of it."""

import pytest
from msgspec.structs import replace

from arriero.canonical.catalog import Defaults
from arriero.canonical.requests import (
    ChatRequest,
    CompletionRequest,
    EmbedRequest,
    Message,
    Request,
    Sampling,
    Text,
)
from arriero.filters.defaults import filled, furnish, speaks
from arriero.filters.rules import NO_CHANGES, Changes


def say(role: str, text: str) -> Message:
    return Message(role, (Text(text),))


HI, RULE, OLD, SAID = say("user", "hi"), say("system", "be kind"), say("user", "old"), say("assistant", "said")
MODEL = Defaults(
    sampling=Sampling(temperature=0.5, stop=("<end>", "<x>"), top_k=7),
    runner={"num_ctx": 8192, "num_thread": 2},
    system="be a llama",
    messages=(OLD, SAID),
)
LLAMA = say("system", "be a llama")


def test_the_request_wins_knob_by_knob() -> None:
    asked = ChatRequest(model="m", messages=(HI,), sampling=Sampling(temperature=0.0, stop=("a",), seed=1))
    assert furnish(asked, Defaults(sampling=MODEL.sampling)) == ChatRequest(
        model="m", messages=(HI,), sampling=Sampling(temperature=0.0, stop=("a",), seed=1, top_k=7)
    )


def test_and_option_by_option() -> None:
    asked = ChatRequest(model="m", messages=(HI,), runner={"num_ctx": 16, "num_gpu": 0})
    runner = {"num_ctx": 16, "num_thread": 2, "num_gpu": 0}
    assert furnish(asked, Defaults(runner=MODEL.runner)) == ChatRequest(model="m", messages=(HI,), runner=runner)


@pytest.mark.parametrize(
    ("said", "continues", "told"),
    [
        ((HI,), False, (LLAMA, OLD, SAID, HI)),
        ((RULE, HI), False, (RULE, OLD, SAID, HI)),  # the caller's own system text is the only one, and stays first
        ((say("developer", "d"), HI), False, (say("developer", "d"), OLD, SAID, HI)),
        ((HI, RULE), False, (LLAMA, OLD, SAID, HI, RULE)),  # only the first message tells
        ((HI,), True, (LLAMA, HI)),  # a conversation that goes on has had its beginning
        ((RULE, HI), True, (RULE, HI)),
    ],
)
def test_what_the_model_says_in_a_conversation(
    said: tuple[Message, ...], continues: bool, told: tuple[Message, ...]
) -> None:
    asked = ChatRequest(model="m", messages=said, continues=continues)
    furnished = furnish(asked, Defaults(system=MODEL.system, messages=MODEL.messages))
    assert furnished == ChatRequest(model="m", messages=told, continues=continues)


def test_text_without_a_template_gets_knobs_and_options_alone() -> None:
    asked = CompletionRequest(model="m", prompt="p", sampling=Sampling(top_k=1))
    assert furnish(asked, MODEL) == CompletionRequest(
        model="m",
        prompt="p",
        sampling=Sampling(top_k=1, temperature=0.5, stop=("<end>", "<x>")),
        runner={"num_ctx": 8192, "num_thread": 2},
    )


def test_embeddings_get_options() -> None:
    asked = EmbedRequest(model="m", inputs=("a",), runner={"num_ctx": 4})
    assert furnish(asked, MODEL) == EmbedRequest(model="m", inputs=("a",), runner={"num_ctx": 4, "num_thread": 2})


@pytest.mark.parametrize("load", [ChatRequest(model="m", keep_alive=0.0), EmbedRequest(model="m", keep_alive=9.0)])
def test_a_load_gets_options_alone(load: Request) -> None:
    """So that the model is loaded as the next request wants it."""
    assert furnish(load, MODEL) == replace(load, runner=MODEL.runner)


def test_knobs_that_were_filled_in_can_be_named() -> None:
    asked = ChatRequest(model="m", messages=(HI,), sampling=Sampling(temperature=0.0))
    assert filled(asked, furnish(asked, MODEL)) == Changes({"top_k": 7, "stop": ("<end>", "<x>")})
    assert filled(asked, furnish(asked, Defaults(system="s"))) is NO_CHANGES
    embed = EmbedRequest(model="m", inputs=("a",))
    assert filled(embed, furnish(embed, MODEL)) is NO_CHANGES


def test_whether_a_model_speaks() -> None:
    told = [speaks(one) for one in (MODEL, Defaults(system="s"), Defaults(messages=(OLD,)))]
    silent = [speaks(one) for one in (Defaults(), Defaults(sampling=MODEL.sampling, runner={"num_ctx": 1}))]
    assert (told, silent) == ([True] * 3, [False] * 2)
