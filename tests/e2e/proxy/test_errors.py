"""Every error type that ollama-proxy documents, and every way to an error at the Ollama API, on the running program.

The answers that docs/errors.md shows are the ones that come here.
"""

import json
import re
import sysconfig
import venv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import arriero
from arriero.config.error_tables import DOCUMENTED, Documented
from arriero.gateway.lane import Inbound, Lane
from arriero.server.routes import Route, Table
from support.gateway import Played
from support.hosts import Asking, Witness, chat
from support.program import Program, program, until
from support.serving import Asked, application, fast, over_fast_lane

KEY = "sk-or-v1-the-key-that-nobody-may-see"
EXAMPLES: Mapping[str, Documented] = {row.type: row for row in DOCUMENTED}

PLAYS: Mapping[str, Mapping[str, Any]] = {
    "acme/bad-key": {"status": 401, "body": {"error": {"message": f"Incorrect API key: {KEY[:12]}***", "code": 401}}},
    "acme/no-account": {"status": 403, "body": {"error": {"message": f"{KEY} is not allowed", "code": 403}}},
    "acme/poor": {"status": 402, "body": {"error": {"message": "Insufficient credits", "code": 402}}},
    "acme/odd": {"status": 400, "body": {"error": {"message": "temperature is too high", "code": 400}}},
    "acme/away": {"status": 404, "body": {"error": {"message": "No endpoints found for acme/away.", "code": 404}}},
    "acme/toolless": {
        "status": 404,
        "body": {"error": {"message": "No endpoints found that support tool use", "code": 404}},
    },
    "acme/short": {
        "status": 400,
        "body": {"error": {"message": "This endpoint's maximum context length is 8 tokens", "code": 400}},
    },
    "acme/busy": {
        "status": 429,
        "headers": {"Retry-After": "7"},
        "body": {"error": {"message": "Rate limit exceeded: free-models-per-min", "code": 429}},
    },
    "acme/broken": {"status": 500, "body": {"error": {"message": "Internal error", "code": 500}}},
    "acme/html": {
        "status": 502,
        "body": "<html><head><title>502 Bad Gateway</title></head><h1>502 Bad Gateway</h1></html>",
    },
    "acme/cut": {"fault": "cut_head"},
    "acme/garbage": {"fault": "half_json"},
    "acme/silent": {"fault": "hang"},
    "acme/late": {"say": ["Hello "], "error": "the provider is gone"},
    "acme/forbidden": {},
    "one/twin": {},
    "two/twin": {},
}
"""Model -> what the vendor that plays OpenRouter answers a chat with."""


def _script() -> Mapping[str, Any]:
    rules = [{"when": {"model": model, "method": "POST"}, "play": play} for model, play in PLAYS.items() if play]
    return {"speaks": ["openai"], "key": KEY, "models": [{"name": model} for model in PLAYS], "rules": rules}


@pytest.fixture(scope="module")
def vendor() -> Iterator[Witness]:
    found = Witness(_script())
    yield found
    found.close()


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory, vendor: Witness) -> Iterator[Program]:
    """A program over that vendor alone, as ollama-proxy was: nothing can manage models, and one request fills it."""
    router = {
        "name": "openrouter",
        "kind": "openai",
        "profile": "openrouter",
        "url": f"{vendor.url}/v1",
        "api_key": KEY,
        "max_concurrency": 1,
        "timeouts": {"first_byte": 0.5},
        "models": {"exclude": ["acme/busy"]},
    }
    # Who says when to come again is left alone so long: it must be another one.
    limited = {**router, "name": "limited", "models": {"include": ["acme/busy"]}}
    with program(
        tmp_path_factory.mktemp("refusing"),
        [router, limited],
        limits={"max_body_bytes": 20_000, "max_header_bytes": 4096},
        models={"exclude": ["acme/forbidden"]},
        routing={"queue": {"max_waiting": 0}, "breaker": {"failures": 1000}},
    ) as running:
        yield running


def told(answer: tuple[int, Mapping[str, str], bytes]) -> tuple[int, Any]:
    """Status and body of an error at the Ollama API: JSON of two members, and no secret anywhere."""
    status, headers, body = answer
    assert headers["content-type"].startswith("application/json")
    assert KEY[:12] not in f"{headers} {body.decode()}"
    said = json.loads(body)
    assert set(said) == {"error", "type"}
    return status, said


def example(type: str) -> tuple[int, dict[str, str]]:
    """The answer that the documentation shows for a type."""
    return EXAMPLES[type].status, EXAMPLES[type].body


# ---- each documented type, under its name --------------------------------------------------------------------------


def test_validation_error(refusing: Program) -> None:
    assert told(refusing.ask("POST", "/api/chat", {"messages": []})) == example("validation_error")


def test_model_not_found(refusing: Program) -> None:
    assert told(refusing.ask("POST", "/api/chat", chat("nonexistent-model"))) == example("model_not_found")


def test_model_forbidden(refusing: Program) -> None:
    status, body = told(refusing.ask("POST", "/api/chat", chat("acme/forbidden")))
    body["error"] = body["error"].replace("acme/forbidden", "forbidden-model")
    assert (status, body) == example("model_forbidden")


@pytest.mark.parametrize("stream", [False, True])
def test_openrouter_error(refusing: Program, stream: bool) -> None:
    assert told(refusing.ask("POST", "/api/chat", chat("acme/bad-key", stream=stream))) == example("openrouter_error")


def test_network_error(tmp_path: Path) -> None:
    dying = Witness({"models": [{"name": "tiny"}]})
    backend = {"name": "gpu1", "kind": "ollama", "url": dying.url, "check_interval": 0}
    with program(tmp_path, [backend], routing={"breaker": {"failures": 1, "open_seconds": 600}}) as running:
        dying.close()
        status, body = told(running.ask("POST", "/api/chat", chat("tiny")))
        body["error"] = body["error"].replace(dying.url, "http://10.0.0.5:11434")
        assert (status, body) == example("network_error")
        # Its breaker is open now, and it is asked no more.
        answer = running.ask("POST", "/api/chat", chat("tiny"))
        status, body = told(answer)
        assert (status, body["type"]) == (503, "no_backend")
        assert re.fullmatch(r".*\(Circuit breaker open for gpu1, for another (600|59\d) s\)", body["error"])
        assert 590 <= int(answer[1]["retry-after"]) <= 600


async def test_internal_error() -> None:
    """The program has no fault that a test could ask for: here is one, behind the same doors."""

    async def faulty(inbound: Inbound, lane: Lane) -> None:
        raise ZeroDivisionError(KEY)

    async with application(Played("openai")) as app:
        app.table = Table([*app.table.routes, Route("/api/faulty", ("POST",), faulty)])
        async with fast(app) as served:
            answer = await over_fast_lane(served, Asked("POST", "/api/faulty", b"{}"))
    body = json.loads(answer.body)
    body["error"] = re.sub(r"\b[0-9a-f]{16}\b", "4f2c9a17d0b35e68", body["error"])
    assert (answer.status, body) == example("internal_error")


def test_configuration_error(tmp_path: Path) -> None:
    """An interpreter that finds the engine's package nowhere when it is to load a model."""
    venv.EnvBuilder(symlinks=True).create(tmp_path / "bare")
    path = f"{Path(arriero.__file__).parents[1]}:{sysconfig.get_path('purelib')}"
    with program(
        tmp_path / "program",
        [{"name": "local", "kind": "engine", "demo_model": True}],
        python=str(tmp_path / "bare/bin/python"),
        variables={"PYTHONPATH": path},
    ) as running:
        assert told(running.ask("POST", "/api/chat", chat("arriero-demo"))) == example("configuration_error")


# ---- every way to an error -----------------------------------------------------------------------------------------


class Way(NamedTuple):
    """A request, and the error that it gets."""

    method: str
    path: str
    body: object
    status: int
    type: str
    error: str
    headers: Mapping[str, str] = {}


def ask(model: str, status: int, type: str, error: str, **more: Any) -> Way:
    """A chat with a model."""
    return Way("POST", "/api/chat", chat(model, **more), status, type, error)


def of_vendor(model: str, status: int, error: str, type: str = "openrouter_error") -> Way:
    """A chat with a model that the vendor refuses."""
    return ask(model, status, type, f"OpenRouter API error: {error}")


UNMANAGED = (
    "no configured backend manages models: {} needs one of kind ollama, or of kind engine whose store is not read_only"
)
TOO_LONG = (
    "the prompt is longer than the context length currently available to the model; shorten the prompt, adjust the "
    "context length in settings, or use a model with a longer context length"
)
BLOB = "/api/blobs/sha256:" + "0" * 64

WAYS: Mapping[str, Way] = {
    # the request itself
    "no JSON": Way("POST", "/api/chat", "{", 400, "validation_error", "unexpected EOF"),
    "an empty body": Way("POST", "/api/generate", "", 400, "validation_error", "missing request body"),
    "a wrong option": Way(
        "POST",
        "/api/chat",
        chat("acme/poor", options={"temperature": "hot"}),
        500,
        "validation_error",
        'option "temperature" must be of type float32',
    ),
    "a body over the limit": Way(
        "POST",
        "/api/chat",
        "x" * 20_001,
        413,
        "payload_too_large",
        "the request body is larger than 20000 bytes (limits.max_body_bytes)",
    ),
    "a head over the limit": Way(
        "POST", "/api/chat", "{}", 431, "headers_too_large", r"~.*\(limits.max_header_bytes\).*", {"x-long": "y" * 5000}
    ),
    "an unknown encoding": Way(
        "POST",
        "/api/chat",
        "..",
        400,
        "validation_error",
        "~Content-Encoding br is not understood.*",
        {"content-encoding": "br"},
    ),
    # the model
    "no name": Way("POST", "/api/show", {}, 400, "validation_error", "model is required"),
    "unknown to chat": ask("nope", 404, "model_not_found", "model 'nope' not found"),
    "unknown to generate": Way(
        "POST", "/api/generate", {"model": "nope"}, 404, "model_not_found", "model 'nope' not found"
    ),
    "unknown to embed": Way(
        "POST",
        "/api/embed",
        {"model": "nope", "input": "a"},
        404,
        "model_not_found",
        'model "nope" not found, try pulling it first',
    ),
    "unknown to show": Way(
        "POST", "/api/show", {"model": "nope"}, 404, "model_not_found", "model 'nope:latest' not found"
    ),
    "several of the name": ask(
        "twin",
        404,
        "model_not_found",
        "~model 'twin' not found: the name is ambiguous, it may mean one/twin.*, two/twin.*",
    ),
    "hidden by the filter": ask(
        "acme/forbidden", 403, "model_forbidden", "Model 'acme/forbidden' is not allowed by the filter"
    ),
    # what nobody here can do
    "pull": Way("POST", "/api/pull", {"model": "m"}, 501, "not_implemented", UNMANAGED.format("/api/pull")),
    "push": Way("POST", "/api/push", {"model": "m"}, 501, "not_implemented", UNMANAGED.format("/api/push")),
    "create": Way(
        "POST", "/api/create", {"model": "m", "from": "n"}, 501, "not_implemented", UNMANAGED.format("/api/create")
    ),
    "copy": Way(
        "POST",
        "/api/copy",
        {"source": "m", "destination": "n"},
        501,
        "not_implemented",
        UNMANAGED.format("/api/copy"),
    ),
    "delete": Way("DELETE", "/api/delete", {"model": "m"}, 501, "not_implemented", UNMANAGED.format("/api/delete")),
    "blobs": Way("POST", BLOB, "GGUF", 501, "not_implemented", UNMANAGED.format(BLOB)),
    # the vendor
    "the gateway's key": of_vendor(
        "acme/bad-key", 502, "401 Unauthorized (look at OPENROUTER_API_KEY, or at api_key of the backend)"
    ),
    "the gateway's account": of_vendor(
        "acme/no-account", 502, "403 Forbidden (look at OPENROUTER_API_KEY, or at api_key of the backend)"
    ),
    "no money": of_vendor("acme/poor", 402, "402 Payment Required: Insufficient credits"),
    "an odd request": of_vendor("acme/odd", 400, "400 Bad Request: temperature is too high"),
    "a model that is away": of_vendor(
        "acme/away", 404, "404 Not Found: model not found: No endpoints found for acme/away.", "model_not_found"
    ),
    "a model without tools": of_vendor(
        "acme/toolless",
        400,
        "404 Not Found: the model does not support tools: No endpoints found that support tool use",
    ),
    "too long a prompt": of_vendor(
        "acme/short", 400, f"400 Bad Request: {TOO_LONG} (This endpoint's maximum context length is 8 tokens)"
    ),
    "a fault of the vendor": of_vendor("acme/broken", 500, "500 Internal Server Error: Internal error"),
    "a page of the vendor's proxy": of_vendor("acme/html", 502, "502 Bad Gateway"),
    "half an answer": ask("acme/garbage", 502, "openrouter_error", "~the backend's answer is not JSON: .*"),
    "half a head": ask("acme/cut", 502, "openrouter_error", "openrouter closed the connection before it answered"),
    "no answer": ask("acme/silent", 504, "network_error", "openrouter did not begin its answer within 0.5 s"),
}


@pytest.mark.parametrize("name", WAYS)
def test_every_way_to_an_error_has_its_type(refusing: Program, name: str) -> None:
    way = WAYS[name]
    status, body = told(refusing.ask(way.method, way.path, way.body, way.headers))
    if way.error.startswith("~"):
        assert re.fullmatch(way.error[1:], body["error"]), body
        body["error"] = way.error
    assert (status, body) == (way.status, {"error": way.error, "type": way.type})


def test_who_is_told_to_wait_is_told_how_long(refusing: Program) -> None:
    answer = refusing.ask("POST", "/api/chat", chat("acme/busy"))
    text = "OpenRouter API error: 429 Too Many Requests: Rate limit exceeded: free-models-per-min"
    assert told(answer) == (429, {"error": text, "type": "rate_limited"})
    assert answer[1]["retry-after"] == "7"
    status, body = told(refusing.ask("POST", "/api/chat", chat("acme/busy")))
    assert (status, body["type"]) == (503, "no_backend")


def test_a_full_house(refusing: Program, vendor: Witness) -> None:
    came = len(vendor.requests("/v1/chat/completions"))
    first = Asking(refusing, "/api/chat", chat("acme/silent"))
    until(lambda: len(vendor.requests("/v1/chat/completions")) > came)
    answer = refusing.ask("POST", "/api/chat", chat("acme/poor"))
    text = "server busy, please try again.  maximum pending requests exceeded"
    assert told(answer) == (503, {"error": text, "type": "rate_limited"})
    assert int(answer[1]["retry-after"]) >= 1
    assert first.result()[0] == 504


def test_a_share_that_is_used_up(tmp_path: Path, vendor: Witness) -> None:
    backend = {"name": "openrouter", "kind": "openai", "url": f"{vendor.url}/v1", "api_key": KEY}
    limits = {"requests_per_minute_per_address": 1, "burst": 1}
    with program(tmp_path, [backend], limits=limits) as running:
        assert running.ask("POST", "/api/chat", chat("one/twin"))[0] == 200
        answer = running.ask("POST", "/api/chat", chat("one/twin"))
    status, body = told(answer)
    assert (status, body["type"]) == (429, "rate_limited")
    assert int(answer[1]["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "body"),
    [
        ("GET", "/api/nothing", {}, 404, b"404 page not found"),
        ("GET", "/api/chat", {}, 405, b"405 method not allowed"),
        ("POST", "/api/tags", {}, 405, b"405 method not allowed"),
        ("POST", "/api/chat", {"origin": "https://evil.example"}, 403, b""),
        ("POST", "/api/chat", {"host": "evil.example"}, 403, b""),
    ],
)
def test_what_an_ollama_server_answers_without_json_stays_so(
    refusing: Program, method: str, path: str, headers: Mapping[str, str], status: int, body: bytes
) -> None:
    found, _, answer = refusing.ask(method, path, None, headers)
    assert (found, answer) == (status, body)


# ---- within a stream, and to clients of the other dialect ----------------------------------------------------------


def test_an_error_in_a_stream_is_the_vendors(refusing: Program) -> None:
    status, _, body = refusing.ask("POST", "/api/chat", chat("acme/late", stream=True))
    *said, last = map(json.loads, body.splitlines())
    assert (status, "".join(frame["message"]["content"] for frame in said)) == (200, "Hello ")
    assert last == {"error": "OpenRouter API error: the provider is gone"}


def test_an_openai_client_hears_the_vendor_itself(refusing: Program) -> None:
    """What OpenRouter says of the request goes on byte for byte; what it says of the key does not."""
    status, body = refusing.post("/v1/chat/completions", chat("acme/poor"))
    assert (status, body) == (402, PLAYS["acme/poor"]["body"])
    status, body = refusing.post("/v1/chat/completions", chat("acme/bad-key"))
    message = EXAMPLES["openrouter_error"].error
    error = {"message": message, "type": "api_error", "param": None, "code": "openrouter_error"}
    assert (status, body) == (502, {"error": error})


def test_no_key_in_the_log(refusing: Program) -> None:
    assert KEY not in refusing.log and KEY not in refusing.printed
