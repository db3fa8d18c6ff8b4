"""Vendors: what each of them answers by its own documentation is read for what it says, whole and streamed."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from arriero.canonical.events import Answer, Embeddings, Event, Failed, PartDelta
from arriero.canonical.requests import ChatRequest, EmbedRequest, Text, Thinking
from arriero.canonical.stream import fold
from arriero.dialects import ollama, openai
from arriero.dialects.base import Decoder, Dialect, Driver
from arriero.dialects.ollama import catalog as ollama_catalog
from arriero.dialects.openai import catalog as openai_catalog
from arriero.dialects.profiles import PROFILES
from arriero.dialects.quirks import Profile
from arriero.dialects.vendors import VENDORS

FOLDER = Path(__file__).parent.parent / "recordings" / "vendors"
CLOUD = "ollama-cloud"
NAMES = sorted(folder.name for folder in FOLDER.iterdir() if folder.is_dir())


def recorded(vendor: str, file: str) -> bytes:
    return (FOLDER / vendor / file).read_bytes()


@cache
def expected(vendor: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(recorded(vendor, "expected.json"))
    return found


def profile_of(vendor: str) -> Profile:
    return PROFILES["ollama" if vendor == CLOUD else vendor]


def dialect_of(vendor: str) -> Dialect:
    return ollama.DIALECT if vendor == CLOUD else openai.DIALECT


def driver_of(vendor: str) -> Driver:
    dialect = dialect_of(vendor)
    driver = dialect.driver(ChatRequest(model="m"))
    assert driver is not None
    return driver


def decoder_of(vendor: str) -> Decoder:
    driver = driver_of(vendor)
    assert driver.decoder is not None
    return driver.decoder(profile_of(vendor))


def said(answer: Answer) -> tuple[str, str, list[int | None]]:
    usage = answer.finished.usage
    return (
        "".join(part.text for part in answer.parts if isinstance(part, Text)),
        "".join(part.text for part in answer.parts if isinstance(part, Thinking)),
        [usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, usage.reasoning_tokens],
    )


def heard(decoder: Decoder, pieces: list[bytes]) -> list[Event]:
    return [event for piece in pieces for event in decoder.feed(piece)] + decoder.close()


def test_every_vendor_is_recorded() -> None:
    assert sorted([*(profile.name for profile in VENDORS), CLOUD]) == NAMES


@pytest.mark.parametrize("vendor", [name for name in NAMES if (FOLDER / name / "models.json").exists()])
def test_the_list(vendor: str) -> None:
    body = recorded(vendor, "models.json")
    wanted = expected(vendor)
    if vendor == CLOUD:
        cards = ollama_catalog.read_tags(body)
    else:
        cards = openai_catalog.read_models(body, profile_of(vendor))
    assert [card.id for card in cards] == wanted["ids"]
    if vendor != CLOUD:
        told = {card.id: card.context_length for card in cards}
        assert {id: told[id] for id in wanted["context"]} == wanted["context"]
        can = {card.id: sorted(one.value for one in card.capabilities) for card in cards if card.capabilities}
        assert can == wanted["capabilities"]


@pytest.mark.parametrize("vendor", [name for name in NAMES if not (FOLDER / name / "models.json").exists()])
def test_who_has_no_list_says_so(vendor: str) -> None:
    assert (profile_of(vendor).models_path, expected(vendor)["ids"]) == (None, [])


@pytest.mark.parametrize("vendor", NAMES)
def test_a_whole_answer(vendor: str) -> None:
    answer = driver_of(vendor).decode(recorded(vendor, "chat.json"), profile_of(vendor))
    assert isinstance(answer, Answer)
    wanted = expected(vendor)
    assert said(answer) == (wanted["text"], wanted["thinking"], wanted["usage"])


@pytest.mark.parametrize("vendor", NAMES)
def test_a_stream(vendor: str) -> None:
    body = recorded(vendor, "stream.txt")
    wanted = expected(vendor)
    at_once = heard(decoder_of(vendor), [body])
    assert said(fold(at_once)) == (wanted["text"], wanted["thinking"], wanted["usage"])
    assert heard(decoder_of(vendor), [body[at : at + 1] for at in range(len(body))]) == at_once


@pytest.mark.parametrize("vendor", NAMES)
def test_a_refusal(vendor: str) -> None:
    wanted = expected(vendor)["error"]
    error = dialect_of(vendor).read_error(wanted["status"], recorded(vendor, "error.json"), profile_of(vendor))
    assert (type(error).__name__, error.status) == (wanted["kind"], wanted["told"])
    assert wanted["words"] in error.message
    title = profile_of(vendor).title
    assert error.message.startswith(f"{title} API error: {wanted['status']} " if title else "model")


@pytest.mark.parametrize("vendor", NAMES)
def test_too_many_requests(vendor: str) -> None:
    error = dialect_of(vendor).read_error(429, recorded(vendor, "limited.json"), profile_of(vendor))
    assert (type(error).__name__, error.status, error.type) == ("BackendOverloaded", 429, "rate_limited")
    assert expected(vendor)["limited"] in error.message


# ---- what only some of them do -------------------------------------------------------------------------------------


def test_openrouter_fails_in_the_middle_of_an_answer_that_began_with_200() -> None:
    events = heard(decoder_of("openrouter"), [recorded("openrouter", "failing.txt")])
    *before, last = events
    assert [event.text for event in before if isinstance(event, PartDelta)] == ["It rains"]
    assert isinstance(last, Failed)
    assert (last.status, last.type, last.cut) == (502, "openrouter_error", False)
    assert last.message.endswith("Provider disconnected")


def test_openrouters_comments_say_nothing() -> None:
    body = recorded("openrouter", "stream.txt")
    comment = b": OPENROUTER PROCESSING\n\n"
    assert body.count(comment) == 3
    assert heard(decoder_of("openrouter"), [body]) == heard(decoder_of("openrouter"), [body.replace(comment, b"")])


def test_openrouters_prices_are_of_a_million_tokens() -> None:
    cards = openai_catalog.read_models(recorded("openrouter", "models.json"), PROFILES["openrouter"])
    assert [(card.input_price, card.output_price) for card in cards] == [(1.5, 6.0)]


def test_openrouters_embeddings() -> None:
    driver = openai.DIALECT.driver(EmbedRequest(model="m"))
    assert driver is not None
    answer = driver.decode(recorded("openrouter", "embed.json"), PROFILES["openrouter"])
    assert isinstance(answer, Embeddings)
    assert (answer.vectors, answer.usage.prompt_tokens) == (((0.5, -0.25, 1.0),), 4)


def test_mistral_names_the_field_that_it_does_not_know() -> None:
    error = openai.DIALECT.read_error(422, recorded("mistral", "unprocessable.json"), PROFILES["mistral"])
    assert (type(error).__name__, error.status) == ("BackendRefused", 422)
    assert "Extra inputs are not permitted" in error.message
