"""The words of `POST /_scripted/fault/<word>`: each is short for a rule of a script."""

from collections.abc import Mapping
from typing import get_args

from msgspec import Struct

from arriero.backends.scripted.script import Fault, Play, Rule, ScriptError, When

INFERENCE = (
    "/api/chat",
    "/api/generate",
    "/api/embed",
    "/api/embeddings",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
)
CHECKS = ("/", "/api/tags", "/api/ps", "/v1/models")
"""What a gateway asks in order to know whether a server is well and what it has."""

RETRY_AFTER_SECONDS = 2
_LATER = {"Retry-After": str(RETRY_AFTER_SECONDS)}

NONE = "none"
"""The word that ends what was commanded."""


class Shorthand(Struct, frozen=True):
    """What a word plays, on which paths where the command names none (`None`: on all), and on every n-th request."""

    play: Play
    paths: tuple[str, ...] | None = None
    every: int = 1


SHORTHANDS: Mapping[str, Shorthand] = {
    **{word: Shorthand(Play(fault=word)) for word in get_args(Fault)},
    "error": Shorthand(Play(status=500), INFERENCE),
    "flaky": Shorthand(Play(status=500), INFERENCE, every=2),
    "overloaded": Shorthand(Play(status=503, headers=_LATER), INFERENCE),
    "rate_limited": Shorthand(Play(status=429, headers=_LATER), INFERENCE),
    "unhealthy": Shorthand(Play(status=503), CHECKS),
}
WORDS = (*SHORTHANDS, NONE)


def rules_of(word: str, paths: tuple[str, ...], times: int | None, shown: str) -> tuple[Rule, ...]:
    """The rules that a word is short for; no paths means its own. Raises `ScriptError`."""
    if word == NONE:
        return ()
    found = SHORTHANDS.get(word)
    if found is None:
        raise ScriptError(f"{shown}: Invalid enum value '{word}'; the words are {', '.join(WORDS)}")
    return (Rule(found.play, When(path=paths or found.paths, every=found.every, times=times)),)
