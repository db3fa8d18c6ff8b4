"""What was broken in ollama-proxy, each in a test of its own: one program started from its `.env`, over all of its
providers, and the bytes that these get.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from support.drop_in import run, serving
from support.hosts import chat
from support.program import Program, free_port, until
from support.vendor_plays import KEY, Said, Vendors, Wanted, said

TEXT = ["The sky", " is blue."]
USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13, "cost": 0.00012}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WEATHER = {
    "type": "function",
    "function": {"name": "get_weather", "description": "d", "parameters": {"type": "object", "properties": {}}},
}
ABLE = {
    "context_length": 32768,
    "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["text"]},
    "supported_parameters": ["tools", "reasoning"],
    "pricing": {"prompt": "0.000001", "completion": "0.000002"},
}

MODELS: Mapping[str, list[dict[str, Any]]] = {
    "openrouter": [
        {"id": "google/gemini-pro", **ABLE},
        {"id": "meta-llama/llama-3-8b:free", **ABLE},
        {
            "id": "openai/text-embedding-ada-002",
            "architecture": {"output_modalities": ["embeddings"]},
            "supported_parameters": [],
        },
    ],
    "openai": [{"id": "gpt-4o", "object": "model", "created": 1_700_000_000, "owned_by": "system"}],
    "anthropic": [{"id": "claude-sonnet-4", "type": "model", "display_name": "Claude Sonnet 4"}],
    "google": [{"id": "models/gemini-2.5-flash", "object": "model"}],
}


def plays(name: str) -> Any:
    """A vendor of the OpenAI API that answers every chat in the same words."""

    def vendor(wanted: Wanted) -> Said:
        if wanted.lists:
            return said({"data": MODELS[name]})
        asked = json.loads(wanted.body)
        if wanted.path.endswith("/embeddings"):
            return said({"data": [{"index": 0, "embedding": [0.0, 1.0]}], "model": "v", "usage": {"prompt_tokens": 2}})
        if "fail" in json.dumps(asked["messages"]):
            return said({"error": {"message": "Provider returned error", "code": 502}}, "502 Bad Gateway")
        if asked.get("stream"):
            return _streamed()
        message = {"role": "assistant", "content": "".join(TEXT), "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return said({"id": "gen-1", "model": "the-vendors/own-name", "choices": [choice], "usage": USAGE})

    return vendor


def _streamed() -> Said:
    deltas: list[Any] = [{"role": "assistant", "content": ""}, *({"content": piece} for piece in TEXT)]
    choices: list[Any] = [[{"index": 0, "delta": delta, "finish_reason": None}] for delta in deltas]
    choices.append([{"index": 0, "delta": {}, "finish_reason": "stop"}])
    chunks = [{"id": "gen-1", "model": "the-vendors/own-name", "choices": choice} for choice in choices]
    chunks.append({"id": "gen-1", "choices": [], "usage": USAGE})
    waiting = b": OPENROUTER PROCESSING\n\n" * 240  # one each quarter of a second, for a minute
    body = (
        waiting + b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"
    )
    return said(body, type="text/event-stream")


OWN = {"model": "llama3.2:3b", "created_at": "2024-01-01T00:00:00Z", "done": True, "done_reason": "stop", "novel": [1]}


def ollama(wanted: Wanted) -> Said:
    """An Ollama server with one model, whose answer has a field that nobody knows."""
    match wanted.path:
        case "/api/tags":
            return said({"models": [{"name": "llama3.2:3b", "model": "llama3.2:3b", "size": 5, "digest": "ab"}]})
        case "/api/ps":
            return said({"models": []})
        case "/api/chat":
            return said({**OWN, "message": {"role": "assistant", "content": "hola"}})
        case _:
            return said(b"Ollama is running", type="text/plain")


@pytest.fixture(scope="module")
def vendors() -> Iterator[Vendors]:
    found = Vendors({**{name: plays(name) for name in MODELS}, "ollama": ollama})
    yield found
    found.close()


def dotenv(url: str) -> str:
    """The sample of ollama-proxy with every provider switched on."""
    lines = [
        "# === OpenRouter ===",
        f"OPENROUTER_API_KEY={KEY}",
        f"OPENROUTER_BASE_URL={url}/openrouter/api/v1",
        "HOST=::1",
        "LOG_LEVEL=INFO",
        "MODELS_FILTER=models-filter.txt",
        "ROUTING_STRATEGY=capability_based",
        "FALLBACK_STRATEGY=next_available",
        "ENABLE_LOAD_BALANCING=true",
        "HEALTH_CHECK_INTERVAL=60",
        "OPENAI_MAX_CONCURRENT_REQUESTS=50",
    ]
    for name in ("OPENAI", "ANTHROPIC", "GOOGLE"):
        lines += [f"{name}_ENABLED=true", f"{name}_API_KEY={KEY}-{name}", f"{name}_TIMEOUT=300"]
    lines += [
        f"OPENAI_BASE_URL={url}/openai/v1",
        f"ANTHROPIC_BASE_URL={url}/anthropic/v1",
        f"GOOGLE_BASE_URL={url}/google/v1beta/openai",
        "OLLAMA_ENABLED=true",
        f"OLLAMA_BASE_URL={url}/ollama",
        "SOMETHING_NEW=1",
    ]
    return "\n".join(lines)


FLAGS = ("--host", "127.0.0.1", "--no-demo-model")


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, vendors: Vendors) -> Iterator[Program]:
    folder, port = tmp_path_factory.mktemp("proxy"), free_port()
    (folder / ".env").write_text(dotenv(vendors.url))
    (folder / "models-filter.txt").write_text("# only this\n!gemini-pro*\n")
    with serving(folder, [*FLAGS, "--port", str(port)], port, {}) as running:
        until(lambda: len(running.get("/api/tags")["models"]) == 6)
        yield running


def sent(vendors: Vendors, name: str) -> dict[str, Any]:
    """The last thing that a vendor was asked to do."""
    found: dict[str, Any] = json.loads([wanted for wanted in vendors.requests(name) if not wanted.lists][-1].body)
    return found


LLAMA = "llama-3-8b:free"
IDS = {"gpt-4o": "openai", "claude-sonnet-4": "anthropic", "gemini-2.5-flash": "google", LLAMA: "openrouter"}
"""What a client types, and who has it."""

HI = [{"role": "user", "content": "hi"}]

# ---- what answered 404 and 405 -------------------------------------------------------------------------------------


def test_every_documented_path_is_there(proxy: Program) -> None:
    for method, path, body, status in (
        ("HEAD", "/", None, 200),
        ("POST", "/api/show", {"model": LLAMA}, 200),
        ("POST", "/api/embed", {"model": "text-embedding-ada-002", "input": "a"}, 200),
        ("GET", "/api/ps", None, 200),
        ("GET", "/metrics", None, 200),
        ("GET", "/health", None, 200),
        ("GET", "/api/providers", None, 200),
    ):
        assert (path, proxy.ask(method, path, body)[0]) == (path, status)


# ---- what answered 500 after a good answer, or without options -----------------------------------------------------


@pytest.mark.parametrize("model", IDS)
def test_a_whole_answer_of_each_vendor_without_options(proxy: Program, model: str) -> None:
    status, answer = proxy.post("/api/chat", chat(model))
    assert (status, answer["message"]) == (200, {"role": "assistant", "content": "The sky is blue."})
    assert (answer["done_reason"], answer["prompt_eval_count"], answer["eval_count"]) == ("stop", 9, 4)
    row = {row["name"]: row for row in proxy.get("/api/providers")["providers"]}[IDS[model]]
    assert (row["circuit_breaker"]["state"], row["circuit_breaker"]["failure_count"]) == ("closed", 0)


@pytest.mark.parametrize("model", IDS)
@pytest.mark.parametrize("options", [{}, {"options": {}}, {"options": None}])
def test_generate_of_each_vendor(proxy: Program, model: str, options: dict[str, Any]) -> None:
    status, answer = proxy.post("/api/generate", {"model": model, "prompt": "why?", "stream": False, **options})
    assert (status, answer["response"], answer["done"]) == (200, "The sky is blue.", True)


@pytest.mark.parametrize(("path", "key"), [("/api/embed", "input"), ("/api/embeddings", "prompt")])
def test_embeddings_of_openrouter(proxy: Program, vendors: Vendors, path: str, key: str) -> None:
    status, answer = proxy.post(path, {"model": "text-embedding-ada-002", key: "hello"})
    assert (status, answer.get("embedding") or answer["embeddings"][0]) == (200, [0.0, 1.0])
    asked = sent(vendors, "openrouter")
    assert (asked["model"], asked["input"]) in (
        ("openai/text-embedding-ada-002", "hello"),
        ("openai/text-embedding-ada-002", ["hello"]),
    )


# ---- what a stream was ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", IDS)
def test_a_stream_is_lines_with_the_counts_in_the_last(proxy: Program, model: str) -> None:
    """Of what the vendor says while it waits nothing is seen."""
    status, headers, body = proxy.ask("POST", "/api/chat", {"model": model, "messages": HI})
    assert (status, headers["content-type"]) == (200, "application/x-ndjson")
    *pieces, last = [json.loads(line) for line in body.splitlines()]
    assert [piece["message"]["content"] for piece in pieces] == TEXT
    assert {(piece["model"], piece["done"]) for piece in pieces} == {(model, False)}
    assert (last["done"], last["done_reason"], last["prompt_eval_count"], last["eval_count"]) == (True, "stop", 9, 4)
    assert last["total_duration"] > 0


def test_an_error_is_none_of_its_lines(proxy: Program) -> None:
    status, headers, body = proxy.ask("POST", "/api/chat", chat(LLAMA, "fail", stream=True))
    assert (status, headers["content-type"]) == (502, "application/json")
    text = "OpenRouter API error: 502 Bad Gateway: Provider returned error"
    assert json.loads(body) == {"error": text, "type": "openrouter_error"}


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
def test_a_stream_is_what_comes_where_nothing_is_said(proxy: Program, path: str) -> None:
    body = {"model": LLAMA, "messages": HI} if path == "/api/chat" else {"model": LLAMA, "prompt": "hi"}
    assert len(proxy.ask("POST", path, body)[2].splitlines()) == 3


# ---- what became of the backends' own words ------------------------------------------------------------------------


def test_an_ollama_servers_answer_stays_its_own(proxy: Program) -> None:
    status, answer = proxy.post("/api/chat", chat("llama3.2:3b"))
    assert (status, answer) == (200, {**OWN, "message": {"role": "assistant", "content": "hola"}})


def test_every_entry_of_the_list_is_ollamas_and_comes_from_its_vendor(proxy: Program) -> None:
    listed = {entry["name"]: entry for entry in proxy.get("/api/tags")["models"]}
    assert sorted(listed) == [
        "claude-sonnet-4:latest",
        "gemini-2.5-flash:latest",
        "gpt-4o:latest",
        "llama3.2:3b",
        "meta-llama/llama-3-8b:free",
        "openai/text-embedding-ada-002:latest",
    ]
    for entry in listed.values():
        assert {"name", "model", "modified_at", "size", "digest", "details"} <= set(entry)
    for name in listed:
        if name != "llama3.2:3b":
            details = listed[name]["details"]
            assert {"format", "family", "families", "parameter_size", "quantization_level"} <= set(details)


# ---- what was refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"tools": [WEATHER]}, {"tools": [WEATHER]}),
        ({"think": True}, {"reasoning": {"enabled": True}}),
        ({"think": "low"}, {"reasoning": {"effort": "low"}}),
        ({"think": False}, {"reasoning": {"effort": "none"}}),
        ({"keep_alive": -1}, {}),
        ({"keep_alive": "5m"}, {}),
        ({"format": "json"}, {"response_format": {"type": "json_object"}}),
    ],
)  # fmt: skip
def test_what_an_ollama_client_may_ask(proxy: Program, vendors: Vendors, more: Any, told: dict[str, Any]) -> None:
    assert proxy.post("/api/chat", chat(LLAMA, **more))[0] == 200
    body = sent(vendors, "openrouter")
    assert {key: value for key, value in body.items() if key not in ("model", "messages", "stream")} == told


def test_a_schema(proxy: Program, vendors: Vendors) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    assert proxy.post("/api/chat", chat(LLAMA, format=schema))[0] == 200
    wanted = sent(vendors, "openrouter")["response_format"]
    assert (wanted["type"], wanted["json_schema"]["schema"]) == ("json_schema", schema)


def test_tool_calls_thinking_and_tool_name_in_a_conversation(proxy: Program, vendors: Vendors) -> None:
    call = {"function": {"name": "get_weather", "arguments": {"city": "Lima"}}}
    messages = [
        *HI,
        {"role": "assistant", "content": "", "thinking": "Hm.", "tool_calls": [call]},
        {"role": "tool", "tool_name": "get_weather", "content": "rain"},
    ]
    assert proxy.post("/api/chat", {"model": LLAMA, "messages": messages, "stream": False})[0] == 200
    _, spoke, result = sent(vendors, "openrouter")["messages"]
    (called,) = spoke["tool_calls"]
    assert (called["type"], called["function"]["name"]) == ("function", "get_weather")
    assert json.loads(called["function"]["arguments"]) == {"city": "Lima"}
    assert (result["role"], result["tool_call_id"], result["content"]) == ("tool", called["id"], "rain")


def test_images_are_parts_of_their_message_and_nowhere_else(proxy: Program, vendors: Vendors) -> None:
    messages = [{"role": "user", "content": "what is it?", "images": [PIXEL]}]
    assert proxy.post("/api/chat", {"model": LLAMA, "messages": messages, "stream": False})[0] == 200
    (message,) = sent(vendors, "openrouter")["messages"]
    assert set(message) == {"role", "content"}
    parts = {part["type"]: part for part in message["content"]}
    assert parts["text"]["text"] == "what is it?"
    assert parts["image_url"]["image_url"]["url"] == f"data:image/png;base64,{PIXEL}"
    proxy.post("/api/chat", {"model": LLAMA, "messages": [{**HI[0], "images": None}], "stream": False})
    assert sent(vendors, "openrouter")["messages"] == HI


# ---- what was made up ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", IDS)
def test_nothing_is_put_into_a_request(proxy: Program, vendors: Vendors, model: str) -> None:
    """But what the vendor needs to count."""
    assert proxy.post("/api/chat", chat(model))[0] == 200
    body = sent(vendors, IDS[model])
    assert {key: value for key, value in body.items() if key not in ("model", "stream")} == {"messages": HI}
    proxy.ask("POST", "/api/chat", chat(model, stream=True))
    assert set(sent(vendors, IDS[model])) <= {"model", "messages", "stream", "stream_options"}


def test_free_stays_free(proxy: Program, vendors: Vendors) -> None:
    for typed in (LLAMA, f"meta-llama/{LLAMA}", f"openrouter/meta-llama/{LLAMA}"):
        status, answer = proxy.post("/api/chat", chat(typed))
        # The answer's model is what the client has typed.
        assert (status, answer["model"]) == (200, typed)
        assert sent(vendors, "openrouter")["model"] == "meta-llama/llama-3-8b:free"


def test_an_unknown_model_is_sent_to_nobody(proxy: Program, vendors: Vendors) -> None:
    status, answer = proxy.post("/api/chat", chat("gpt-7"))
    assert (status, answer) == (404, {"error": "model 'gpt-7' not found", "type": "model_not_found"})
    for name in (*MODELS, "ollama"):
        assert b"gpt-7" not in b"".join(wanted.body for wanted in vendors.requests(name))


def test_options_have_their_words_at_the_vendor(proxy: Program, vendors: Vendors) -> None:
    proxy.post("/api/chat", chat(LLAMA, options={"num_predict": 7, "num_ctx": 4096, "temperature": 0}))
    body = sent(vendors, "openrouter")
    assert (body["max_tokens"], body["temperature"]) == (7, 0)
    assert not {"num_predict", "num_ctx", "options"} & set(body)


def test_a_digest_is_the_same_in_the_next_program(proxy: Program, vendors: Vendors, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(dotenv(vendors.url))
    (tmp_path / "models-filter.txt").write_text("!gemini-pro*\n")
    port = free_port()
    with serving(tmp_path, [*FLAGS, "--port", str(port)], port, {}) as again:
        until(lambda: len(again.get("/api/tags")["models"]) == 6)
        digests = [{e["name"]: e["digest"] for e in one.get("/api/tags")["models"]} for one in (proxy, again)]
    assert digests[0] == digests[1]


def test_googles_key_is_in_no_address(proxy: Program, vendors: Vendors) -> None:
    proxy.post("/api/chat", chat("gemini-2.5-flash"))
    for wanted in vendors.requests("google"):
        assert KEY not in wanted.path + wanted.query
        assert f"authorization: Bearer {KEY}-GOOGLE".encode() in wanted.head


# ---- what never reached the program --------------------------------------------------------------------------------


def test_a_filter_of_excludes_hides_what_it_names_and_nothing_else(proxy: Program) -> None:
    status, answer = proxy.post("/api/chat", chat("google/gemini-pro"))
    text = "Model 'google/gemini-pro' is not allowed by the filter"
    assert (status, answer) == (403, {"error": text, "type": "model_forbidden"})


def test_flags_reach_the_program(vendors: Vendors, tmp_path: Path) -> None:
    """`--api-key`, `--models-filter` and `--log-level`, against what the environment says."""
    (tmp_path / "mine.txt").write_text("*free\n")
    port = free_port()
    flags = ["--port", str(port), "--api-key", f"{KEY}-mine", "--models-filter", "mine.txt", "--log-level", "ERROR"]
    variables = {"OPENROUTER_API_KEY": KEY, "OPENROUTER_BASE_URL": f"{vendors.url}/openrouter/api/v1"}
    with serving(tmp_path, [*FLAGS, *flags], port, {**variables, "LOG_LEVEL": "d"}) as running:
        until(lambda: bool(running.get("/api/tags")["models"]))
        assert [entry["name"] for entry in running.get("/api/tags")["models"]] == ["meta-llama/llama-3-8b:free"]
        assert running.post("/api/chat", chat(LLAMA))[0] == 200
        assert f"authorization: Bearer {KEY}-mine".encode() in vendors.requests("openrouter")[-1].head
        assert '"info"' not in running.log and '"debug"' not in running.log


def test_an_ipv6_host_is_one(vendors: Vendors, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(dotenv(vendors.url))
    done = run(tmp_path, "serve", "--dry-run")
    assert (done.returncode, KEY in done.stdout + done.stderr) == (0, False)
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("server.host ")] == ["::1"]


def test_the_load_is_given_back_after_an_error(proxy: Program) -> None:
    """And one failure, streamed or not, counts as one."""
    before = proxy.get("/api/providers/openrouter/stats")
    for stream in (False, True):
        assert proxy.ask("POST", "/api/chat", chat(LLAMA, "fail", stream=stream))[0] == 502
    after = proxy.get("/api/providers/openrouter/stats")
    assert after["current_load"] == 0
    assert after["error_count"] - before["error_count"] == 2
    assert proxy.post("/api/chat", chat(LLAMA))[0] == 200
