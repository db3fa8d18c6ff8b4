"""What an exchange says of itself when it ends."""

import json
from collections.abc import Iterator

import pytest
import structlog
from structlog.testing import CapturingLogger

from arriero.errors import BackendUnreachable, BadRequest
from arriero.gateway import outcome as module
from arriero.gateway.outcome import Outcome, report, report_attempt
from support.lanes import inbound


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[CapturingLogger]:
    logger = CapturingLogger()
    monkeypatch.setattr(module, "log", structlog.wrap_logger(logger, processors=[]))
    yield logger


@pytest.mark.parametrize(
    ("outcome", "level", "event"),
    [
        (Outcome(error=BackendUnreachable("refused")), "warning", "exchange failed"),
        (Outcome(error=BadRequest("no model")), "info", "exchange failed"),
        (Outcome(dropped=("num_ctx",)), "info", "parameters dropped"),
    ],
)
def test_who_has_to_act_is_told(said: CapturingLogger, outcome: Outcome, level: str, event: str) -> None:
    report(outcome, inbound("POST", "/api/chat", b"a secret prompt"))
    (call,) = said.calls
    assert (call.method_name, call.kwargs["event"], call.kwargs["request_id"]) == (level, event, "req1")
    assert "secret" not in json.dumps(call.kwargs, default=str)


def test_an_attempt_that_came_to_nothing_is_told(said: CapturingLogger) -> None:
    outcome = Outcome(model="m", backend="gpu1", attempts=1)
    report_attempt(outcome, inbound("POST", "/api/chat"), BackendUnreachable("refused"))
    (call,) = said.calls
    assert (call.method_name, call.kwargs["backend"], call.kwargs["error"]) == ("warning", "gpu1", "refused")


def test_a_good_end_needs_no_word(said: CapturingLogger) -> None:
    report(Outcome(model="m", attempts=1), inbound("POST", "/api/chat"))
    assert said.calls == []


def test_the_log_does_not_grow_by_what_strangers_send(said: CapturingLogger) -> None:
    name = "m" * 1_000_000
    report(Outcome(model=name, error=BadRequest(f"model '{name}' not found")), inbound("POST", "/api/chat"))
    (call,) = said.calls
    assert call.kwargs["model"] == "m" * 1024 + "..."
    assert len(json.dumps(call.kwargs, default=str)) < 3000
