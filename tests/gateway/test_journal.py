"""What an exchange says of itself when it ends, and when that is written."""

import asyncio
import gc
import json
import sys
import weakref
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from arriero.canonical.events import Usage
from arriero.dialects.base import Operation
from arriero.errors import (
    ArrieroError,
    BackendBroken,
    BadRequest,
    ClientGone,
    HeadersTooLarge,
    NoBackend,
    RateLimited,
)
from arriero.gateway.door import Door
from arriero.gateway.journal import INFO, MOST, PROMPT_BYTES, WARNING, Journal, Line, as_json
from arriero.gateway.lane import Inbound
from arriero.gateway.outcome import Outcome
from support.lanes import inbound

AT = 1_700_000_000_000_000_000
ASKED = inbound("POST", "/api/chat", b'{"messages": "a secret prompt"}')
WELL = Outcome(model="m", backend="gpu1", attempts=1, status=200)


class Book:
    """A journal, and everything that it wrote, write by write."""

    def __init__(self, least: int = INFO, *, exchanges: bool = True, prompts: bool = False) -> None:
        self.writes: list[bytes] = []
        self.journal = Journal(clock=lambda: AT + 5_000_000)
        self.journal.settle(exchanges=exchanges, prompts=prompts)
        self.journal.open(self.writes.append, least=least)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What was written until now."""
        return [json.loads(line) for line in b"".join(self.writes).splitlines()]

    def note(self, outcome: Outcome, asked: Inbound = ASKED) -> None:
        """An exchange that took 2.5 ms."""
        self.journal.note(outcome, asked, AT + 2_500_000, "ollama", Operation.CHAT, True)

    def told(self, outcome: Outcome, asked: Inbound = ASKED) -> list[dict[str, Any]]:
        """The lines of one exchange."""

        async def main() -> None:
            self.note(outcome, asked)
            self.journal.flush()

        asyncio.run(main())
        return self.lines


def told(outcome: Outcome, asked: Inbound = ASKED, least: int = INFO, **wanted: bool) -> list[dict[str, Any]]:
    return Book(least, **wanted).told(outcome, asked)


# ---- a line --------------------------------------------------------------------------------------------------------


def test_a_line_says_all_that_is_known() -> None:
    outcome = Outcome(
        model="fast",
        backend="router",
        backend_model="openai/gpt-4o",
        reason="priority",
        attempts=2,
        relayed=False,
        dropped=("num_ctx", "mirostat"),
        usage=Usage(12, 34),
        first_byte_ns=AT + 1_234_567,
        status=200,
    )
    (line,) = told(outcome, replace(ASKED, door=Door("/olla/openai", "openai", olla=True)))
    assert list(line.items()) == [
        ("event", "exchange"),
        ("level", "info"),
        ("timestamp", "2023-11-14T22:13:20.002500Z"),
        ("request_id", "req1"),
        ("path", "/olla/openai/api/chat"),
        ("dialect", "ollama"),
        ("operation", "chat"),
        ("model", "fast"),
        ("backend", "router"),
        ("backend_model", "openai/gpt-4o"),
        ("status", 200),
        ("attempts", 2),
        ("reason", "priority"),
        ("way", "translated"),
        ("streamed", True),
        ("prompt_tokens", 12),
        ("completion_tokens", 34),
        ("first_byte_ms", 1.234),
        ("total_ms", 2.5),
        ("dropped", ["num_ctx", "mirostat"]),
        ("error", None),
        ("error_type", None),
    ]


def test_what_nobody_knows_is_null_and_its_key_is_there() -> None:
    (line,) = told(Outcome())
    assert line.keys() == set(Line.__struct_fields__)
    known = {key: value for key, value in line.items() if value is not None}
    assert known == {
        "event": "exchange",
        "level": "info",
        "timestamp": "2023-11-14T22:13:20.002500Z",
        "request_id": "req1",
        "path": "/api/chat",
        "dialect": "ollama",
        "operation": "chat",
        "attempts": 0,
        "streamed": True,
        "total_ms": 2.5,
        "dropped": [],
    }


@pytest.mark.parametrize(
    ("error", "level", "status", "type"),
    [
        (BackendBroken("it is so"), "warning", 502, "backend_error"),
        (NoBackend("it is so"), "warning", 503, "no_backend"),
        (BadRequest("it is so"), "info", 400, "validation_error"),
        (ClientGone("it is so"), "info", 499, "client_gone"),
    ],
)
def test_who_has_to_act_is_told(error: ArrieroError, level: str, status: int, type: str) -> None:
    (line,) = told(Outcome(error=error))
    assert [line[key] for key in ("event", "level", "status", "error", "error_type")] == [
        *("exchange failed", level, status, "it is so", type)
    ]


def test_an_answer_that_was_cut_keeps_the_status_that_its_client_was_told() -> None:
    (line,) = told(Outcome(error=BackendBroken("gone"), status=200))
    assert (line["event"], line["status"], line["error"]) == ("exchange failed", 200, "gone")


def test_a_clock_that_was_set_back_makes_no_negative_times() -> None:
    (line,) = told(Outcome(first_byte_ns=AT - 1), replace(ASKED, received_ns=AT + 10_000_000_000))
    assert (line["first_byte_ms"], line["total_ms"]) == (0.0, 0.0)


def test_a_refused_request_has_a_line_too() -> None:
    book = Book()

    async def main() -> None:
        book.journal.refused(RateLimited("too many"), "/api/chat", "req7")
        book.journal.refused(HeadersTooLarge("too large"), "", None)
        book.journal.flush()

    asyncio.run(main())
    first, second = [{key: value for key, value in line.items() if value is not None} for line in book.lines]
    assert first == {
        "event": "request refused",
        "level": "info",
        "timestamp": "2023-11-14T22:13:20.005000Z",
        "request_id": "req7",
        "path": "/api/chat",
        "status": 429,
        "attempts": 0,
        "dropped": [],
        "error": "too many",
        "error_type": "rate_limited",
    }
    assert ("request_id" in second, second["path"], second["status"]) == (False, "", 431)


# ---- what strangers say --------------------------------------------------------------------------------------------


def test_the_log_does_not_grow_by_what_strangers_send() -> None:
    name = "m" * 1_000_000
    outcome = Outcome(model=name, backend_model=name, error=BadRequest(f"model '{name}' not found"))
    (line,) = told(outcome, inbound("POST", "/" + name))
    assert line["model"] == line["backend_model"] == "m" * 1024 + "..."
    assert len(json.dumps(line)) < 6000


def test_nothing_that_strangers_send_breaks_a_line_or_steers_a_terminal() -> None:
    evil = "a\n{}\r\x1b[2J\x9b31m\u202e\u2028\ud800"
    book = Book()
    (line,) = book.told(Outcome(model=evil, backend_model=evil, error=BadRequest(evil)), inbound("POST", "/" + evil))
    for key in ("model", "backend_model", "error", "path"):
        assert line[key].removeprefix("/") == r"a\n{}\r\x1b[2J\x9b31m\u202e\u2028\ud800"
    assert b"".join(book.writes).decode().rstrip("\n").isprintable()


# ---- prompts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [WELL, replace(WELL, error=BackendBroken("gone"))])
def test_no_line_has_any_of_a_prompt(outcome: Outcome) -> None:
    (line,) = told(outcome)
    assert "secret" not in json.dumps(line)


@pytest.mark.parametrize("outcome", [WELL, replace(WELL, error=BackendBroken("gone"))])
def test_but_where_it_is_asked_for(outcome: Outcome) -> None:
    (line,) = told(outcome, prompts=True)
    assert line["body"] == '{"messages": "a secret prompt"}'


def test_a_body_is_cut() -> None:
    (line,) = told(WELL, inbound("POST", "/api/chat", b"x" * 1_000_000), prompts=True)
    assert line["body"] == "x" * PROMPT_BYTES + "..."


def test_a_body_that_is_no_text_breaks_nothing() -> None:
    (line,) = told(WELL, inbound("POST", "/v1/audio/speech", b"\xff\x00\x1b[2J\n"), prompts=True)
    assert line["body"] == "\ufffd\\x00\\x1b[2J\\n"


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b'{"api_key": "sk-very-secret", "n": 1}', '{"api_key": "***", "n": 1}'),
        (b'{"openai_api_key":"a\\"b", "n": 1}', '{"openai_api_key":"***", "n": 1}'),
        (b'{"headers": {"Authorization": "Bearer abc"}}', '{"headers": {"Authorization": "***"}}'),
        (b'{"prompt": "my key is client-secret"}', '{"prompt": "my key is ***"}'),
        (b'{"api_key": "cut off', '{"api_key": "***'),
    ],
)
def test_a_body_is_shown_without_keys(body: bytes, shown: str) -> None:
    asked = inbound("POST", "/api/chat", body, headers=((b"authorization", b"Bearer client-secret"),))
    (line,) = told(WELL, asked, prompts=True)
    assert line["body"] == shown


# ---- which lines ---------------------------------------------------------------------------------------------------

DROPPED = replace(WELL, dropped=("num_ctx",))
REFUSED = replace(WELL, error=BadRequest("no"))
BROKEN = replace(WELL, error=BackendBroken("no"))


@pytest.mark.parametrize(
    ("least", "exchanges", "written"),
    [
        (INFO, True, [True, True, True, True]),
        (INFO, False, [False, True, True, True]),
        (WARNING, True, [False, False, False, True]),
        (WARNING + 10, True, [False, False, False, False]),
    ],
)
def test_level_and_wish_decide(least: int, exchanges: bool, written: list[bool]) -> None:
    outcomes = (WELL, DROPPED, REFUSED, BROKEN)
    assert [bool(told(outcome, least=least, exchanges=exchanges)) for outcome in outcomes] == written


def test_the_wish_may_change_while_it_runs() -> None:
    book = Book(exchanges=False)
    assert book.told(WELL) == []
    book.journal.settle(exchanges=True, prompts=True)
    assert [line["body"] for line in book.told(WELL)] == [ASKED.body.decode()]


def test_a_journal_that_nobody_has_opened_keeps_nothing() -> None:
    journal, writes = Journal(), list[bytes]()
    journal.note(BROKEN, ASKED, AT, "ollama", None, None)
    journal.refused(BadRequest("no"), "/", None)
    journal.open(writes.append)
    journal.flush()
    assert writes == []


# ---- when ----------------------------------------------------------------------------------------------------------


async def test_the_lines_of_a_moment_are_one_write() -> None:
    book, written = Book(), asyncio.Event()

    def write(lines: bytes) -> None:
        book.writes.append(lines)
        written.set()

    book.journal.open(write)
    for number in range(3):
        book.note(replace(WELL, model=f"m{number}"))
    assert book.writes == []
    async with asyncio.timeout(5):
        await written.wait()
    assert len(book.writes) == 1
    assert [line["model"] for line in book.lines] == ["m0", "m1", "m2"]


def test_the_first_of_a_moment_sets_the_alarm_and_nobody_wakes_up_for_nothing() -> None:
    armed: list[asyncio.TimerHandle] = []

    class Loop(asyncio.SelectorEventLoop):
        def call_at(self, when: float, callback: Any, *rest: Any, context: Any = None) -> asyncio.TimerHandle:  # type: ignore[override]
            armed.append(super().call_at(when, callback, *rest, context=context))
            return armed[-1]

    async def main() -> None:
        book = Book()
        assert armed == []
        for _ in range(3):
            book.note(WELL)
        (alarm,) = armed
        assert not alarm.cancelled()
        book.journal.flush()
        assert alarm.cancelled()
        book.journal.flush()
        assert (len(armed), len(book.writes)) == (1, 1)

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(main())


async def test_too_many_do_not_wait() -> None:
    book = Book()
    for _ in range(MOST + 1):
        book.note(WELL)
    assert [len(lines.splitlines()) for lines in book.writes] == [MOST]
    book.journal.flush()
    assert [len(lines.splitlines()) for lines in book.writes] == [MOST, 1]


async def test_a_record_keeps_neither_the_request_nor_the_traceback() -> None:
    class Witness:
        """A variable of whoever fails."""

    seen: list[weakref.ref[Witness]] = []

    def fail() -> ArrieroError:
        witness = Witness()
        seen.append(weakref.ref(witness))
        try:
            raise BackendBroken("gone")
        except BackendBroken as error:
            return error

    book, body, outcome = Book(), bytes(b"a long prompt" * 10), replace(WELL, error=fail())
    assert seen[0]() is not None
    before = sys.getrefcount(body)
    book.note(outcome, inbound("POST", "/api/chat", body))
    del outcome
    gc.collect()
    assert (seen[0](), sys.getrefcount(body)) == (None, before)
    book.journal.flush()
    assert len(book.lines) == 1


async def test_lines_take_the_form_that_they_are_asked_in() -> None:
    def render(lines: Sequence[Line]) -> bytes:
        return "".join(f"{line.event} {line.model}\n" for line in lines).encode()

    book = Book()
    book.journal.open(book.writes.append, render)
    book.note(WELL)
    book.journal.flush()
    assert book.writes == [b"exchange m\n"]
    assert as_json([]) == b""
