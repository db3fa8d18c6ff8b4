"""`arriero ask`: one question to a running arriero (or Ollama), the answer to the terminal as it comes.

A plain client of `/api/chat`: it knows nothing of the rest of arriero.
"""

import http.client
import json
from typing import Any, NamedTuple, TextIO
from urllib.parse import urlsplit

_CONNECT_SECONDS = 5.0
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"
INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it."""


class Question(NamedTuple):
    """What is asked, and where. `url` has no trailing slash; `key` is sent as a bearer token."""

    url: str
    model: str
    prompt: str
    system: str | None = None
    key: str | None = None

    def body(self) -> bytes:
        """The request of `/api/chat`."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        messages = [*system, {"role": "user", "content": self.prompt}]
        return json.dumps({"model": self.model, "messages": messages, "stream": True}).encode()


class AskError(Exception):
    """What to tell the user; one or two lines."""


def ask(question: Question, out: TextIO, err: TextIO) -> int:
    """Stream the answer to `out`; errors go to `err`. Returns the exit status: 0, 1 or 130."""
    writer = _Writer(out)
    try:
        _exchange(question, writer)
    except AskError as error:
        writer.end()
        err.write(f"arriero: {error}\n")
        return 1
    except KeyboardInterrupt:
        writer.end()
        return INTERRUPTED
    except BrokenPipeError:
        return 1  # nobody reads the answer any more
    writer.end()
    return 0


class _Writer:
    """Writes content, and thinking dimmed on a terminal or in brackets elsewhere; ends with a line feed."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._colour = out.isatty()
        self._thinking = False
        self._last = "\n"

    def write(self, text: str, thinking: bool) -> None:
        if not text:
            return
        if thinking != self._thinking:
            self._switch(thinking)
        self._put(text)

    def end(self) -> None:
        if self._thinking:
            self._switch(False)
        if self._last != "\n":
            self._put("\n")

    def _switch(self, thinking: bool) -> None:
        self._thinking = thinking
        if self._colour:
            self._out.write(_DIM if thinking else _PLAIN)
        else:
            self._put("[thinking] " if thinking else "\n[answer] ")
        if not thinking and self._colour:
            self._put("\n\n")

    def _put(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()
        self._last = text[-1]


def _exchange(question: Question, writer: _Writer) -> None:
    parts = urlsplit(question.url)
    connector = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = connector(parts.hostname or "127.0.0.1", parts.port, timeout=_CONNECT_SECONDS)
    headers = {"Content-Type": "application/json"} | (
        {"Authorization": f"Bearer {question.key}"} if question.key else {}
    )
    try:
        try:
            connection.connect()
        except OSError as error:
            why = error.strerror or "no answer"
            raise AskError(
                f"nothing listens at {question.url} ({why}).\n  Start arriero in another terminal:  arriero serve"
            ) from None
        if connection.sock is not None:
            connection.sock.settimeout(None)  # a model that is loaded first may take minutes to its first word
        connection.request("POST", f"{parts.path}/api/chat", question.body(), headers)
        answer = connection.getresponse()
        if answer.status != 200:
            raise AskError(_refusal(answer))
        _stream(answer, writer)
    except BrokenPipeError:
        raise
    except (OSError, http.client.HTTPException) as error:
        raise AskError(f"the connection to {question.url} broke ({type(error).__name__})") from None
    finally:
        connection.close()


def _stream(answer: http.client.HTTPResponse, writer: _Writer) -> None:
    while line := answer.readline():
        if not line.strip():
            continue
        chunk = _object(line)
        if chunk is None:
            raise AskError("the answer is not in the form of /api/chat")
        if "error" in chunk:
            raise AskError(str(chunk["error"]))
        message = chunk.get("message")
        if isinstance(message, dict):
            writer.write(str(message.get("thinking") or ""), thinking=True)
            writer.write(str(message.get("content") or ""), thinking=False)
        if chunk.get("done"):
            return
    raise AskError("the answer was cut off")


def _refusal(answer: http.client.HTTPResponse) -> str:
    said = _object(answer.read(65536))
    text = said.get("error") if said else None
    if isinstance(text, str):
        hint = "\n  The models that are there:  arriero check, or GET /api/tags" if answer.status == 404 else ""
        return text + hint
    return f"status {answer.status} ({answer.reason}); is this an Ollama API?"


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(data)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
