"""A tiny HTTP server on loopback that gives prepared answers, for clients that are not asynchronous."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class Answer:
    """What a path answers. `body` is sent as it is, with no length: its end is the end of the connection."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Answering:
    """The server's port, and the requests it has seen: path, headers in lower case, body."""

    port: int
    seen: list[tuple[str, dict[str, str], bytes]]


@contextmanager
def answering(answers: Mapping[str, Answer]) -> Iterator[Answering]:
    """Serve `answers` by path, 404 elsewhere, until the block ends."""
    seen: list[tuple[str, dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            seen.append((self.path, {key.lower(): value for key, value in self.headers.items()}, body))
            answer = answers.get(self.path, Answer(b"404 page not found", 404))
            self.send_response_only(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = do_POST = _answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield Answering(server.server_address[1], seen)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def ndjson(*values: object) -> bytes:
    """Values, one a line."""
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)
