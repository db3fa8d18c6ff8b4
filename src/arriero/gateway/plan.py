"""What goes out to a backend: the client's own bytes, or the request said anew in a dialect that the backend speaks."""

from collections.abc import Callable, Mapping
from datetime import date
from functools import partial

from msgspec import Struct

from arriero.backends.base import Backend
from arriero.canonical.requests import Request
from arriero.dialects.base import Dialect, Driver, Endpoint, Target
from arriero.dialects.edits import edit
from arriero.errors import NotImplementedHere
from arriero.filters.rules import Changes
from arriero.routing.names import key_of
from arriero.wire.splice import splice_model


class Plan(Struct, frozen=True):
    """A request, and how its answer is read. `driver` is `None` for a relay.

    `dialect` is the one on the backend's side; `typed` is the client's word for the model, where a relayed answer will
    name it otherwise.
    """

    path: str
    body: bytes
    dialect: Dialect
    driver: Driver | None = None
    dropped: tuple[str, ...] = ()
    typed: str | None = None


def relayed(
    dialect: Dialect, endpoint: Endpoint, body: bytes, backend: Backend, *, typed: str, model: str, made: Changes
) -> Plan:
    """The client's bytes with nothing changed but the model's name, where it has another one there, and `made`.

    Raises `NotAnObject` for bytes that only the dialect's lenient rules can read: those have to be said anew.
    """
    path, profile = endpoint.relay_path, backend.profile
    if profile.model_path:
        path = profile.path_of(path, model)
    path = backend.roots[dialect.name] + path
    if made:
        body = edit(dialect.name, body, profile, made.put, made.drop)
    if backend.library and "ollama" in backend.roots and key_of(typed) == key_of(model):
        # An Ollama server finds the model by these rules itself, and echoes what was typed.
        return Plan(path, body, dialect)
    return Plan(path, splice_model(body, typed, model), dialect, typed=None if typed == model else typed)


def transcoded(dialect: Dialect, driver: Driver, request: Request, backend: Backend, *, model: str) -> Plan:
    """The request said anew. Raises `UnsupportedContent` for content that the dialect has no place for."""
    outbound = driver.encode(request, Target(model, backend.profile))
    return Plan(backend.roots[dialect.name] + outbound.path, outbound.body, dialect, driver, outbound.dropped)


def rendering(
    endpoint: Endpoint, own: Dialect, backend: Backend, request: Request, received_ns: int
) -> Callable[[], Request] | None:
    """What makes plain text of a request with a prompt template of its own, where the backend continues text and cannot
    apply it; `None` for every other request. Where nobody knows whether the backend continues text, the template is
    dropped and named.

    It takes as long as the template wants, within limits: call it in a thread. It raises `BadRequest` for a faulty
    template. `received_ns` is unix nanoseconds: templates may print the date.
    """
    native = own.name in backend.roots
    if endpoint.render is None or not (native or backend.profile.completion_schema is not None):
        return None
    render = endpoint.render(request, native)
    return partial(render, date.fromtimestamp(received_ns / 1e9).isoformat()) if render is not None else None


def driver_for(
    own: Dialect, dialects: Mapping[str, Dialect], backend: Backend, request: Request
) -> tuple[Dialect, Driver]:
    """How the backend is asked: in the client's own dialect where it speaks it, else in its first."""
    dialect = own if own.name in backend.roots else dialects[next(iter(backend.roots))]
    driver = dialect.driver(request)
    if driver is None:
        raise NotImplementedHere(f"{backend.name} has no way to do what was asked in the {dialect.name} dialect")
    return dialect, driver
