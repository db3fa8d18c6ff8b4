"""What is told of an attempt, and what of a stranger's text may stand in a log."""

from collections.abc import Iterator

import pytest
import structlog
from structlog.testing import CapturingLogger

from arriero.errors import BackendBroken
from arriero.gateway import outcome as module
from arriero.gateway.outcome import Outcome, brief, printable, report_attempt
from support.lanes import inbound


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[CapturingLogger]:
    logger = CapturingLogger()
    monkeypatch.setattr(module, "log", structlog.wrap_logger(logger, processors=[]))
    yield logger


def test_an_attempt_that_came_to_nothing_is_told(said: CapturingLogger) -> None:
    outcome = Outcome(model="m", backend="gpu1", attempts=1)
    report_attempt(outcome, inbound("POST", "/api/chat", b"a secret prompt"), BackendBroken("refused\n\x1b[2J"))
    (call,) = said.calls
    assert (call.method_name, call.kwargs) == (
        "warning",
        {
            "event": "attempt failed",
            "request_id": "req1",
            "model": "m",
            "backend": "gpu1",
            "attempt": 1,
            "status": 502,
            "error": "refused\\n\\x1b[2J",
        },
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (None, None),
        ("", ""),
        ("llama3:8b", "llama3:8b"),
        ("größe 模型", "größe 模型"),
        ("m" * 1024, "m" * 1024),
        ("m" * 1_000_000, "m" * 1024 + "..."),
        ("one\r\ntwo", "one\\r\\ntwo"),
    ],
)
def test_a_text_of_strangers_is_cut_and_stays_on_its_line(text: str | None, shown: str | None) -> None:
    assert brief(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x9b31mred", "\\x9b31mred"),  # the same in one character
        ("a\u202eb", "a\\u202eb"),  # turns what follows round
        ("a\u2028b\x85c", "a\\u2028b\\x85c"),  # lines for some
        ("\x00\x7f", "\\x00\\x7f"),
        ("\ud800", "\\ud800"),  # half a character, which nothing can write
    ],
)
def test_nothing_steers_a_terminal(text: str, shown: str) -> None:
    assert printable(text) == shown
