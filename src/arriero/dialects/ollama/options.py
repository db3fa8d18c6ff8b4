"""The knobs of an Ollama request, both ways: `keep_alive`, `options`, `format`, `think`.

`options` splits into `Sampling` and the runner's load-time options; names that the API does not know stay with the
latter, so that an Ollama server gets them and another backend's driver can name them as dropped.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from arriero.canonical.requests import (
    FOREVER,
    Format,
    JsonFormat,
    Sampling,
    Scalar,
    SchemaFormat,
    Think,
)
from arriero.dialects.ollama.golang import BadDuration, duration_ns, quote
from arriero.dialects.ollama.scanner import TOO_DEEP
from arriero.errors import BadRequest, InvalidOption

_decode = msgspec.json.Decoder().decode


def _value(raw: bytes | Raw) -> Any:
    """A value of a body that was scanned before: what can still be wrong is a number no float holds, or the depth."""
    try:
        return _decode(raw)
    except msgspec.DecodeError:
        shown = bytes(raw)[:100].decode("utf-8", "replace")
        raise BadRequest(f"json: cannot unmarshal {shown} into a Go value") from None
    except RecursionError:
        raise BadRequest(TOO_DEEP) from None


# ---- keep_alive ----------------------------------------------------------------------------------------------------


def read_keep_alive(raw: bytes) -> float | None:
    """Seconds, `FOREVER` for a negative value, `None` for absent. Raises `BadRequest` with Go's texts.

    The string "-1" is refused as the real server refuses it: a duration needs a unit.
    """
    match _value(raw) if raw else None:
        case None:
            return None
        case bool():
            raise BadRequest("Unsupported type: 'bool'")
        case int() | float() as seconds:
            return FOREVER if seconds < 0 else float(seconds)
        case str() as text:
            try:
                nanoseconds = duration_ns(text)
            except BadDuration as error:
                raise BadRequest(str(error)) from None
            return FOREVER if nanoseconds < 0 else nanoseconds / 1e9
        case list():
            raise BadRequest("Unsupported type: '[]interface {}'")
        case _:
            raise BadRequest("Unsupported type: 'map[string]interface {}'")


def write_keep_alive(seconds: float) -> int | float:
    """A number of seconds, -1 for no end."""
    if seconds == FOREVER:
        return -1
    return int(seconds) if seconds == int(seconds) else seconds


# ---- options -------------------------------------------------------------------------------------------------------

_SAMPLING_INTEGERS = {
    "num_predict": "max_tokens",
    "top_k": "top_k",
    "seed": "seed",
    "repeat_last_n": "repeat_last_n",
    "num_keep": "num_keep",
}
_SAMPLING_FLOATS = (
    "temperature",
    "top_p",
    "min_p",
    "typical_p",
    "presence_penalty",
    "frequency_penalty",
    "repeat_penalty",
)
_RUNNER_INTEGERS = frozenset({"num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "draft_num_predict"})
_RUNNER_BOOLEANS = frozenset({"use_mmap"})

_INTEGERS = _RUNNER_INTEGERS | _SAMPLING_INTEGERS.keys()

# Values that stand for "not said": no limit, a random seed.
_UNSAID_SAMPLING = Sampling()
_UNSAID = {"num_predict": range(1 - (1 << 63), 1), "seed": range(1 - (1 << 63), 0)}


def read_options(options: Mapping[str, Raw] | None) -> tuple[Sampling, dict[str, Scalar]]:
    """Sampling and runner options. Raises `InvalidOption` with the real server's texts. Lists and maps under unknown
    names are ignored, as the real server ignores every unknown name."""
    if not options:
        return _UNSAID_SAMPLING, {}
    sampling: dict[str, int | float | tuple[str, ...]] = {}
    runner: dict[str, Scalar] = {}
    for name, raw in options.items():
        value = _value(raw)
        if value is None:
            continue
        if name in _INTEGERS:
            whole = _integer(name, value)
            if name in _RUNNER_INTEGERS:
                runner[name] = whole
            elif whole not in _UNSAID.get(name, ()):
                sampling[_SAMPLING_INTEGERS[name]] = whole
        elif name in _SAMPLING_FLOATS:
            if not _is_number(value):
                raise _wrong(name, "type float32")
            sampling[name] = float(value)
        elif name == "stop":
            sampling[name] = _strings(name, value)
        elif name in _RUNNER_BOOLEANS:
            if not isinstance(value, bool):
                raise _wrong(name, "type boolean")
            runner[name] = value
        elif isinstance(value, bool | int | float | str):
            runner[name] = value
    return msgspec.convert(sampling, Sampling), runner


def write_options(sampling: Sampling, runner: Mapping[str, Scalar]) -> dict[str, object]:
    """The `options` map of a request: only what was said."""
    options: dict[str, object] = dict(runner)
    for name, attribute in _SAMPLING_INTEGERS.items():
        if (whole := getattr(sampling, attribute)) is not None:
            options[name] = whole
    for name in _SAMPLING_FLOATS:
        if (number := getattr(sampling, name)) is not None:
            options[name] = number
    if sampling.stop is not None:
        options["stop"] = sampling.stop
    return options


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _integer(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(name, "type integer")
    return int(value)


def _strings(name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise _wrong(name, "type array")
    if not all(isinstance(item, str) for item in value):
        raise _wrong(name, "an array of strings")
    return tuple(value)


def _wrong(name: str, wanted: str) -> InvalidOption:
    return InvalidOption(f"option {quote(name)} must be of {wanted}")


# ---- format --------------------------------------------------------------------------------------------------------

_NO_FORMAT = (b"", b"null", b'""')


def read_format(raw: bytes) -> Format | None:
    """What the answer must look like; raises `InvalidOption` (500, as the real server says it)."""
    if raw in _NO_FORMAT:
        return None
    if raw == b'"json"':
        return JsonFormat()
    if raw[:1] == b"{":
        return SchemaFormat(Raw(raw))
    shown = quote(raw.decode("utf-8", "replace"))
    raise InvalidOption(f'invalid format: {shown}; expected "json" or a valid JSON Schema object')


def write_format(format: Format) -> Raw:
    """The `format` field. A schema's name and strictness have no place here and change nothing."""
    match format:
        case JsonFormat():
            return Raw(b'"json"')
        case SchemaFormat(schema):
            return schema


# ---- think ---------------------------------------------------------------------------------------------------------

_LEVELS = ("high", "medium", "low", "max")
_THINK_WORDS = '"high", "medium", "low", "max", true, or false'

# Levels of other dialects, and an effort of nothing, in the words that Ollama has.
_EFFORTS: Mapping[str, Think] = {"none": False, "minimal": "low", "xhigh": "max", "ultra": "max"}


def read_think(raw: bytes) -> Think | None:
    """On, off or a level; `None` for absent: a thinking model of an Ollama server then thinks. Raises `BadRequest`."""
    match _value(raw) if raw else None:
        case None:
            return None
        case bool() as on:
            return on
        case str() as level:
            if level not in _LEVELS:
                raise BadRequest(f"invalid think value: {quote(level)} (must be {_THINK_WORDS})")
            return level
        case _:
            raise BadRequest(f"think must be a boolean or string ({_THINK_WORDS})")


def write_think(think: Think) -> Think:
    """The `think` field. A level that nobody knows goes on as it is: the backend's refusal names the ones it takes."""
    return think if isinstance(think, bool) else _EFFORTS.get(think, think)
