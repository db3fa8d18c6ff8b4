"""Errors inside an answer that began with 200: from any of the shapes seen to the error tree, or to one `Failed`.

The status is guessed here, from what the error says of itself; the text is chosen as for an error answer proper, so
that a vendor's words on the gateway's credentials stay away from clients in mid-stream too.
"""

from typing import Any

from arriero.canonical.events import Failed
from arriero.dialects.backend_errors import NOBODY, event_of, read_error
from arriero.dialects.openai.chunks import NotJson, loosely
from arriero.dialects.quirks import Profile
from arriero.errors import BackendError

_STATUS_OF_WORD = {
    "invalid_request_error": 400,
    "invalid_argument": 400,
    "badrequesterror": 400,
    "exceed_context_size_error": 400,
    "context_length_exceeded": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "model_not_found": 404,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "overloaded_error": 503,
    "overloaded": 503,
    "server_overloaded": 503,
    "unavailable": 503,
    "timeout": 504,
}
"""What the words in `type`, `code` and `status` stand for where no number is given."""


def reported(payload: bytes, profile: Profile = NOBODY) -> BackendError:
    """The error that `payload` tells, as if it had come with the status it deserves: an `error` value, a whole body
    that holds one, or plain text.
    """
    try:
        value = loosely(payload)
    except NotJson:
        return read_error(None, payload, profile)
    if isinstance(value, str):
        return read_error(None, value.encode(errors="replace"), profile)
    return read_error(_status(value), payload, profile)


def failed(payload: bytes, profile: Profile = NOBODY) -> Failed:
    """The same as the last event of a stream."""
    return event_of(reported(payload, profile))


def _status(value: Any) -> int | None:
    if not isinstance(value, dict):
        return None
    # The outer object sometimes holds the number: {"error": {...}, "status_code": 429}.
    places = [value["error"], value] if isinstance(value.get("error"), dict) else [value]
    for place in places:
        for key in ("status", "status_code", "code", "http_code"):
            found = place.get(key)
            if isinstance(found, str) and found.isdecimal():
                found = int(found)
            if type(found) is int and 400 <= found <= 599:
                return found
    for place in places:
        for key in ("code", "type", "status"):
            found = place.get(key)
            if isinstance(found, str) and found.lower() in _STATUS_OF_WORD:
                return _STATUS_OF_WORD[found.lower()]
    return None
