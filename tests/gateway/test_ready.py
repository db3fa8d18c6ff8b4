"""What can be read off a request: does it only load, and what must the place that runs it have."""

import pytest

from arriero.backends.base import Tuning, Want
from arriero.canonical.catalog import ModelCard
from arriero.canonical.requests import ChatRequest, CompletionRequest, EmbedRequest, Message, Request, Scalar
from arriero.gateway.ready import is_load, want_of
from arriero.routing.names import Offer

OFFER = Offer("b", ModelCard(id="m:latest"))


@pytest.mark.parametrize(
    ("request_", "loads"),
    [
        (None, False),
        (ChatRequest(model="m"), True),
        (ChatRequest(model="m", messages=(Message("user"),)), False),
        (CompletionRequest(model="m", prompt=""), False),
        (EmbedRequest(model="m"), True),
        (EmbedRequest(model="m", inputs=("",)), False),
    ],
)
def test_a_request_for_nothing_but_the_model(request_: Request | None, loads: bool) -> None:
    assert is_load(request_) is loads


@pytest.mark.parametrize(("asked", "length"), [(4096, 4096), (0, None), (-1, None), ("4096", None)])
def test_the_context_a_client_asked_for(asked: Scalar, length: int | None) -> None:
    request = ChatRequest(model="m", runner={"num_ctx": asked})
    assert want_of(OFFER, request) == Want("m:latest", length)


@pytest.mark.parametrize(
    ("runner", "tuning"),
    [
        ({}, Tuning()),
        ({"num_thread": 3, "num_batch": 64, "use_mmap": False}, Tuning(3, 64, False)),
        ({"num_thread": 0, "num_batch": -1, "use_mmap": True}, Tuning(None, None, True)),
        ({"num_thread": "3", "num_batch": True, "num_gpu": 1}, Tuning()),
    ],
)
def test_how_a_client_wants_its_model_loaded(runner: dict[str, Scalar], tuning: Tuning) -> None:
    assert want_of(OFFER, ChatRequest(model="m", runner=runner)) == Want("m:latest", tuning=tuning)


def test_what_is_to_be_embedded_needs_a_place_that_embeds() -> None:
    assert want_of(OFFER, EmbedRequest(model="m", inputs=("a",))) == Want("m:latest", None, True)
    assert want_of(OFFER, None) == Want("m:latest")
