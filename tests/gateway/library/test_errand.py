"""How a backend is asked, and what the answer says of it."""

from collections.abc import AsyncIterator

import msgspec

from arriero.backends.http.call import Head
from arriero.backends.remote import Ollama, RemoteSettings
from arriero.dialects import ollama
from arriero.dialects.profiles import profile_of
from arriero.errors import BackendOverloaded, BackendRefused
from arriero.gateway.door import Door
from arriero.gateway.entry import Entry, Seat
from arriero.gateway.library.errand import Errand
from support.lanes import KeptLane, inbound


def server(name: str) -> Ollama:
    settings = RemoteSettings(name=name, url="http://127.0.0.1:1/base", profile=profile_of("ollama"), api_key="sk-1")
    return Ollama(settings)


def errand(*names: str, door: Door | None = None) -> Errand:
    fields = ((b"content-length", b"4"), (b"authorization", b"Bearer client"), (b"traceparent", b"00-1"))
    request = inbound("POST", "/api/pull", b"{}", headers=fields)
    if door is not None:
        request = msgspec.structs.replace(request, door=door)
    return Errand(request, KeptLane(), ollama.DIALECT, {name: Entry(server(name), Seat()) for name in names})


async def pieces() -> AsyncIterator[bytes]:
    yield b"GGUF"


async def test_a_backend_gets_its_own_credentials_and_the_path_behind_its_base() -> None:
    asked, backend = errand("gpu1"), server("gpu1")
    call = asked.call(backend, await backend.courier(), b"{}")
    assert call.rendered is not None
    fields = dict(line.split(b": ", 1) for line in call.rendered.text.split(b"\r\n"))
    assert (call.method, call.target, call.body) == ("POST", "/base/api/pull", b"{}")
    assert (fields[b"authorization"], fields[b"traceparent"]) == (b"Bearer sk-1", b"00-1")
    assert fields[b"x-request-id"] == b"req1"
    assert b"content-length" not in fields  # the transport's own affair where the body is whole


async def test_an_upload_keeps_its_length() -> None:
    asked, backend = errand("gpu1"), server("gpu1")
    upload = aiter(pieces())
    call = asked.call(backend, await backend.courier(), upload)
    assert (dict(call.headers)[b"content-length"], call.body) == (b"4", upload)


def test_the_answer_names_who_was_asked() -> None:
    assert errand().marks == ((b"x-arriero-request-id", b"req1"),)
    assert dict(errand("gpu1", "gpu2").marks)[b"x-arriero-backend"] == b"gpu1,gpu2"
    at_olla = dict(errand("gpu1", "gpu2", door=Door("/olla/ollama", "ollama", olla=True)).marks)
    assert (at_olla[b"x-olla-endpoint"], at_olla[b"x-olla-backend-type"]) == (b"gpu1,gpu2", b"ollama")


def test_that_a_model_is_missing_is_the_last_word() -> None:
    asked, backend = errand("gpu1"), server("gpu1")
    error = asked.read_error(backend, Head(404, ()), b'{"error":"model \'x\' not found"}')
    assert (type(error), error.status, error.message) == (BackendRefused, 404, "model 'x' not found")
    busy = asked.read_error(backend, Head(429, ((b"retry-after", b"7"),)), b"{}")
    assert (type(busy), busy.retry_after) == (BackendOverloaded, 7.0)


def test_who_is_asked_is_not_closed_meanwhile() -> None:
    asked = errand()
    targets = dict(errand("gpu1", "gpu2").targets)
    asked.go_to(targets)
    assert [entry.errands for entry in targets.values()] == [1, 1]
    asked.end()
    assert (asked.targets, [entry.errands for entry in targets.values()]) == (targets, [0, 0])
