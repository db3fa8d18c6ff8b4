"""Reading a request body as Go's `encoding/json` reads it into the server's types: the slow path.

Keys match whatever their case and a later one wins, unknown fields are ignored (those of the top level are handed back
by name), null is absent, bytes after the first value are ignored, invalid UTF-8 and lone surrogates become U+FFFD.
Faults are `BadRequest` with Go's own text, of the first fault in the order of the body. The shapes are the structs of
`bodies`, read layer by layer, so that `Raw` leaves keep the client's bytes.
"""

import re
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec import Raw, Struct
from msgspec import inspect as shapes

from arriero.dialects.ollama.bodies import CallBody, FunctionBody, MessageBody, ToolFunctionBody
from arriero.dialects.ollama.scanner import TOO_DEEP, first_value
from arriero.errors import BadRequest

_Body = TypeVar("_Body", bound=Struct)
_Read_co = TypeVar("_Read_co", covariant=True)
_Read = Callable[[bytes, "_Place"], Any]

_members = msgspec.json.Decoder(dict[str, Raw]).decode
_items = msgspec.json.Decoder(list[Raw]).decode
_string = msgspec.json.Decoder(str).decode

_WORDS = {ord("{"): "object", ord("["): "array", ord('"'): "string", ord("t"): "bool", ord("f"): "bool"}
_INTEGER = re.compile(rb"-?[0-9]+")
_INT64 = range(-(1 << 63), 1 << 63)

# The Go types behind fields whose JSON shape does not tell them.
_GO_STRUCTS: dict[type, str] = {
    MessageBody: "api.Message",
    CallBody: "api.ToolCall",
    FunctionBody: "api.ToolCallFunction",
    ToolFunctionBody: "api.ToolFunction",
}
_GO_LISTS = {"tools": "api.Tools"}
_GO_ITEMS = {"images": "api.ImageData", "tools": "api.Tool", "context": "int"}

_SURROGATE = re.compile("[\ud800-\udfff]")
_LONE_SURROGATE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.", re.DOTALL
)


class _Place(Struct, frozen=True):
    """Where a value stands: the request's Go type, the dotted path, and the Go type that is wanted there."""

    root: str
    path: tuple[str, ...]
    wanted: str

    def mismatch(self, raw: bytes) -> BadRequest:
        found = _WORDS.get(raw[0], "number")
        if found == "number" and self.wanted == "int":
            found = f"number {raw.decode()}"
        if not self.path:
            return BadRequest(f"json: cannot unmarshal {found} into Go value of type api.{self.root}")
        field = ".".join((self.root, *self.path))
        return BadRequest(f"json: cannot unmarshal {found} into Go struct field {field} of type {self.wanted}")


def reader(
    shape: type[_Body], root: str, path: tuple[str, ...] = (), wanted: str = ""
) -> Callable[[bytes], tuple[_Body, dict[str, Raw]]]:
    """A function that reads a body as a `shape` and hands back its unknown top-level fields beside it.

    `root` is the request's Go type, `path` and `wanted` say where in it a part of a body stands and what Go type it
    has. The function raises `BadRequest`.
    """
    read_struct = _struct(shape)
    place = _Place(root, path, wanted)

    def read(body: bytes) -> tuple[_Body, dict[str, Raw]]:
        value = first_value(repaired(body))
        extra: dict[str, Raw] = {}
        if value == b"null":
            return shape(), extra
        try:
            return read_struct(value, place, extra), extra
        except RecursionError:
            # msgspec walks nested values by recursion, also those it only skips.
            raise BadRequest(TOO_DEEP) from None

    return read


def repaired(body: bytes) -> bytes:
    """The body with U+FFFD for each byte that is not UTF-8 and for each escape of half a surrogate pair."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        # Python's own replacement would make one of several.
        text = _SURROGATE.sub("\ufffd", body.decode("utf-8", "surrogateescape"))
    if "\\ud" in text or "\\uD" in text:
        text = _LONE_SURROGATE.sub(lambda found: "\\ufffd" if found[1] else found[0], text)
    return text.encode()


# ---- readers, one for each kind of type a body has -----------------------------------------------------------------


def _read_string(raw: bytes, place: _Place) -> str:
    if raw[0] != ord('"'):
        raise place.mismatch(raw)
    return _string(raw)


def _read_bool(raw: bytes, place: _Place) -> bool:
    if raw[0] not in b"tf":
        raise place.mismatch(raw)
    return raw == b"true"


def _read_int(raw: bytes, place: _Place) -> int:
    if not _INTEGER.fullmatch(raw) or len(raw) > 20 or (value := int(raw)) not in _INT64:
        raise place.mismatch(raw)
    return value


def _read_raw(raw: bytes, place: _Place) -> Raw:
    return Raw(raw)


def _read_map(raw: bytes, place: _Place) -> dict[str, Raw]:
    if raw[0] != ord("{"):
        raise place.mismatch(raw)
    return _members(raw)


_SCALARS: dict[type[shapes.Type], tuple[_Read, str]] = {
    shapes.StrType: (_read_string, "string"),
    shapes.BoolType: (_read_bool, "bool"),
    shapes.IntType: (_read_int, "int"),
    shapes.RawType: (_read_raw, ""),
    shapes.DictType: (_read_map, "map[string]interface {}"),
}


def _list(read_item: _Read, wanted: str) -> _Read:
    def read_list(raw: bytes, place: _Place) -> list[Any]:
        if raw[0] != ord("["):
            raise place.mismatch(raw)
        inner = _Place(place.root, place.path, wanted)
        # A null item is the zero value of its type; of what bodies list, only strings and structs can be null.
        return [read_item(bytes(item), inner) for item in _items(raw) if bytes(item) != b"null"]

    return read_list


class _Struct(Protocol[_Read_co]):
    """Reads an object; unknown members go into `extra` where there is one."""

    def __call__(self, raw: bytes, place: _Place, extra: dict[str, Raw] | None = None) -> _Read_co: ...


def _struct(shape: type[_Body]) -> _Struct[_Body]:
    fields = {
        field.encode_name.casefold(): (field.name, field.encode_name, *_reader(field)) for field in _fields(shape)
    }

    def read_struct(raw: bytes, place: _Place, extra: dict[str, Raw] | None = None) -> _Body:
        if raw[0] != ord("{"):
            raise place.mismatch(raw)
        found: dict[str, Any] = {}
        for key, value in _members(raw).items():
            field = fields.get(key.casefold())
            if field is None:
                if extra is not None:
                    extra[key] = value
                continue
            attribute, name, read_field, wanted = field
            text = bytes(value)
            # Null leaves what stood before; the rules of `Raw` fields are their readers' own.
            if text != b"null" or read_field is _read_raw:
                found[attribute] = read_field(text, _Place(place.root, (*place.path, name), wanted))
        return shape(**found)

    return read_struct


def _fields(shape: type[Struct]) -> tuple[shapes.Field, ...]:
    info = shapes.type_info(shape)
    assert isinstance(info, shapes.StructType), shape
    return info.fields


def _reader(field: shapes.Field) -> tuple[_Read, str]:
    """How a field is read, and the Go type that it wants."""
    kind, name = _present(field.type), field.encode_name
    if isinstance(kind, shapes.ListType):
        item = _present(kind.item_type)
        read_item: _Read
        if isinstance(item, shapes.StructType):
            read_item, wanted = _struct(item.cls), _GO_STRUCTS[item.cls]
        else:
            read_item, wanted = _SCALARS[type(item)]
        wanted = _GO_ITEMS.get(name, wanted)
        return _list(read_item, wanted), _GO_LISTS.get(name, f"[]{wanted}")
    if isinstance(kind, shapes.StructType):
        return _struct(kind.cls), _GO_STRUCTS[kind.cls]
    return _SCALARS[type(kind)]


def _present(kind: shapes.Type) -> shapes.Type:
    """The type without its `None`."""
    if isinstance(kind, shapes.UnionType):
        return next(member for member in kind.types if not isinstance(member, shapes.NoneType))
    return kind
