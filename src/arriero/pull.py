"""`arriero pull`: a model from its registry, by a running arriero (or Ollama), or by itself where none runs.

How what comes is shown is `showing`'s business.
"""

import asyncio  # noqa: TID251 - a command of its own has a loop of its own
import shlex
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TextIO

from arriero.calling import INTERRUPTED, Broken, CallError, NobodyListens, call
from arriero.errors import ArrieroError
from arriero.showing import Show, shown
from arriero.telling import printable

PULL_PATH = "/api/pull"
SUCCESS = "success"
QUESTION = '"Why is the sky blue?"'

_KEPT = "What has come is kept: the same command goes on from there."
# The words are those of the Ollama API, also where a server says them, and it has no codes beside them.
_HINTS = {
    "pull model manifest: file does not exist": "The registry has no such model: look at the name and its tag.",
    "insecure: true": "Here that is:  --insecure",
    "invalid model name": "A name is MODEL, MODEL:TAG, NAMESPACE/MODEL:TAG or HOST/NAMESPACE/MODEL:TAG.",
    "pull model manifest: cannot reach ": "Is there a network? A proxy is taken from the variable HTTPS_PROXY.",
}


class Wish(NamedTuple):
    """What is wanted, and of whom. `url` has no trailing slash; `key` is sent as a bearer token. `host` is the address
    as the user gave it, if it was given.
    """

    url: str
    model: str
    insecure: bool = False
    key: str | None = None
    host: str | None = None

    def body(self) -> dict[str, object]:
        """The request of `/api/pull`."""
        return {"model": self.model, "insecure": self.insecure, "stream": True}


class Here(NamedTuple):
    """A way to pull without a server: `where` names the store for people, `run` takes a report of frames."""

    where: str
    run: Callable[[Show], Any]


def pull(wish: Wish, out: TextIO, err: TextIO, here: Callable[[], Here] | None = None) -> int:
    """Pull; returns the exit status: 0, 1 or 130. `here` makes the way that is taken where nobody listens."""
    try:
        try:
            last = _asked(wish, out)
            served = True
        except NobodyListens:
            if here is None:
                raise
            way = here()
            err.write(f"arriero is not running here: pulling into {printable(way.where)}\n")
            err.flush()
            last = _by_itself(way, out)
            served = False
        if last != SUCCESS:
            raise Broken("the answer was cut off")
        out.write(_use(wish, served))
        out.flush()
    except (CallError, ArrieroError) as error:
        err.write(f"arriero: {error}{_hint(error)}\n")
        return 1
    except BrokenPipeError:
        return 1  # nobody reads it any more
    except OSError as error:  # what goes wrong with the wire or the store has a name by now
        err.write(f"arriero: the output cannot be written: {error.strerror or error}\n")
        return 1
    except KeyboardInterrupt:
        err.write(f"Stopped. {_KEPT}\n")
        return INTERRUPTED
    return 0


def _asked(wish: Wish, out: TextIO) -> str | None:
    last = None
    frames = call(wish.url, PULL_PATH, wish.body(), wish.key)
    with shown(out) as show:
        for frame in frames:
            show(frame)
            last = frame.get("status")
    return last


def _by_itself(way: Here, out: TextIO) -> str | None:
    last: list[str | None] = [None]
    with shown(out) as show:

        def heard(frame: Mapping[str, Any]) -> None:
            show(frame)
            last[0] = frame.get("status")

        asyncio.run(way.run(heard))
    return last[0]


def _use(wish: Wish, served: bool) -> str:
    """How the model is used now."""
    name = shlex.quote(printable(wish.model))
    at = f" --host {shlex.quote(wish.host)}" if wish.host else ""
    ask = f"arriero ask {name} {QUESTION}{at}"
    return f"Try:  {ask}\n" if served else f"Try:  arriero serve, and in another terminal:  {ask}\n"


def _hint(error: Exception) -> str:
    """What to do, on a line of its own; `""` where nothing is known."""
    if isinstance(error, Broken):
        return f"\n  {_KEPT}"
    return next((f"\n  {hint}" for words, hint in _HINTS.items() if words in str(error)), "")
