import asyncio
import io
import json
import socket
from contextlib import closing

import pytest

from arriero.errors import ArrieroError, RegistryError
from arriero.pull import Here, Wish, pull
from arriero.showing import Show
from support.answering import Answer, answering, ndjson

DIGEST = "sha256:" + "a" * 64
FRAMES: list[dict[str, object]] = [
    {"status": "pulling manifest"},
    {"status": "pulling aaaaaaaaaaaa", "digest": DIGEST, "total": 700, "completed": 700},
    {"status": "success"},
]
SHOWN = "pulling manifest\npulling aaaaaaaaaaaa: 700 B\nsuccess\n"
KEPT = "What has come is kept: the same command goes on from there."


class Interrupted(io.StringIO):
    """Ctrl-C comes with the first line."""

    def write(self, text: str) -> int:
        raise KeyboardInterrupt


class Closed(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def asked(answer: Answer, out: io.StringIO | None = None, *, model: str = "tiny") -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a pull by a server."""
    out, err = out or io.StringIO(), io.StringIO()
    with answering({"/api/pull": answer}) as server:
        status = pull(Wish(f"http://127.0.0.1:{server.port}", model), out, err)
    return status, out.getvalue(), err.getvalue()


def nobody() -> str:
    """A URL where nobody listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


def way(*frames: dict[str, object], error: BaseException | None = None) -> Here:
    """A way that tells these frames, and how it ends."""

    async def run(report: Show) -> None:
        for frame in frames:
            report(frame)
            await asyncio.sleep(0)
        if error is not None:
            raise error

    return Here("~/models", run)


def by_itself(here: Here) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    status = pull(Wish(nobody(), "tiny"), out, err, lambda: here)
    return status, out.getvalue(), err.getvalue()


class Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


# ---- by a server ----------------------------------------------------------------------------------------------------


def test_a_server_pulls() -> None:
    use = 'Try:  arriero ask tiny "Why is the sky blue?"\n'
    assert asked(Answer(ndjson(*FRAMES))) == (0, SHOWN + use, "")


def test_what_is_sent() -> None:
    with answering({"/base/api/pull": Answer(ndjson(*FRAMES))}) as server:
        wish = Wish(f"http://127.0.0.1:{server.port}/base", "tiny:1b", insecure=True, key="k")
        pull(wish, io.StringIO(), io.StringIO(), lambda: way(error=AssertionError("a server is there")))
    ((path, headers, body),) = server.seen
    assert (path, headers["authorization"]) == ("/base/api/pull", "Bearer k")
    assert json.loads(body) == {"model": "tiny:1b", "insecure": True, "stream": True}


@pytest.mark.parametrize(
    ("model", "host", "command"),
    [
        ("hf.co/x/y:Q4", None, "arriero ask hf.co/x/y:Q4"),
        ("it's", None, """arriero ask 'it'"'"'s'"""),
        ("a\x1b[2J", None, "arriero ask 'a\ufffd[2J'"),
        ("tiny", "gpu1:11434", "arriero ask tiny"),
    ],
)
def test_how_to_use_it_can_be_typed(model: str, host: str | None, command: str) -> None:
    out = io.StringIO()
    with answering({"/api/pull": Answer(ndjson(*FRAMES))}) as server:
        pull(Wish(f"http://127.0.0.1:{server.port}", model, host=host), out, io.StringIO())
    at = f" --host {host}" if host else ""
    assert out.getvalue().splitlines()[-1] == f'Try:  {command} "Why is the sky blue?"{at}'


@pytest.mark.parametrize(
    ("answer", "out", "err"),
    [
        (Answer(b'{"error":"no backend manages models"}', 501), "", "no backend manages models"),
        (Answer(b"404 page not found", 404), "", "status 404 (Not Found); is this an Ollama API?"),
        (
            Answer(ndjson(FRAMES[0], {"error": "pull model manifest: file does not exist"})),
            "pulling manifest\n",
            "pull model manifest: file does not exist\n  The registry has no such model: look at the name and its tag.",
        ),
        (
            Answer(ndjson(FRAMES[0], {"error": "pull model manifest: cannot reach https://r: there is no such host"})),
            "pulling manifest\n",
            "pull model manifest: cannot reach https://r: there is no such host\n"
            "  Is there a network? A proxy is taken from the variable HTTPS_PROXY.",
        ),
        (
            Answer(ndjson({"error": "pull model manifest: cannot reach r; asked only with `insecure: true`"})),
            "",
            "pull model manifest: cannot reach r; asked only with `insecure: true`\n  Here that is:  --insecure",
        ),
        (
            Answer(b'{"error":"invalid model name"}', 400),
            "",
            "invalid model name\n  A name is MODEL, MODEL:TAG, NAMESPACE/MODEL:TAG or HOST/NAMESPACE/MODEL:TAG.",
        ),
        (Answer(ndjson(FRAMES[0])), "pulling manifest\n", f"the answer was cut off\n  {KEPT}"),
        (Answer(b""), "", f"the answer was cut off\n  {KEPT}"),
    ],
)
def test_what_goes_wrong_is_told_with_what_to_do(answer: Answer, out: str, err: str) -> None:
    assert asked(answer) == (1, out, f"arriero: {err}\n")


def test_ctrl_c_says_what_becomes_of_it() -> None:
    assert asked(Answer(ndjson(*FRAMES)), Interrupted()) == (130, "", f"Stopped. {KEPT}\n")


def test_a_reader_that_goes_away() -> None:
    assert asked(Answer(ndjson(*FRAMES)), Closed()) == (1, "", "")


def test_a_full_disk_below_the_output() -> None:
    told = "arriero: the output cannot be written: No space left on device\n"
    assert asked(Answer(ndjson(*FRAMES)), Full()) == (1, "", told)


# ---- by itself ------------------------------------------------------------------------------------------------------


def test_where_nobody_listens_it_pulls_by_itself() -> None:
    use = 'Try:  arriero serve, and in another terminal:  arriero ask tiny "Why is the sky blue?"\n'
    assert by_itself(way(*FRAMES)) == (0, SHOWN + use, "arriero is not running here: pulling into ~/models\n")


def test_a_fault_of_its_own_pull() -> None:
    error = RegistryError("pull model manifest: file does not exist")
    assert by_itself(way(FRAMES[0], error=error)) == (
        1,
        "pulling manifest\n",
        "arriero is not running here: pulling into ~/models\n"
        "arriero: pull model manifest: file does not exist\n"
        "  The registry has no such model: look at the name and its tag.\n",
    )


def test_ctrl_c_in_its_own_pull() -> None:
    assert by_itself(way(FRAMES[0], error=KeyboardInterrupt())) == (
        130,
        "pulling manifest\n",
        f"arriero is not running here: pulling into ~/models\nStopped. {KEPT}\n",
    )


def test_there_is_no_way_without_a_server() -> None:
    def none() -> Here:
        raise ArrieroError("no engine is configured")

    url, out, err = nobody(), io.StringIO(), io.StringIO()
    assert pull(Wish(url, "tiny"), out, err, none) == 1
    assert (out.getvalue(), err.getvalue()) == ("", "arriero: no engine is configured\n")


def test_who_has_named_a_server_is_told_that_it_is_not_there() -> None:
    url, out, err = nobody(), io.StringIO(), io.StringIO()
    assert pull(Wish(url, "tiny"), out, err) == 1
    assert (out.getvalue(), err.getvalue()) == (
        "",
        f"arriero: nothing listens at {url} (Connection refused).\n"
        "  Start arriero in another terminal:  arriero serve\n",
    )
