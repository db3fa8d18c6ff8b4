"""The body of a create request: what is wanted, checked as far as that goes without a look at the store.

Bodies are read as Ollama's server reads them: keys in any letter case, null for absent, an empty text for absent too.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct, field

from arriero.backends.engine.store.layout import check_digest
from arriero.dialects.ollama.bodies import ABSENT, MessageBody
from arriero.dialects.ollama.golang import quote
from arriero.dialects.ollama.gotemplate import TemplateError, parse_template
from arriero.dialects.ollama.lenient import reader
from arriero.dialects.ollama.names import Name, parse, source
from arriero.dialects.ollama.options import read_options
from arriero.dialects.ollama.scanner import TOO_DEEP
from arriero.errors import BadRequest, Forbidden, InvalidOption

CLOUD: Final = "ollama cloud is disabled: remote model is unavailable"
"""What a server says that has its cloud features switched off; arriero has none."""

QUANTIZATIONS: Final = ("F32", "F16", "Q4_K_S", "Q4_K_M", "Q8_0")
ROLES: Final = ("system", "user", "assistant")

_SAFETENSORS: Final = ".safetensors"
_REMOTE = re.compile(
    r"(?:https?://)?[A-Za-z0-9_.-]+(?::\d{1,5})?/?|(?:https?://)?\[[0-9a-fA-F:.]+\](?::\d{1,5})?/?", re.ASCII
)


class Info(Struct, frozen=True, kw_only=True):
    """What is said of the model in place of what its file says. `None` and empty say nothing."""

    model_family: str = ""
    base_name: str = ""
    quantization_level: str = ""
    parameter_size: str = ""
    context_length: int | None = None
    embedding_length: int | None = None
    capabilities: tuple[str, ...] = ()


class Wanted(Struct, frozen=True, kw_only=True):
    """A model to be made. `files` and `adapters` are path -> digest, `None` where there is no such map.

    `base` is the name that it is made from, without the marks of a source. `parameters` may hold `None`: the base's
    value is to go. `messages` are role and content.
    """

    name: Name
    base: str = ""
    files: Mapping[str, str] | None = None
    adapters: Mapping[str, str] | None = None
    template: str = ""
    system: str = ""
    licenses: tuple[str, ...] = ()
    parameters: Mapping[str, object] = {}
    messages: tuple[tuple[str, str], ...] = ()
    quantize: str = ""
    renderer: str = ""
    parser: str = ""
    requires: str = ""
    info: Info = Info()


class _Body(Struct):
    model: str = ""
    name: str = ""
    base: str = field(default="", name="from")
    stream: bool | None = None
    files: Raw = ABSENT
    adapters: Raw = ABSENT
    draft_files: Raw = ABSENT
    template: str = ""
    system: str = ""
    license: Raw = ABSENT
    parameters: dict[str, Raw] | None = None
    messages: list[MessageBody] | None = None
    quantize: str = ""
    quantization: str = ""
    draft_quantize: str = ""
    renderer: str = ""
    parser: str = ""
    requires: str = ""
    remote_host: str = ""
    info: dict[str, Raw] | None = None


_read = reader(_Body, "CreateRequest")
_decode = msgspec.json.Decoder().decode

_KINDS = {"{": "object", "[": "array", '"': "string", "t": "bool", "f": "bool"}


def read_create(body: bytes) -> Wanted:
    """What a body asks for. Raises `BadRequest` in the words of Ollama's server, `Forbidden` for its cloud's models."""
    read, _ = _read(body)
    files, adapters, drafts = (
        _digests(name, raw)
        for name, raw in (("files", read.files), ("adapters", read.adapters), ("draft_files", read.draft_files))
    )
    for given in (files, drafts, adapters):
        for path in given or ():
            if not _is_clean(path):
                raise BadRequest("file path must be relative")
    files, adapters, drafts = (_canonical(given) for given in (files, adapters, drafts))
    if read.draft_quantize and not drafts:
        raise BadRequest("--draft-quantize requires a DRAFT model")
    typed = read.model or read.name
    # The name of a new model is not trimmed.
    name = parse(typed) if typed == typed.strip() else None
    if name is None:
        raise BadRequest("invalid model name")
    base = _base(read)
    if not base and files is None:
        raise BadRequest("neither 'from' or 'files' was specified")
    if drafts:
        raise BadRequest("a draft model for speculative decoding is not supported by this engine: leave DRAFT out")
    _check_template(read.template)
    return Wanted(
        name=name,
        base=base,
        files=files,
        adapters=adapters,
        template=read.template,
        system=read.system,
        licenses=_licenses(read.license),
        parameters=_parameters(read.parameters or {}),
        messages=tuple(_message(message) for message in read.messages or ()),
        quantize=(read.quantize or read.quantization).upper(),
        renderer=read.renderer,
        parser=read.parser,
        requires=read.requires,
        info=_info(read.info or {}),
    )


def is_safetensors(path: str) -> bool:
    """Whether a file is meant to be weights in another format than GGUF."""
    return path.endswith(_SAFETENSORS)


# ---- where it comes from -------------------------------------------------------------------------------------------


def _base(read: _Body) -> str:
    base, origin = source(read.base)
    if read.remote_host:
        if not _REMOTE.fullmatch(read.remote_host):
            raise BadRequest("bad remote")
        raise Forbidden(CLOUD)
    if read.base and origin == "cloud":
        raise Forbidden(CLOUD)
    if read.base and parse(base) is None:
        raise BadRequest("invalid model name")
    return base


def _digests(name: str, raw: Raw) -> dict[str, str] | None:
    """A map of path to digest as it was given; `None` for none."""
    found = _value(raw) if bytes(raw) not in (b"", b"null") else None
    if found is None:
        return None
    if not isinstance(found, dict):
        raise _mismatch(bytes(raw), name, "map[string]string")
    for digest in found.values():
        if digest is not None and not isinstance(digest, str):
            raise _mismatch(msgspec.json.encode(digest), name, "string")
    return {path: digest or "" for path, digest in found.items()}


def _canonical(files: dict[str, str] | None) -> dict[str, str] | None:
    return None if files is None else {path: check_digest(digest) for path, digest in files.items()}


def _is_clean(path: str) -> bool:
    """Whether a path stays below where it starts, and says so in the shortest way."""
    return "\0" not in path and all(part not in ("", ".", "..") for part in path.split("/"))


# ---- what is said of it --------------------------------------------------------------------------------------------


def _check_template(text: str) -> None:
    if text:
        try:
            parse_template(text)
        except TemplateError as error:
            raise BadRequest(f"template error: {error.message}") from None


def _licenses(raw: Raw) -> tuple[str, ...]:
    value = _value(raw) if bytes(raw) else None
    match value:
        case None:
            return ()
        case str():
            return (value,) if value else ()
        case list() if all(isinstance(one, str) for one in value):
            return tuple(one for one in value if one)
        case _:
            raise BadRequest("license must be a string or a list of strings")


def _parameters(given: Mapping[str, Raw]) -> dict[str, object]:
    try:
        read_options(given)
    except InvalidOption as error:
        # A model with a wrong option could be made and never be asked anything.
        raise BadRequest(error.message) from None
    return {key: _shortest(_value(raw)) for key, raw in given.items()}


def _shortest(value: object) -> object:
    """A number as Go writes it into the params layer: no fraction where it is whole."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e21 else value


def _message(message: MessageBody) -> tuple[str, str]:
    role = (message.role or "").lower()
    if role not in ROLES:
        raise BadRequest('message role must be one of "system", "user", or "assistant"')
    if message.images or message.tool_calls:
        raise BadRequest(f"a message that a model is made with holds text only: the one of {quote(role)} holds more")
    return role, message.content or ""


def _info(given: Mapping[str, Raw]) -> Info:
    found: dict[str, object] = {}
    for key, raw in given.items():
        value = _value(raw)
        if value is None or key not in Info.__struct_fields__:
            continue
        match key:
            case "capabilities":
                if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
                    raise BadRequest('info field "capabilities" must be a list of strings')
                found[key] = tuple(value)
            case "context_length" | "embedding_length":
                if isinstance(value, bool) or not isinstance(value, int | float):
                    raise BadRequest(f"info field {quote(key)} must be a number")
                if value < 0 or value != int(value):
                    raise BadRequest(f"info field {quote(key)} must be a non-negative integer")
                found[key] = int(value)
            case _:
                if not isinstance(value, str):
                    raise BadRequest(f"info field {quote(key)} must be a string")
                found[key] = value
    return msgspec.convert(found, Info)


def _value(raw: Raw) -> Any:
    """A value of a body that was scanned before: what can still be wrong is a number no float holds, or the depth."""
    try:
        return _decode(raw)
    except msgspec.DecodeError:
        shown = bytes(raw)[:100].decode("utf-8", "replace")
        raise BadRequest(f"json: cannot unmarshal {shown} into a Go value") from None
    except RecursionError:
        raise BadRequest(TOO_DEEP) from None


def _mismatch(raw: bytes, name: str, wanted: str) -> BadRequest:
    found = _KINDS.get(chr(raw[0]), "number")
    return BadRequest(f"json: cannot unmarshal {found} into Go struct field CreateRequest.{name} of type {wanted}")
