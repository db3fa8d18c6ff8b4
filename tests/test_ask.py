import io
import json
import socket
from contextlib import closing
from threading import Thread

import pytest

from arriero.ask import Question, ask
from support.answering import Answer, answering, ndjson


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Interrupted(io.StringIO):
    """Ctrl-C comes with the second piece."""

    def write(self, text: str) -> int:
        if "stop" in text:
            raise KeyboardInterrupt
        return super().write(text)


class Closed(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


class Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def message(content: str = "", thinking: str = "", done: bool = False) -> dict[str, object]:
    said = {"role": "assistant", "content": content} | ({"thinking": thinking} if thinking else {})
    return {"model": "m", "message": said, "done": done}


def put(answer: Answer, out: io.StringIO | None = None, **more: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr, with the port of the fake server written as PORT."""
    out, err = out or io.StringIO(), io.StringIO()
    with answering({"/api/chat": answer}) as server:
        status = ask(Question(f"http://127.0.0.1:{server.port}", "m", "why?", **more), out, err)
    return status, out.getvalue(), err.getvalue().replace(str(server.port), "PORT")


def test_an_answer() -> None:
    answer = Answer(ndjson(message("Hello"), message(", you"), message(done=True)))
    assert put(answer) == (0, "Hello, you\n", "")


def test_an_answer_that_ends_its_own_line() -> None:
    assert put(Answer(ndjson(message("a\n"), message(done=True)))) == (0, "a\n", "")


def test_what_is_sent() -> None:
    with answering({"/base/api/chat": Answer(ndjson(message(done=True)))}) as server:
        url = f"http://127.0.0.1:{server.port}/base"
        ask(Question(url, "m", "why?", system="be brief", key="k"), io.StringIO(), io.StringIO())
    ((path, headers, body),) = server.seen
    assert (path, headers["authorization"], headers["content-type"]) == (
        "/base/api/chat",
        "Bearer k",
        "application/json",
    )
    assert json.loads(body) == {
        "model": "m",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "why?"}],
        "stream": True,
    }


THOUGHT = Answer(ndjson(message(thinking="hm"), message(thinking="m"), message("so"), message(done=True)))


def test_thinking_is_dim_on_a_terminal() -> None:
    assert put(THOUGHT, Terminal()) == (0, "\x1b[2mhmm\x1b[0m\n\nso\n", "")


def test_thinking_is_marked_elsewhere() -> None:
    assert put(THOUGHT) == (0, "[thinking] hmm\n[answer] so\n", "")


def test_dimming_ends_with_an_answer_that_breaks_off() -> None:
    status, out, _ = put(Answer(ndjson(message(thinking="hm"))), Terminal())
    assert (status, out) == (1, "\x1b[2mhm\x1b[0m\n\n")


@pytest.mark.parametrize(
    ("answer", "out", "err"),
    [
        (Answer(b'{"error":"no such knob"}', 400), "", "arriero: no such knob\n"),
        (
            Answer(b'{"error":"model \'m\' not found"}', 404),
            "",
            "arriero: model 'm' not found\n  The models that are there:  arriero check, or GET /api/tags\n",
        ),
        (Answer(b"<html>", 502), "", "arriero: status 502 (Bad Gateway); is this an Ollama API?\n"),
        (Answer(ndjson(message("He"), {"error": "it broke"})), "He\n", "arriero: it broke\n"),
        (Answer(b'{"error":"a\\u001b[2Jb"}', 400), "", "arriero: a\ufffd[2Jb\n"),
        (Answer(ndjson(message("He"))), "He\n", "arriero: the answer was cut off\n"),
        (Answer(b""), "", "arriero: the answer was cut off\n"),
        (Answer(b"<html>\n"), "", "arriero: the answer is not in the form of /api/chat\n"),
    ],
)
def test_failures(answer: Answer, out: str, err: str) -> None:
    assert put(answer) == (1, out, err)


def test_what_answers_is_not_http() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]

        def talk() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"SSH-2.0\r\n")

        thread = Thread(target=talk)
        thread.start()
        err = io.StringIO()
        assert ask(Question(f"http://127.0.0.1:{port}", "m", "?"), io.StringIO(), err) == 1
        thread.join()
    assert err.getvalue() == f"arriero: the connection to http://127.0.0.1:{port} broke (BadStatusLine)\n"


def test_nobody_there() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    err = io.StringIO()
    assert ask(Question(f"http://127.0.0.1:{port}", "m", "?"), io.StringIO(), err) == 1
    assert err.getvalue() == (
        f"arriero: nothing listens at http://127.0.0.1:{port} (Connection refused).\n"
        "  Start arriero in another terminal:  arriero serve\n"
    )


def test_ctrl_c_ends_the_line() -> None:
    assert put(Answer(ndjson(message("He"), message("stop"))), Interrupted()) == (130, "He\n", "")


def test_a_reader_that_goes_away() -> None:
    assert put(Answer(ndjson(message("He"), message(done=True))), Closed()) == (1, "", "")


def test_a_full_disk_below_the_output() -> None:
    told = "arriero: the output cannot be written: No space left on device\n"
    assert put(Answer(ndjson(message("He"), message(done=True))), Full()) == (1, "", told)
