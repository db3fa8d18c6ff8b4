"""The doors of the house: under which prefix a request came in, and whom it may reach from there."""

from msgspec import Struct


class Door(Struct, frozen=True):
    """`prefix` stands before every path of the door. `scope` names the backends behind it (`kinds.reaches`); `None` is
    all of them. `olla`: answers carry Olla's header fields, and the request id has its form.
    """

    prefix: str = ""
    scope: str | None = None
    olla: bool = False


FRONT = Door()
"""Ollama's and OpenAI's own paths."""
