"""Errors in the Ollama API's envelope: `{"error": text, "type": word}`, and the line that ends a broken stream."""

from collections.abc import Mapping
from types import MappingProxyType

from arriero.dialects.base import ErrorAnswer, Operation
from arriero.dialects.ollama.golang import quote
from arriero.dialects.ollama.names import check_unknown
from arriero.dialects.ollama.stream import error_line
from arriero.errors import ArrieroError, ModelNotFound
from arriero.wire.jsontext import json_string

WHOLE_TYPE = b"application/json; charset=utf-8"
STREAM_TYPE = b"application/x-ndjson"
WOULD_BE_STREAM_TYPE = b"application/json"
"""What is answered in place of a stream, be it an error or, to `stream: false`, that all went well."""


def write_error(error: ArrieroError, streaming: bool) -> ErrorAnswer:
    """An error instead of an answer. One that comes before the first frame of a stream has a type without charset."""
    body = b'{"error":%b,"type":%b}' % (json_string(error.message), json_string(error.type))
    return ErrorAnswer(error.status, WOULD_BE_STREAM_TYPE if streaming else WHOLE_TYPE, body)


def write_stream_error(error: ArrieroError) -> bytes:
    """The last line of a stream that broke."""
    return error_line(error.message)


_NOT_FOUND: Mapping[Operation, str] = MappingProxyType(
    {
        Operation.EMBED: "model {quoted} not found, try pulling it first",
        Operation.EMBEDDINGS: "model {quoted} not found, try pulling it first",
    }
)


def model_not_found(name: str, operation: Operation) -> ModelNotFound:
    """An unknown model in the words of the route that was asked; clients match them.

    Raises `BadRequest` for a text that is no name at all. The empty one each route refuses by itself, in its own words.
    """
    if name:
        check_unknown(name)
    text = _NOT_FOUND.get(operation)
    return ModelNotFound(name, text.format(quoted=quote(name)) if text else None)
