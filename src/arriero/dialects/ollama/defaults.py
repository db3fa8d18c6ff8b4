"""What an Ollama model brings along, from the texts of its store: the layers `params`, `system` and `messages`."""

from collections.abc import Mapping, Sequence

from arriero.canonical.catalog import Defaults
from arriero.dialects.ollama.requests import decode_chat
from arriero.wire.jsontext import json_text


def read_defaults(
    params: Mapping[str, object], system: str | None = None, messages: Sequence[Mapping[str, object]] = ()
) -> Defaults | None:
    """`params` are options by Ollama's names, `messages` turns as a client would send them; `None` where there is
    nothing in them. Raises `BadRequest`, and `InvalidOption` for an option of the wrong type.
    """
    # A model's own are read by the rules for a client's.
    read = decode_chat(json_text({"model": "model", "messages": messages, "options": params}))
    found = Defaults(sampling=read.sampling, runner=read.runner, system=system or None, messages=read.messages)
    return None if found == Defaults() else found
