"""`arriero ask`: one question to a running arriero (or Ollama), the answer to the terminal as it comes.

A plain client of `/api/chat`: it knows nothing of the rest of arriero.
"""

from typing import NamedTuple, TextIO

from arriero.calling import INTERRUPTED, CallError, Refused, call

CHAT_PATH = "/api/chat"
_WHAT_IS_THERE = "\n  The models that are there:  arriero check, or GET /api/tags"
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"


class Question(NamedTuple):
    """What is asked, and where. `url` has no trailing slash; `key` is sent as a bearer token."""

    url: str
    model: str
    prompt: str
    system: str | None = None
    key: str | None = None

    def body(self) -> dict[str, object]:
        """The request of `/api/chat`."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        messages = [*system, {"role": "user", "content": self.prompt}]
        return {"model": self.model, "messages": messages, "stream": True}


def ask(question: Question, out: TextIO, err: TextIO) -> int:
    """Stream the answer to `out`; errors go to `err`. Returns the exit status: 0, 1 or 130."""
    writer = _Writer(out)
    try:
        _exchange(question, writer)
    except CallError as error:
        writer.end()
        hint = _WHAT_IS_THERE if isinstance(error, Refused) and error.status == 404 else ""
        err.write(f"arriero: {error}{hint}\n")
        return 1
    except KeyboardInterrupt:
        writer.end()
        return INTERRUPTED
    except BrokenPipeError:
        return 1  # nobody reads the answer any more
    except OSError as error:  # what goes wrong with the wire has a name by now
        err.write(f"arriero: the output cannot be written: {error.strerror or error}\n")
        return 1
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
    for chunk in call(question.url, CHAT_PATH, question.body(), question.key):
        message = chunk.get("message")
        if isinstance(message, dict):
            writer.write(str(message.get("thinking") or ""), thinking=True)
            writer.write(str(message.get("content") or ""), thinking=False)
        if chunk.get("done"):
            return
    raise CallError("the answer was cut off")
