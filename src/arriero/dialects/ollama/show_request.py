"""The request of /api/show: which model, how much of it, and what to show in place of its own settings."""

from collections.abc import Mapping

import msgspec
from msgspec import Raw, Struct

from arriero.dialects.ollama.lenient import reader
from arriero.dialects.ollama.names import check_name, check_unknown, shortest
from arriero.errors import BadRequest, ModelNotFound


class _ShowBody(Struct, forbid_unknown_fields=True):
    model: str = ""
    name: str = ""
    verbose: bool = False
    system: str = ""
    template: str = ""
    options: dict[str, Raw] | None = None


class ShowRequest(Struct, frozen=True):
    """`system` and `options` only change what is shown; `None` and empty show the model's own."""

    model: str
    verbose: bool = False
    system: str | None = None
    options: Mapping[str, object] = {}


_read = reader(_ShowBody, "ShowRequest")
_value = msgspec.json.Decoder().decode


def decode_show(body: bytes) -> ShowRequest:
    """POST /api/show; `name` is the old word for `model`. Raises `BadRequest`."""
    read, _ = _read(body)
    model = read.model or read.name
    if not model:
        raise BadRequest("model is required")
    check_name(model)
    options = {key: _value(value) for key, value in (read.options or {}).items()}
    return ShowRequest(model, read.verbose, read.system or None, options)


def show_not_found(model: str) -> ModelNotFound:
    """An unknown model in the words of this route: with its tag, in the shortest form.

    Raises `BadRequest` for a text that is no name at all.
    """
    check_unknown(model)
    return ModelNotFound(model, f"model '{shortest(model)}' not found")
