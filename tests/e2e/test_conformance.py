"""What any Ollama server does, read off the wire of the running program: heads, bytes, and the words of errors."""

import json
import math
import re
from datetime import datetime
from typing import Any

import pytest

from e2e.conftest import FORECAST, OLD, SENTENCE, TOOLS
from support.program import Program

HI = [{"role": "user", "content": "hi"}]
TEXT = "text/plain"
UTF8_TEXT = "text/plain; charset=utf-8"
JSON = "application/json; charset=utf-8"
BARE_JSON = "application/json"
UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?Z")


def lines(body: bytes) -> list[Any]:
    assert body.endswith(b"\n")
    return [json.loads(line) for line in body.split(b"\n")[:-1]]


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "hello", "messages": HI, **fields}


# ---- 1, 2: the routes ----------------------------------------------------------------------------------------------


def test_the_banner(door: Program) -> None:
    assert door.ask("GET", "/")[2] == b"Ollama is running"
    assert door.ask("GET", "/")[1]["content-type"] == UTF8_TEXT
    status, headers, body = door.ask("HEAD", "/")
    assert (status, headers["content-length"], body) == (200, "17", b"")


def test_the_version_is_digits_and_dots(door: Program) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", door.get("/api/version")["version"])
    assert door.ask("HEAD", "/api/version")[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/api/chat", "POST"),
        ("GET", "/api/generate", "POST"),
        ("HEAD", "/api/ps", "GET"),
        ("POST", "/api/tags", "GET, HEAD"),
        ("POST", "/api/delete", "DELETE"),
        ("GET", "/v1/chat/completions", "POST"),
    ],
)
def test_a_wrong_method(engine: Program, method: str, path: str, allow: str) -> None:
    status, headers, body = engine.ask(method, path)
    assert (status, headers["content-type"], headers["allow"]) == (405, TEXT, allow)
    assert body == (b"" if method == "HEAD" else b"405 method not allowed")


@pytest.mark.parametrize("path", ["/nope", "/api", "/api/nope", "/v1/nope", "/debug/pprof/"])
def test_an_unknown_path(engine: Program, path: str) -> None:
    status, headers, body = engine.ask("GET", path)
    assert (status, headers["content-type"], body) == (404, TEXT, b"404 page not found")


def test_what_no_backend_could_be_asked(engine: Program) -> None:
    status, _, body = engine.ask("POST", "/v1/images/generations", {"prompt": "a llama"})
    text = "no backend is there that /v1/images/generations could be carried to"
    assert (status, json.loads(body)["error"]["message"]) == (404, text)


def test_a_trailing_slash_is_redirected(engine: Program) -> None:
    status, headers, _ = engine.ask("GET", "/api/tags/")
    assert (status, headers["location"]) == (301, "/api/tags")
    status, headers, _ = engine.ask("POST", "/api/chat/", "{}")
    assert (status, headers["location"]) == (307, "/api/chat")


# ---- 3, 4, 12, 13: bodies ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/api/embed", "/api/embeddings", "/api/show"])
@pytest.mark.parametrize("body", ["", " \n\t "])
def test_a_missing_body(engine: Program, path: str, body: str) -> None:
    status, answer = engine.post(path, body)
    assert (status, answer["error"]) == (400, "missing request body")


def test_an_empty_name(door: Program) -> None:
    assert door.post("/api/generate", {"model": ""})[0] == 404
    assert door.post("/api/chat", {"model": "", "messages": HI}) == (
        400,
        {"error": "model is required", "type": "validation_error"},
    )


def test_the_content_type_does_not_matter(door: Program) -> None:
    status, answer = door.post("/api/chat", json.dumps(chat(stream=False)), **{"content-type": "text/plain"})
    assert (status, answer["message"]["content"]) == (200, SENTENCE)


def test_keys_match_in_any_case_and_the_last_one_counts(door: Program) -> None:
    body = '{"Model":"nope","messages":[{"ROLE":"user","Content":"hi"}],"STREAM":false,"model":"hello"} trailing'
    status, answer = door.post("/api/chat", body)
    assert (status, answer["message"]["content"]) == (200, SENTENCE)


def test_null_counts_as_absent(door: Program) -> None:
    status, headers, body = door.ask("POST", "/api/chat", chat(stream=None, options=None, format=None, think=None))
    assert (status, headers["content-type"]) == (200, "application/x-ndjson")
    assert lines(body)[-1]["done"] is True


@pytest.mark.parametrize("door", ["engine", "by_ollama"], indirect=True)
def test_options_of_a_wrong_type(door: Program) -> None:
    assert door.post("/api/chat", chat(options={"stop": "a"}))[0] == 500


def test_keep_alive_of_a_wrong_form(door: Program) -> None:
    for wrong, text in (("-1", 'time: missing unit in duration "-1"'), ("x", 'time: invalid duration "x"')):
        status, answer = door.post("/api/chat", chat(keep_alive=wrong))
        assert (status, answer["error"]) == (400, text)


def test_what_is_unknown_is_ignored(door: Program) -> None:
    status, answer = door.post("/api/chat", chat(stream=False, brand_new=[1], options={"never_heard_of": {}}))
    assert (status, answer["message"]["content"]) == (200, SENTENCE)


# ---- 5, 6: loading -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/generate", "/api/chat"])
def test_loading_and_unloading(door: Program, path: str) -> None:
    status, headers, body = door.ask("POST", path, {"model": "plain"})
    answer = json.loads(body)
    assert (status, headers["content-type"]) == (200, JSON)
    assert (answer["done"], answer["done_reason"]) == (True, "load")
    assert set(answer) == {"model", "created_at", "done", "done_reason", "response" if "gen" in path else "message"}
    assert "plain:latest" in [model["name"] for model in door.get("/api/ps")["models"]]
    _, answer = door.post(path, {"model": "plain", "keep_alive": 0})
    assert answer["done_reason"] == "unload"
    assert "plain:latest" not in [model["name"] for model in door.get("/api/ps")["models"]]


# ---- 7 to 11: answers ----------------------------------------------------------------------------------------------


def test_a_stream(door: Program) -> None:
    status, headers, body = door.ask("POST", "/api/chat", chat())
    frames = lines(body)
    assert (status, headers["content-type"]) == (200, "application/x-ndjson")
    assert (headers.get("transfer-encoding"), headers.get("content-length")) == ("chunked", None)
    assert b"\n\n" not in body and body.isascii()
    assert [frame["done"] for frame in frames] == [False] * (len(frames) - 1) + [True]
    assert all(set(frame) == {"model", "created_at", "message", "done"} for frame in frames[:-1])
    assert frames[-1]["done_reason"] == "stop"
    metrics = {key: value for key, value in frames[-1].items() if key.endswith(("_count", "_duration"))}
    assert {"total_duration", "prompt_eval_count", "eval_count", "eval_duration"} <= metrics.keys()
    assert all(isinstance(value, int) and value > 0 for value in metrics.values())
    assert all(UTC.fullmatch(frame["created_at"]) for frame in frames)


def test_the_order_of_keys(door: Program) -> None:
    _, _, body = door.ask("POST", "/api/chat", chat(stream=False))
    keys = list(json.loads(body))
    assert keys[:5] == ["model", "created_at", "message", "done", "done_reason"]
    assert b": " not in body and not body.endswith(b"\n")


def test_tool_calls(door: Program) -> None:
    _, answer = door.post("/api/chat", chat(model="caller", tools=TOOLS, stream=False))
    (call,) = answer["message"]["tool_calls"]
    name, arguments = FORECAST
    assert call["function"] == {"index": 0, "name": name, "arguments": arguments}
    assert list(call["function"]["arguments"]) == list(arguments)
    assert answer["done_reason"] == "stop"


def test_thinking(door: Program) -> None:
    assert door.post("/api/chat", chat(model="plain", think=True))[0] == 400
    assert door.post("/api/chat", chat(model="plain", think=False, stream=False))[0] == 200
    _, answer = door.post("/api/chat", chat(model="thinker", stream=False))
    assert answer["message"]["thinking"]
    _, answer = door.post("/api/chat", chat(model="thinker", stream=False, think=False))
    assert "thinking" not in answer["message"]


# ---- 14, 15: embeddings --------------------------------------------------------------------------------------------


def test_embed(door: Program) -> None:
    _, headers, body = door.ask("POST", "/api/embed", {"model": "embedder", "input": "a llama"})
    answer = json.loads(body)
    assert headers["content-type"] == JSON
    assert list(answer) == ["model", "embeddings", "total_duration", "load_duration", "prompt_eval_count"]
    assert math.isclose(math.hypot(*answer["embeddings"][0]), 1, rel_tol=1e-3)


def test_embed_of_nothing(door: Program) -> None:
    assert door.post("/api/embed", {"model": "embedder", "input": ""})[1]["embeddings"] == []
    assert door.post("/api/embed", {"model": "embedder"})[1]["embeddings"] == []


def test_embed_of_empty_texts(by_openai: Program) -> None:
    """A vocabulary that puts no token of its own before a text leaves the engine itself nothing to embed."""
    vectors = by_openai.post("/api/embed", {"model": "embedder", "input": ["", ""]})[1]["embeddings"]
    assert [round(math.hypot(*vector), 3) for vector in vectors] == [1, 1]


def test_the_old_embeddings(door: Program) -> None:
    _, answer = door.post("/api/embeddings", {"model": "embedder", "prompt": "a llama"})
    assert list(answer) == ["embedding"]
    assert len(answer["embedding"]) == 64


# ---- 16, 20, 23: the catalog ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["model", "name"])
def test_show(door: Program, key: str) -> None:
    status, answer = door.post("/api/show", {key: "hello"})
    assert (status, type(answer["model_info"])) == (200, dict)
    assert "completion" in answer["capabilities"]
    assert door.post("/api/show", {key: "nope"})[1]["error"] == "model 'nope:latest' not found"


def test_tags(door: Program) -> None:
    models = door.get("/api/tags")["models"]
    assert all(re.fullmatch(r"[0-9a-f]{64}", model["digest"]) for model in models)
    times = [datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", model["modified_at"])) for model in models]
    assert all(time.tzinfo is not None for time in times)
    seconds = [int(time.timestamp()) for time in times]
    assert seconds == sorted(seconds, reverse=True)
    assert (models[-1]["name"], seconds[-1]) == ("plain:latest", int(OLD))
    assert door.ask("HEAD", "/api/tags")[2] == b""


def test_the_name_is_found_in_any_case_and_echoed(door: Program) -> None:
    _, answer = door.post("/api/chat", chat(model="HELLO", stream=False))
    assert (answer["model"], answer["message"]["content"]) == ("HELLO", SENTENCE)


@pytest.mark.parametrize("name", ["library/hello", "registry.ollama.ai/library/hello:latest", "hello:local"])
def test_the_long_forms_of_a_name(door: Program, name: str) -> None:
    _, answer = door.post("/api/chat", chat(model=name, stream=False))
    assert (answer["model"], answer["message"]["content"]) == (name, SENTENCE)
    assert door.post("/api/show", {"model": name})[0] == 200


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/api/embed", "/api/embeddings", "/api/show"])
def test_what_is_no_name(engine: Program, path: str) -> None:
    for name, text in (
        ("m:", "invalid model name"),
        ("n//m", "invalid model name"),
        ("x:cloud:local", 'use either :local or :cloud, not both: "x:cloud:local"'),
    ):
        status, answer = engine.post(path, {"model": name})
        assert (status, answer["error"]) == (400, text)


# ---- 17 to 19: the library without anyone who manages models -------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/pull"),
        ("POST", "/api/push"),
        ("POST", "/api/create"),
        ("POST", "/api/copy"),
        ("DELETE", "/api/delete"),
        ("POST", f"/api/blobs/sha256:{'a' * 64}"),
    ],
)
def test_library_operations_are_refused_with_a_way_out(door: Program, method: str, path: str) -> None:
    # What is served already need not be pulled.
    model = "unknown" if path == "/api/pull" else "hello"
    status, headers, body = door.ask(method, path, {"model": model, "source": "hello", "destination": "b"})
    assert (status, headers["content-type"].split(";")[0]) == (501, BARE_JSON)
    assert "or of kind engine whose store is not read_only" in json.loads(body)["error"]
    assert "hello:latest" in [model["name"] for model in door.get("/api/tags")["models"]]


# ---- 21, 22: who may ask -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), [("GET", "/api/tags"), ("POST", "/api/chat"), ("GET", "/nope")])
@pytest.mark.parametrize("origin", ["https://evil.example", "chrome-extension://abc", "null"])
def test_a_foreign_page_is_refused(engine: Program, method: str, path: str, origin: str) -> None:
    status, headers, body = engine.ask(method, path, None, {"origin": origin})
    assert (status, body, headers.get("content-type")) == (403, b"", None)


@pytest.mark.parametrize("origin", ["http://localhost:3000", "app://obsidian.md", "vscode-webview://1a2b"])
def test_a_page_of_this_machine_is_served(door: Program, origin: str) -> None:
    for method, path, body in (("GET", "/api/tags", None), ("POST", "/api/chat", chat())):
        status, headers, _ = door.ask(method, path, body, {"origin": origin})
        assert (status, headers["access-control-allow-origin"]) == (200, origin)


def test_a_browser_asks_first(engine: Program) -> None:
    wanted = {"origin": "http://localhost:3000", "access-control-request-method": "POST"}
    status, headers, body = engine.ask("OPTIONS", "/api/chat", None, wanted)
    assert (status, body) == (204, b"")
    assert "POST" in headers["access-control-allow-methods"]
    assert "Authorization" in headers["access-control-allow-headers"]


@pytest.mark.parametrize(
    ("host", "status"),
    [("evil.example", 403), ("foo.localhost", 200), ("localhost:1", 200), ("10.1.2.3", 200), ("box.local", 200)],
)
@pytest.mark.parametrize(("method", "path"), [("GET", "/api/tags"), ("POST", "/api/chat")])
def test_the_host_that_was_asked_for(engine: Program, method: str, path: str, host: str, status: int) -> None:
    found, _, body = engine.ask(method, path, None if method == "GET" else chat(stream=False), {"host": host})
    assert found == status
    assert status == 200 or body == b""


# ---- 24, 25: errors ------------------------------------------------------------------------------------------------


def test_an_error_before_the_first_frame(door: Program) -> None:
    status, headers, body = door.ask("POST", "/api/chat", chat(model="nope"))
    assert (status, headers["content-type"]) == (404, BARE_JSON)
    assert json.loads(body)["error"] == "model 'nope' not found"
    status, headers, _ = door.ask("POST", "/api/chat", chat(model="nope", stream=False))
    assert (status, headers["content-type"]) == (404, JSON)


def test_every_answer_says_which_way_it_came(door: Program) -> None:
    _, headers, _ = door.ask("POST", "/api/chat", chat(stream=False))
    assert headers["x-arriero-backend"] in ("local", "v1", "other")
    assert {"x-arriero-request-id", "x-arriero-model", "x-arriero-attempts", "x-arriero-reason"} <= headers.keys()
