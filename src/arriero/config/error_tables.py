"""The tables of docs/errors.md, from the error tree and the profiles; `describe` puts them between the page's markers.

What is documented of ollama-proxy's errors stands here with the answer that arriero gives in its place. No prose of the
page lives here.
"""

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from inspect import getdoc
from types import MappingProxyType
from typing import NamedTuple

from arriero import errors
from arriero.dialects.profiles import PROFILES
from arriero.errors import ArrieroError, Blame, Retry

Rows = tuple[tuple[str, ...], list[tuple[str, ...]]]
"""The head of a table, and its body."""

_MENDS: Mapping[Blame, str] = MappingProxyType(
    {
        Blame.CLIENT: "in the request",
        Blame.GATEWAY: "at arriero",
        Blame.BACKEND: "at the backend, or on the way to it",
        Blame.NOBODY: "-",
    }
)
_ELSEWHERE: Mapping[Retry, str] = MappingProxyType({Retry.NEVER: "no", Retry.ELSEWHERE: "yes"})


class Documented(NamedTuple):
    """An error type of ollama-proxy: what it is for there, its status there, and the answer in its place here."""

    type: str
    meaning: str
    status_there: str
    status: int
    error: str

    @property
    def body(self) -> dict[str, str]:
        """The answer's body."""
        return {"error": self.error, "type": self.type}


DOCUMENTED: tuple[Documented, ...] = (
    Documented("validation_error", "the request cannot be understood", "400", 400, "model is required"),
    Documented("model_not_found", "nobody has the model", "404", 404, "model 'nonexistent-model' not found"),
    Documented(
        "model_forbidden",
        "the filter hides the model",
        "403",
        403,
        "Model 'forbidden-model' is not allowed by the filter",
    ),
    Documented(
        "openrouter_error",
        "OpenRouter answered with an error; each vendor has such a word",
        "502",
        502,
        "OpenRouter API error: 401 Unauthorized (look at OPENROUTER_API_KEY, or at api_key of the backend)",
    ),
    Documented(
        "network_error",
        "no connection to the backend, or no answer in time",
        "503",
        503,
        "cannot reach http://10.0.0.5:11434: connection refused",
    ),
    Documented(
        "internal_error",
        "a fault of the gateway itself",
        "500",
        500,
        "arriero met a fault of its own; its log has it under 4f2c9a17d0b35e68",
    ),
    Documented(
        "configuration_error",
        "the gateway, or its engine, is not set up for the request",
        "500",
        503,
        "the engine cannot be imported: No module named 'xllamacpp'",
    ),
)
"""Every type that ollama-proxy documents. The end-to-end tests hold each answer true."""


def tree(root: type[ArrieroError] = ArrieroError) -> Iterator[type[ArrieroError]]:
    """Every error of arriero below a root, those of a family together."""
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from tree(child)


def error_tables() -> Mapping[str, Rows]:
    """Marker to the table between the markers."""
    return {"documented errors": _documented(), "errors": _tree(), "error words": _words()}


def _documented() -> Rows:
    body: list[tuple[str, ...]] = [
        (f"`{row.type}`", row.meaning, row.status_there, f"{row.status} {_phrase(row.status)}", f"`{row.error}`")
        for row in DOCUMENTED
    ]
    return ("type", "when", "status there", "status here", "an example of `error`"), body


def _tree() -> Rows:
    body: list[tuple[str, ...]] = [
        (
            f"`{found.__name__}`",
            str(found.status),
            f"`{found.type}`",
            _ELSEWHERE[found.retry],
            _MENDS[found.blame],
            " ".join((getdoc(found) or "").partition("\n\n")[0].split()),
        )
        for found in tree()
    ]
    return ("error", "status", "type", "asks another backend", "to be mended", "when"), body


def _words() -> Rows:
    body: list[tuple[str, ...]] = [
        (
            f"`{profile.name}`",
            f"`{profile.error_type}`",
            f"`{profile.title} API error: `" if profile.title else "its own words",
            f"`{profile.key_variable}`" if profile.key_variable else "-",
        )
        for profile in PROFILES.values()
    ]
    return ("profile", "type", "a message begins with", "the key's variable"), body


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase
