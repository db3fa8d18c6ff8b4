"""One POST to a running arriero (or Ollama), and its answer line by line: what the commands that are clients share.

A plain client of the Ollama API: it knows nothing of the rest of arriero.
"""

import http.client
import json
import ssl
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from arriero.telling import printable

_CONNECT_SECONDS = 5.0
INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it."""


class CallError(Exception):
    """What to tell the user; one or two lines."""


class NobodyListens(CallError):
    """There is no server at this address."""


class Broken(CallError):
    """The connection broke before the answer was whole."""


class Refused(CallError):
    """An answer with another status than 200."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


def call(url: str, path: str, body: Mapping[str, object], key: str | None = None) -> Iterator[dict[str, Any]]:
    """The objects of an answer, one a line, as they come. `url` has no trailing slash; `key` is sent as a bearer token.

    Raises `NobodyListens`, `Refused`, `Broken`, or another `CallError` for a line with an error.
    """
    parts = urlsplit(url)
    connector = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = connector(parts.hostname or "127.0.0.1", parts.port, timeout=_CONNECT_SECONDS)
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    try:
        try:
            connection.connect()
        except ssl.SSLError as error:
            raise CallError(f"no TLS with {url}: {error.reason or error.strerror}") from None
        except OSError as error:
            why = error.strerror or "no answer"
            raise NobodyListens(
                f"nothing listens at {url} ({why}).\n  Start arriero in another terminal:  arriero serve"
            ) from None
        if connection.sock is not None:
            connection.sock.settimeout(None)  # a model that is loaded first may take minutes to its first word
        connection.request("POST", parts.path + path, json.dumps(body).encode(), headers)
        with connection.getresponse() as answer:
            if answer.status != 200:
                raise _refusal(answer)
            yield from _lines(answer, path)
    except (OSError, http.client.HTTPException) as error:
        raise Broken(f"the connection to {url} broke ({type(error).__name__})") from None
    finally:
        connection.close()


def _lines(answer: http.client.HTTPResponse, path: str) -> Iterator[dict[str, Any]]:
    while line := answer.readline():
        if not line.strip():
            continue
        found = _object(line)
        if found is None:
            raise CallError(f"the answer is not in the form of {path}")
        if "error" in found:
            raise CallError(printable(str(found["error"])))
        yield found


def _refusal(answer: http.client.HTTPResponse) -> Refused:
    said = _object(answer.read(65536))
    text = said.get("error") if said else None
    if isinstance(text, str):
        return Refused(printable(text), answer.status)
    return Refused(f"status {answer.status} ({printable(answer.reason)}); is this an Ollama API?", answer.status)


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(data)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
