"""What is read of a request, when it is decoded, and what only the dialect can read."""

from typing import Any

import pytest

from arriero.canonical.catalog import Capability, Defaults, ModelCard
from arriero.canonical.requests import ChatRequest, EmbedRequest, Sampling
from arriero.compose import DIALECTS
from arriero.dialects.base import Endpoint
from arriero.dialects.ollama.memory import MARK
from arriero.errors import ArrieroError, BadRequest
from arriero.filters.defaults import furnish
from arriero.filters.rules import NO_CHANGES, Changes, Clamp, Rule
from arriero.gateway.reading import Misread, Reading
from arriero.routing.names import Offer
from arriero.routing.needs import Needs
from support.lanes import inbound

HI = b'"messages":[{"role":"user","content":"hi"}]'


class Counted:
    """An endpoint that counts how often it decodes."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.decoded = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._endpoint, name)

    def decode(self, body: bytes) -> Any:
        self.decoded += 1
        return self._endpoint.decode(body)


def reading(body: bytes, path: str = "/api/chat") -> tuple[Reading, Counted]:
    dialect = DIALECTS["openai" if path.startswith("/v1/") else "ollama"]
    endpoint = Counted(dialect.by_path[path])
    return Reading(inbound("POST", path, body), dialect, endpoint), endpoint  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "body", "model", "stream"),
    [
        ("/api/chat", b'{"model":"M",' + HI + b"}", "M", None),
        ("/api/chat", b'{"model":"m","stream":false,' + HI + b"}", "m", False),
        ("/api/chat", b'{"model":"m","stream":true,' + HI + b"}", "m", True),
        ("/v1/chat/completions", b'{"model":"m","stream":true}', "m", True),
        ("/api/embed", b'{"model":"m","input":"x","stream":true}', "m", False),  # there is no such stream
    ],
)
def test_the_model_is_read_without_decoding(path: str, body: bytes, model: str, stream: bool | None) -> None:
    read, endpoint = reading(body, path)
    assert (read.model(), read.stream, read.odd, endpoint.decoded) == (model, stream, False, 0)


@pytest.mark.parametrize(
    ("body", "stream"),
    [
        (b'{"Model":"m",' + HI + b"}", True),
        (b'{"MODEL":"m","Stream":false,' + HI + b"}", False),
    ],
)
def test_what_only_the_dialect_can_read_is_odd(body: bytes, stream: bool) -> None:
    read, endpoint = reading(body)
    assert (read.model(), read.stream, read.odd, endpoint.decoded) == ("m", stream, True, 1)
    assert read.request.model == "m"
    assert endpoint.decoded == 1


def test_an_odd_embedding_is_no_stream() -> None:
    read, _ = reading(b'{"Model":"m","input":"x"}', "/api/embed")
    assert (read.model(), read.stream, read.odd) == ("m", False, True)


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions"])
@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"model":5}', b'{"model":"m"', b"\xff\xfe", b'"model"'])
def test_what_nobody_can_read_is_told_in_the_dialects_words(path: str, body: bytes) -> None:
    read, _ = reading(body, path)
    with pytest.raises(ArrieroError) as refused:
        read.model()
    assert 400 <= refused.value.status < 500


def test_it_is_decoded_once_and_only_if_somebody_needs_it() -> None:
    read, endpoint = reading(b'{"model":"m",' + HI + b"}")
    read.model()
    assert endpoint.decoded == 0
    first = read.request
    assert (read.request is first, endpoint.decoded) == (True, 1)
    assert isinstance(first, ChatRequest) and len(first.messages) == 1


def test_it_can_be_said_otherwise() -> None:
    read, endpoint = reading(b'{"model":"m",' + HI + b"}")
    other, _ = reading(b'{"model":"other","messages":[]}')
    read.replace(other.request)
    assert (read.request.model, endpoint.decoded) == ("other", 0)


def test_a_key_in_another_case_that_comes_later_is_the_one_that_counts() -> None:
    read, _ = reading(b'{"model":"m",' + HI + b',"Model":"other","stream":false}')
    assert read.model() == "m"
    with pytest.raises(Misread) as other:
        read.confirmed("m")
    assert other.value.model == "other"
    assert read.confirmed("other").model == "other"
    assert read.stream is False


def test_what_is_confirmed_tells_whether_a_stream_was_asked_for() -> None:
    read, _ = reading(b'{"model":"m",' + HI + b"}")
    read.model()
    before = read.stream
    assert (before, read.confirmed("m").model, read.stream) == (None, "m", True)
    embed, _ = reading(b'{"model":"m","input":"x"}', "/api/embed")
    assert isinstance(embed.confirmed("m"), EmbedRequest)
    assert embed.stream is None


def test_a_closer_look_where_a_backend_could_read_other_keys() -> None:
    for body, path, odd in (
        (b'{"model":"m",' + HI + b"}", "/api/chat", False),
        (b'{"model":"m",' + HI + b',"Model":"x"}', "/api/chat", True),
        (b'{"model":"m",' + HI + b',"STREAM":true}', "/api/chat", True),
        (b'{"model":"m",' + HI + b',"Model":"x"}', "/v1/chat/completions", False),  # keys are what they are
    ):
        read, _ = reading(body, path)
        read.model()
        read.look_closer()
        read.look_closer()
        assert read.odd is odd


def test_what_arriero_wrote_for_itself_no_backend_may_get() -> None:
    talked = b'{"model":"m","prompt":"hi","context":[ %d, 5]}' % MARK
    for body, path, odd in (
        (talked, "/api/generate", True),
        (b'{"model":"m","prompt":"hi","context":[1,2]}', "/api/generate", False),
        (talked, "/api/chat", False),
        (talked, "/v1/chat/completions", False),
    ):
        read, endpoint = reading(body, path)
        read.model()
        read.look_closer()
        assert (read.odd, endpoint.decoded) == (odd, 0)


LLAMA = Defaults(sampling=Sampling(temperature=0.5, top_k=7), system="be a llama", runner={"num_ctx": 9})


def test_a_model_brings_things_along() -> None:
    read, _ = reading(b'{"model":"m","options":{"top_k":1},' + HI + b"}")
    offer = Offer("one", ModelCard(id="m", defaults=LLAMA))
    assert read.furnished(Offer("two", ModelCard(id="m"))) is read.request
    furnished = read.furnished(offer)
    assert furnished == furnish(read.request, LLAMA) != read.request
    assert read.changes((), offer, "m") == Changes({"temperature": 0.5})
    read.replace(furnished)
    assert read.furnished(offer) is furnished, "once is enough"


def test_rules_see_what_the_model_brings_along() -> None:
    read, _ = reading(b'{"model":"m",' + HI + b"}")
    offer = Offer("one", ModelCard(id="m", defaults=LLAMA))
    rule = Rule(defaults={"temperature": 1.0, "seed": 1}, clamps={"top_k": Clamp(max=3)})
    assert read.changes((rule,), offer, "m") == Changes({"temperature": 0.5, "top_k": 3, "seed": 1})
    assert read.changes((Rule(strip=frozenset({"top_k"})),), offer, "m") == Changes(
        {"temperature": 0.5}, frozenset({"top_k"})
    )
    assert read.changes((Rule(models=("other",), force={"seed": 1}),), offer, "m") == Changes(
        {"temperature": 0.5, "top_k": 7}
    )


def test_what_it_needs_is_read_once_and_again_when_it_is_said_otherwise() -> None:
    read, endpoint = reading(b'{"model":"m","messages":[{"role":"user","content":"what is this?"}],"think":true}')
    needs = read.needs
    assert needs == Needs(frozenset({Capability.COMPLETION, Capability.THINKING}), 3)
    assert (read.needs is needs, endpoint.decoded) == (True, 1)
    read.replace(ChatRequest(model="m"))
    assert read.needs == Needs()


def test_what_nobody_can_read_has_no_needs_that_are_known() -> None:
    assert reading(b'{"model":"m","messages":7}')[0].needs is None


def test_rules_need_the_request_only_where_one_covers_the_model() -> None:
    offer = Offer("one", ModelCard(id="m"))
    read, endpoint = reading(b'{"model":"alias",' + HI + b"}")
    rules = (Rule(models=("other*",), force={"seed": 1}),)
    assert (read.changes((), offer, "alias"), read.changes(rules, offer, "alias"), endpoint.decoded) == (
        NO_CHANGES,
        NO_CHANGES,
        0,
    )
    for models in (("m",), ("ali*",)):
        made = read.changes((Rule(models=models, force={"seed": 1}),), offer, "alias")
        assert dict(made.put) == {"seed": 1}
    assert endpoint.decoded == 1


def test_a_misreading_names_the_model() -> None:
    assert (str(Misread("m")), issubclass(Misread, BadRequest)) == ("m", False)
