"""What is counted while backends die: the pure parts. The play itself is `tests/e2e/test_chaos.py`."""

import json

from arriero.backends.scripted import parse_script
from benchmarks.asking import Got, Question, Verdict
from benchmarks.chaos import HOSTS, MODELS, QUESTIONS, Kill, Report, note_refused, refusals, script

AT = 1_800_000_000.0
STAMP = "2027-01-15T08:00:00.500000Z"


def line(event: str, backend: str, error: str, stamp: str = STAMP) -> str:
    return json.dumps({"event": event, "backend": backend, "error": error, "timestamp": stamp})


def test_refused_attempts_are_read_from_the_log() -> None:
    log = "\n".join(
        [
            "Traceback (most recent call last):",
            line("attempt failed", "north", "cannot reach http://127.0.0.1:1: connection refused"),
            line("attempt failed", "north", "north closed the connection before it answered"),
            line("backend does not answer", "north", "cannot reach http://127.0.0.1:1: connection refused"),
            line("exchange failed", "south", "cannot reach http://127.0.0.1:2: connection refused"),
        ]
    )
    assert list(refusals(log)) == [(AT + 0.5, "north"), (AT + 0.5, "south")]


def test_a_refusal_belongs_to_the_death_in_which_it_came() -> None:
    kills = [
        Kill("north", AT, AT + 2),
        Kill("south", AT, AT + 2),
        Kill("north", AT + 10, AT + 12),
    ]
    stamps = ("2027-01-15T08:00:00.100000Z", "2027-01-15T08:00:00.350000Z", "2027-01-15T08:00:11.000000Z")
    note_refused(kills, "\n".join(line("attempt failed", "north", "connection refused", stamp) for stamp in stamps))
    assert [len(kill.refused_at) for kill in kills] == [2, 0, 1]
    assert [round(kill.left_alone_seconds, 6) for kill in kills] == [0.25, 0.0, 0.0]
    report = Report(kills=kills)
    assert round(report.left_alone_seconds, 6) == 0.25


def test_the_longest_return_counts_and_none_where_one_was_not_seen() -> None:
    report = Report(kills=[Kill("north", AT, AT + 2, AT + 2.5), Kill("south", AT, AT + 2, AT + 3.25)])
    assert report.back_seconds == 1.25
    report.kills.append(Kill("north", AT + 5, AT + 7))
    assert report.back_seconds is None


def test_every_verdict_is_counted_and_the_bad_ones_are_told() -> None:
    report = Report()
    question = Question("/api/embed", "m", inputs=1)
    good = b'{"embeddings":[[0.5]]}'
    report.note(question, Got(200, {"x-arriero-attempts": "1"}, good))
    report.note(question, Got(200, {"x-arriero-attempts": "2"}, good))
    report.note(question, Got(200, {}, good, cut=True))
    report.note(question, Got(502, {}, b"no", asked_at=1.5))
    assert (report.requests, report.moved) == (4, 1)
    assert dict(report.verdicts) == {Verdict.COMPLETE: 2, Verdict.TOLD: 1, Verdict.FAILED: 1}
    assert report.odd == ["failed before its first byte at 1.500: /api/embed m: 502 no"]


def test_the_scripts_can_be_played_and_every_question_has_two_backends_at_least() -> None:
    scripts = {name: parse_script(json.dumps(script(name))) for name in HOSTS}
    for question in QUESTIONS:
        places = [name for name, played in scripts.items() if question.model in {m.name for m in played.models}]
        assert places == list(MODELS[question.model][1])
        assert len(places) >= 2
