"""Providers in every bad condition behind one program: what a client is told, what `/api/providers` and
`/health/providers/{p}` say, what `arriero check` prints, and that a provider that is well notices nothing.

All of them are played by one server in a thread. Each has one model that the operator has named, so that a request
reaches it though its list cannot be read.
"""

import gzip
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import pytest

from support.drop_in import run
from support.hosts import chat
from support.program import Program, program, until, write_config
from support.vendor_plays import KEY, Plays, Said, Vendors, Wanted, answer, entry, said

PAGE = b"<!DOCTYPE html><html><head><title>T</title></head><body><h1>Sign in</h1></body></html>"
JUNK_BYTES = 10_000_000
LONG = "x" * 10_000
WELL = "well"


def model(id: object, **more: Any) -> dict[str, Any]:
    return {"id": id, "context_length": 8192, **more}


def answers(wanted: Wanted) -> Said:
    """A good answer to a chat."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "fine"}, "finish_reason": "stop"}
    return said({"id": "1", "model": json.loads(wanted.body)["model"], "choices": [choice]})


def always(what: Said) -> Plays:
    return lambda wanted: what


def lists(*entries: object, **more: object) -> Plays:
    """A list, and chats that are well."""
    return lambda wanted: said({"data": entries, **more}) if wanted.lists else answers(wanted)


def pages(id: str, link: str) -> Plays:
    """A list whose every page names a next one; `{}` in either is the number of the page."""

    def plays(wanted: Wanted) -> Said:
        if not wanted.lists:
            return answers(wanted)
        page = int(parse_qs(wanted.query).get("offset", ["0"])[0])
        return said({"data": [model(id.format(page))], "links": {"next": link.format(page + 1)}})

    return plays


def refusal(message: str, code: int) -> dict[str, Any]:
    return {"error": {"message": message, "code": code}}


def limited(**fields: str) -> Plays:
    return always(said(refusal("Rate limit exceeded", 429), "429 Too Many Requests", **fields))


def compressed(wanted: Wanted) -> Said:
    whole = {"data": [model("zipped")]} if wanted.lists else json.loads(answers(wanted).raw.partition(b"\r\n\r\n")[2])
    return Said(answer(gzip.compress(json.dumps(whole).encode()), content_encoding="gzip"))


class Bad(NamedTuple):
    """What a provider does, the state that it is seen in, and what is told: in its state, and to a client.

    A text that ends in `...` is the beginning of what is told; `status` 200 is a good answer.
    """

    plays: Plays
    state: str
    trouble: str | None
    status: int
    type: str = "openrouter_error"
    error: str = ""
    models: tuple[str, ...] = ()


def same(plays: Plays, state: str, trouble: str, status: int = 502, type: str = "openrouter_error") -> Bad:
    """One that tells the client what ails it."""
    return Bad(plays, state, trouble, status, type, trouble)


def listing(plays: Plays, *models: str) -> Bad:
    """One that is well but for some of its list."""
    return Bad(plays, "healthy", None, 200, models=models)


def broken(plays: Plays, trouble: str, error: str) -> Bad:
    """One whose list and answers cannot be read."""
    return Bad(plays, "unhealthy", trouble, 502, error=error)


LIST = "the backend's model list is"
ANSWER = "the backend's answer"
VENDOR = "OpenRouter API error:"
LOOK = "(look at OPENROUTER_API_KEY, or at api_key of the backend)"
LEFT_ALONE = "no backend can serve this model now ({}: it wants to be left alone for another ..."
SILENT = "no backend can serve this model now ({0}: offline ({0} did not answer its check within 0.3 s))"

PROVIDERS: Mapping[str, Bad] = {
    # lists of nonsense
    "wrong-types": listing(
        lists(
            model(5),
            model("kept", created={}, pricing=[], architecture=7, supported_parameters={"a": 1}, top_provider=[]),
            None,
            3,
            [],
            {"id": {}},
            {"name": ["x"]},
            "a-text",
        ),
        "a-text:latest",
        "kept:latest",
    ),
    "no-ids": listing(lists({"context_length": 1}, {"object": "model"})),
    "odd-ids": listing(
        lists(
            *map(
                model,
                (
                    *("a b", "a//b", "/lead", "../../etc/passwd", "ü/日本語", "<b>", "%2e%2e", "a:b:c"),
                    *("", "  ", " padded", "tab\there", "two\nlines", "cr\r\nX-Evil: 1", "nul\0", "\x1b[31mred", LONG),
                ),
            )
        ),
        *("%2e%2e:latest", "../../etc/passwd:latest", "/lead:latest", "<b>:latest"),
        *("a b:latest", "a//b:latest", "a:b:c", "ü/日本語:latest"),
    ),
    "twice": listing(lists(model("twin"), model("twin", context_length=1), model("twin:latest")), "twin:latest"),
    "a-number": broken(always(said(17)), f"{LIST} no list", f"{ANSWER} is not JSON: not a JSON object"),
    "an-object": broken(always(said({"data": {"a": 1}})), f"{LIST} no list", f"{ANSWER} has no choices"),
    "nothing": broken(always(said(b"")), f"{LIST} empty: there is nothing in its answer", f"{ANSWER} is empty"),
    "half": broken(always(said(b'{"data":[{"id":"a"},{"id":')), f"{LIST} not JSON: ...", f"{ANSWER} is not JSON: ..."),
    "junk": broken(
        always(said(b'{"data":[' + b"x," * (JUNK_BYTES // 2))),
        f"{LIST} longer than any list of models",
        f"{ANSWER} is not JSON: ...",
    ),
    "nested": broken(always(said(b"[" * JUNK_BYTES)), f"{LIST} not JSON", f"{ANSWER} is not JSON: ..."),
    "refused-with-200": Bad(
        always(said(refusal(f"{KEY} is no key", 401))),
        *("config_error", f"{VENDOR} 401 Unauthorized {LOOK}", 502),
        error=f"{VENDOR} 401 Unauthorized {LOOK}",
    ),
    "repeats-the-key": Bad(
        always(said({"error": f"who is {KEY}?"})),
        *("unhealthy", f"{VENDOR} who is ***?", 502),
        error=f"{VENDOR} who is ***?",
    ),
    # lists without end
    "new-pages": listing(pages("new-{}", "?offset={}"), *sorted(f"new-{page}:latest" for page in range(100))),
    "same-pages": listing(pages("same", "/api/v1/models?offset={}"), "same:latest"),
    "own-page": listing(pages("own", "/api/v1/models?limit=500"), "own:latest"),
    "strange-page": listing(pages("strange", "http://127.0.0.1:9/steal?offset=1"), "strange:latest"),
    # no API
    "page": same(
        always(said(PAGE, type="text/html")),
        "unhealthy",
        "the backend answers with a web page (Sign in): look at its url",
    ),
    "bad-gateway": same(
        always(said(PAGE, "502 Bad Gateway", "text/html")), "unhealthy", f"{VENDOR} 502 Bad Gateway: Sign in"
    ),
    "elsewhere": same(
        always(said(b"", "302 Found", location=f"https://me:{KEY}@api.example/v2?key={KEY}")),
        "unhealthy",
        "the backend sends its clients elsewhere (HTTP 302 to https://api.example/v2): look at its url",
    ),
    "in-circles": same(
        always(said(b"", "308 Permanent Redirect", location="/in-circles/v1/models")),
        "unhealthy",
        "the backend sends its clients elsewhere (HTTP 308 to /in-circles/v1/models): look at its url",
    ),
    "compressed": same(
        compressed,
        "unhealthy",
        "the backend compresses its answer (gzip) though it was asked not to: look at what stands before it",
    ),
    "odd-status": same(
        always(said({}, "999 Odd")),
        "unhealthy",
        "the backend answered with HTTP 999, which is neither an answer nor an error",
    ),
    # refusals
    "unauthorized": same(
        always(said(refusal(f"{KEY} is no key", 401), "401 Unauthorized")),
        "config_error",
        f"{VENDOR} 401 Unauthorized {LOOK}",
    ),
    "forbidden": same(
        always(said(refusal("not yours", 403), "403 Forbidden")), "config_error", f"{VENDOR} 403 Forbidden {LOOK}"
    ),
    "failing": same(
        always(said(refusal("out of cheese", 500), "500 Internal Server Error")),
        *("unhealthy", f"{VENDOR} 500 Internal Server Error: out of cheese", 500),
    ),
    **{
        name: Bad(
            limited(**fields),
            "rate_limited",
            f"{VENDOR} 429 Too Many Requests: Rate limit exceeded; it wants to be left alone ...",
            503,
            "no_backend",
            LEFT_ALONE.format(name),
        )
        for name, fields in {
            "limited": {},
            "limited-a-while": {"retry_after": "170"},
            "limited-oddly": {"retry_after": "soon; -5"},
            "limited-for-ever": {"retry_after": "9" * 400},
        }.items()
    },
    # connections
    "gone": same(always(Said(b"", "close")), "unhealthy", "gone closed the connection before it answered"),
    "reset": same(always(Said(b"", "reset")), "unhealthy", "reset closed the connection before it answered"),
    **{
        name: Bad(
            always(Said(begun, "hang")),
            *("offline", f"{name} did not answer its check within 0.3 s", 503, "no_backend", SILENT.format(name)),
        )
        for name, begun in {
            "silent": b"",
            "half-a-head": b"HTTP/1.1 200 OK\r\ncontent-ty",
            "only-a-head": b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{",
        }.items()
    },
}
"""By the name of the provider."""

WAITS = {"limited": 30, "limited-a-while": 170, "limited-oddly": 30, "limited-for-ever": 3600}
"""Seconds for which one is left alone after its 429."""

SILENT_ONES = ("silent", "half-a-head", "only-a-head")


@pytest.fixture(scope="module")
def vendors() -> Iterator[Vendors]:
    found = Vendors({WELL: lists(model("good")), **{name: bad.plays for name, bad in PROVIDERS.items()}})
    yield found
    found.close()


@pytest.fixture(scope="module")
def among(tmp_path_factory: pytest.TempPathFactory, vendors: Vendors) -> Iterator[Program]:
    """One program with all of them, the last of which is well. It is not asked for anything before each was seen."""
    backends = [*(bad_one(name, vendors) for name in PROVIDERS), entry(WELL, vendors.url, extra_models=[])]
    with program(
        tmp_path_factory.mktemp("among"),
        backends,
        timeouts={"first_byte": 1, "idle": 1},
        routing={"retry": {"attempts": 1}},
    ) as running:
        until(lambda: all(row["state"] != "unknown" for row in rows(running).values()))
        yield running


def bad_one(name: str, vendors: Vendors, **more: Any) -> dict[str, Any]:
    """Its entry. Of those who answer nothing a test would wait for the whole of each check."""
    return entry(name, vendors.url, check_timeout=0.3 if name in SILENT_ONES else 1, **more)


def rows(running: Program) -> dict[str, Any]:
    """The entries of `/api/providers`, by name."""
    return {row["name"]: row for row in running.get("/api/providers")["providers"]}


def fits(wanted: str | None, found: str | None) -> bool:
    if wanted is None or found is None or not wanted.endswith("..."):
        return wanted == found
    return found.startswith(wanted.removesuffix("..."))


def test_the_start_waits_for_nobody(vendors: Vendors, tmp_path: Path) -> None:
    backends = [*(bad_one(name, vendors) for name in SILENT_ONES), entry(WELL, vendors.url, extra_models=[])]
    begun = time.monotonic()
    with program(tmp_path, backends, wait=False) as running:
        listening = time.monotonic() - begun
        assert [row["name"] for row in running.get(f"/api/tags/{WELL}")["models"]] == ["good:latest"]
        alone = time.monotonic()
        with program(tmp_path / "alone", backends[-1:], wait=False):
            assert listening < time.monotonic() - alone + 3  # one second by right, and a busy machine


@pytest.mark.parametrize("name", PROVIDERS)
def test_its_state_is_seen_and_says_what_ails_it(among: Program, name: str) -> None:
    bad = PROVIDERS[name]
    row = rows(among)[name]
    assert (row["state"], row["healthy"]) == (bad.state, bad.state == "healthy")
    assert fits(bad.trouble, row["error"]), row["error"]
    health = among.get(f"/health/providers/{name}")
    status = "operational" if row["healthy"] else "timeout" if name in SILENT_ONES else "error"
    assert (health["state"], health["status"]) == (bad.state, status)
    assert fits(bad.trouble, health["error"]), health["error"]


@pytest.mark.parametrize("name", PROVIDERS)
def test_what_makes_sense_of_its_list_is_listed(among: Program, name: str) -> None:
    listed = {row["name"] for row in among.get(f"/api/tags/{name}")["models"]}
    # What nobody can reach is not offered.
    assert listed == (set() if name in SILENT_ONES else {*PROVIDERS[name].models, f"{name}-model:latest"})


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", PROVIDERS)
def test_an_ollama_client_is_told(among: Program, name: str, stream: bool) -> None:
    bad = PROVIDERS[name]
    status, headers, body = among.ask("POST", "/api/chat", chat(f"{name}-model", stream=stream))
    assert status == bad.status, body
    if status == 200:
        lines = [json.loads(line) for line in body.splitlines()]
        assert "".join(line["message"]["content"] for line in lines) == "fine"
        assert {line["model"] for line in lines} == {f"{name}-model"}
        return
    told = json.loads(body)
    # An answer that is half a message reads otherwise in a stream.
    wanted = f"{ANSWER}..." if stream and bad.error.startswith(ANSWER) else bad.error
    assert (set(told), told["type"]) == ({"error", "type"}, bad.type)
    assert fits(wanted, told["error"]), told["error"]
    if name in WAITS:
        assert WAITS[name] - 60 < int(headers["retry-after"]) <= WAITS[name]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ["page", "elsewhere", "in-circles", "unauthorized", "failing", "silent", "gone"])
def test_an_openai_client_is_told(among: Program, name: str, stream: bool) -> None:
    """Before anything is said, whatever it asked for."""
    bad = PROVIDERS[name]
    status, headers, body = among.ask("POST", "/v1/chat/completions", chat(f"{name}-model", stream=stream))
    assert (status, headers["content-type"]) == (bad.status, "application/json")
    assert (bad.error in body.decode()) or json.loads(body) == refusal("out of cheese", 500)


@pytest.mark.parametrize("stream", [False, True])
def test_an_openai_client_reads_what_is_compressed_itself(among: Program, stream: bool) -> None:
    status, headers, body = among.ask("POST", "/v1/chat/completions", chat("compressed-model", stream=stream))
    assert (status, headers["content-encoding"]) == (200, "gzip")
    assert json.loads(gzip.decompress(body))["choices"][0]["message"]["content"] == "fine"


@pytest.mark.parametrize("id", ["a b", "a//b", "/lead", "../../etc/passwd", "ü/日本語", "<b>", "%2e%2e", "a:b:c"])
def test_a_model_with_an_odd_id_is_used_by_it(among: Program, vendors: Vendors, id: str) -> None:
    status, answer = among.post("/api/chat", chat(id))
    assert (status, answer["model"], answer["message"]["content"]) == (200, id, "fine")
    assert json.loads(vendors.requests("odd-ids")[-1].body)["model"] == id


def test_of_a_page_elsewhere_only_the_query_is_taken(vendors: Vendors, among: Program) -> None:
    assert {wanted.path for wanted in vendors.requests("strange-page") if wanted.lists} == {"/v1/models"}


def test_a_list_without_end_is_warned_of_once(vendors: Vendors, among: Program) -> None:
    """Every check finds it again."""
    until(lambda: sum(wanted.lists for wanted in vendors.requests("own-page")) > 8)
    for name in ("new-pages", "same-pages", "own-page", "strange-page"):
        lines = [line for line in among.log.splitlines() if "has no end" in line and f'"{name}"' in line]
        assert len(lines) == 1


def test_who_is_well_notices_nothing(among: Program) -> None:
    begun = time.monotonic()
    for _ in range(20):
        assert among.post("/api/chat", chat("good"))[0] == 200
    assert among.get("/api/tags")["models"]
    # A check of one that hangs takes a second: twenty answers that waited for one would take longer than this.
    assert time.monotonic() - begun < 5


def test_who_hangs_holds_up_no_unknown_name(among: Program) -> None:
    until(lambda: all(rows(among)[name]["state"] == "offline" for name in SILENT_ONES))
    begun = time.monotonic()
    assert among.post("/api/chat", chat("nobody-has-this"))[0] == 404
    assert time.monotonic() - begun < 5


def test_no_page_and_no_line_shows_the_key(among: Program) -> None:
    pages = ("/api/providers", "/health", "/health/detailed", "/health/providers", "/metrics", "/internal/metrics")
    shown = [among.ask("GET", page)[2].decode() for page in (*pages, "/internal/status", "/api/tags", "/v1/models")]
    assert KEY not in "".join(shown) + among.log + among.printed


def test_check_has_a_readable_line_for_each(vendors: Vendors, tmp_path: Path) -> None:
    write_config(tmp_path / "arriero.yaml", [bad_one(name, vendors, extra_models=[]) for name in PROVIDERS])
    done = run(tmp_path, "check")
    assert done.returncode == 1
    assert KEY not in done.stdout + done.stderr
    assert not set(done.stdout) & set("\0\r\t\x1b")
    table = done.stdout[done.stdout.index("\nbackend ") :].strip().splitlines()[1:]
    assert [line.split()[0] for line in table] == list(PROVIDERS)
    for line in table:
        name, kind, url, state, told = line.split(None, 4)
        bad = PROVIDERS[name]
        assert (kind, url, state) == ("openai", f"{vendors.url}/{name}/v1", "fails" if bad.trouble else "answers")
        if bad.trouble is None:
            # Two spellings of one model are two lines of its list.
            assert int(told.partition(":")[0]) == (2 if name == "twice" else len(bad.models)), line
        else:
            wanted = "no answer within 0.3 seconds" if name in SILENT_ONES else bad.trouble.partition(";")[0]
            assert fits(wanted, told.strip()), line
