"""Olla's endpoints as backends: kind and profile from the type, the paths of the url, names, credentials.

Files that credentials name are read here. No problem and no warning repeats a credential, or a value that may hold one.
"""

import re
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

from pydantic import TypeAdapter, ValidationError

from arriero.config import vendors
from arriero.config.backends import FieldName
from arriero.config.draft import expanded
from arriero.config.environment import Origin
from arriero.config.olla_keys import ENDPOINTS, KEYS, LOCAL_OLLAMA, OLLAMA_PORT, TYPES, Type
from arriero.config.olla_reading import OLLA, Reading, Said
from arriero.config.problems import Location, nearest
from arriero.config.values import check_url

WHERE: Location = tuple(ENDPOINTS.split("."))
LIST_INTERVAL = "discovery.model_discovery.interval"

_DEFAULTS: Mapping[str, Any] = {key.name: key.default for key in KEYS if key.default is not None}
_VERSIONED = re.compile(r"/v\d+(alpha|beta)?$")
_BAD_IN_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_BAD_IN_PATH = re.compile(r"[\x00-\x20\x7f]")
_CREDENTIALS: Mapping[str, tuple[str, ...]] = {
    "bearer": ("token",),
    "api_key": ("key",),
    "basic": ("username", "password"),
}
_FIELD_NAME: TypeAdapter[str] = TypeAdapter(FieldName)


class Endpoint(NamedTuple):
    """One entry of `backends`. `origins` and `places` have what was said, by the entry's keys."""

    entry: dict[str, Any]
    origins: dict[str, Origin]
    places: dict[str, str]


def read(reading: Reading, cwd: Path, home: Path) -> list[Endpoint]:
    """The endpoints of a file, without those that have a problem. A file that names none means the local Ollama."""
    if WHERE not in reading.lengths:
        if WHERE not in reading.faulty:
            reading.warnings.append(
                f"{reading.origin(())}: {ENDPOINTS} names no endpoint; as in Olla, {LOCAL_OLLAMA} is the only one"
            )
        local = Endpoint({"name": "localhost", "kind": "ollama", "url": LOCAL_OLLAMA}, {"url": OLLA}, {})
        _place_checks(reading, local, WHERE)
        return [local]
    names = _names(reading)
    found = [_endpoint(reading, position, name, cwd, home) for position, name in enumerate(names)]
    _tell_twins(reading, found)
    broken = {where[len(WHERE)] for where in reading.faulty if where[: len(WHERE)] == WHERE and len(where) > len(WHERE)}
    return [endpoint for position, endpoint in enumerate(found) if position not in broken]


def _endpoint(reading: Reading, position: int, name: str, cwd: Path, home: Path) -> Endpoint:
    here = (*WHERE, position)
    builder = Endpoint({"name": name}, {}, {})
    _copy(reading, builder, (*here, "name"), "name", name)
    if (url := _url(reading, here)) is not None:
        type = _type(reading, here, url)
        _place_api(reading, builder, here, url, type)
        _check_path(reading, builder, here, url)
        _compare_model_url(reading, here, url, type)
    if (priority := reading.find(*here, "priority")) is not None:
        _copy(reading, builder, (*here, "priority"), "priority", priority.value)
    _place_checks(reading, builder, here)
    for key in ("include", "exclude"):
        if globs := reading.value(*here, "model_filter", key):
            builder.entry.setdefault("models", {})[key] = globs
            _copy(reading, builder, (*here, "model_filter", key), f"models.{key}", None)
    if headers := _headers(reading, here, cwd, home):
        builder.entry["headers"] = headers
        part = "headers" if any(reading.below(*here, "headers")) else "auth"
        builder.origins["headers"] = reading.origin((*here, part))
        builder.places["headers"] = reading.place((*here, part))
    return builder


def _copy(reading: Reading, builder: Endpoint, location: Location, key: str, value: Any) -> None:
    said = reading.find(*location)
    if said is not None:
        builder.origins[key], builder.places[key] = said.origin, said.place
        if "." not in key:
            builder.entry[key] = value


# ---- names ---------------------------------------------------------------------------------------------------------


def _names(reading: Reading) -> list[str]:
    """A name for each endpoint, all different. One that arriero cannot take is changed with a warning."""
    given = [reading.find(*WHERE, position, "name") for position in range(reading.lengths[WHERE])]
    first: dict[str, int] = {}
    for position, said in enumerate(given):
        here = (*WHERE, position, "name")
        if said is None or not said.value:
            if not {here, here[:-1]} & reading.faulty:
                reading.problem(here, "is missing")
        elif said.value in first:
            line = reading.origin((*WHERE, first[said.value], "name")).name.rpartition(":")[2]
            reading.problem(here, f"is given twice, first in line {line}; each endpoint needs a name of its own")
        else:
            first[said.value] = position
    plain = {text for text in first if _plain(text) == text}
    return [_free_name(reading, position, said, plain) for position, said in enumerate(given)]


def _plain(text: str) -> str:
    return _BAD_IN_NAME.sub("-", text).strip("-").lstrip("._-")


def _free_name(reading: Reading, position: int, said: Said | None, taken: set[str]) -> str:
    text = said.value if said is not None else ""
    if text and _plain(text) == text:
        return text
    wanted = _plain(text) or f"endpoint-{position + 1}"
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}-{number}"
    taken.add(name)
    if text:
        reading.warn(
            (*WHERE, position, "name"),
            f"holds what a backend's name may not; the backend is called {name} in headers, logs and `backend/model`",
        )
    return name


# ---- where the API is ----------------------------------------------------------------------------------------------


def _url(reading: Reading, here: Location) -> SplitResult | None:
    said = reading.find(*here, "url")
    location = (*here, "url")
    if said is None or not said.value:
        if not {location, here} & reading.faulty:
            reading.problem(location, "is missing")
        return None
    try:
        parts = urlsplit(said.value)
        if parts.scheme in ("http", "https") and (parts.username is not None or parts.password is not None):
            reading.problem(location, _rewrite(reading, here, parts))
            return None
        return urlsplit(check_url(said.value))
    except ValueError as error:
        text = str(error) if str(error).startswith(("is ", "must ")) else "is not a URL"
        reading.problem(location, text)
        return None


def _rewrite(reading: Reading, here: Location, parts: SplitResult) -> str:
    """How to say it instead. The credentials are not repeated: the variables are for the user to set."""
    bare = parts.netloc.rpartition("@")[2]
    position = here[-1]
    stem = re.sub(r"\W+", "_", _plain(str(reading.value(*here, "name") or f"endpoint-{position}"))).upper()
    return (
        "must not hold a user name or password; write instead "
        f'`url: "{parts.scheme}://{bare}{parts.path if "@" not in parts.path else ""}"` and '
        f'`auth: {{type: basic, username: "${{{stem}_USERNAME}}", password: "${{{stem}_PASSWORD}}"}}`'
    )


def _type(reading: Reading, here: Location, url: SplitResult) -> Type:
    """The row of the endpoint's type; `auto` and what is unknown are told by the port."""
    said = reading.value(*here, "type")
    if said is not None and said.lower() in TYPES:
        return TYPES[said.lower()]
    ollama = url.port == OLLAMA_PORT
    taken = "a server of kind ollama, by its port" if ollama else "a server of the OpenAI API"
    if said is None:
        reading.warn(here, f"has no type; it is taken for {taken}")
    elif said.lower() == "auto":
        reading.warn((*here, "type"), f"is not found out by asking; the endpoint is taken for {taken}")
    else:
        near = nearest(said.lower(), TYPES, at_least=0.6)
        hint = f"; did you mean {near}?" if near else ""
        reading.warn((*here, "type"), f"is not known; the endpoint is taken for {taken}{hint}")
    return TYPES["ollama"] if ollama else TYPES["openai-compatible"]


def _place_api(reading: Reading, builder: Endpoint, here: Location, url: SplitResult, type: Type) -> None:
    """`url`, `kind` and `profile`. Olla drops the url's path unless `preserve_path` says otherwise; so does this."""
    root = f"{url.scheme}://{url.netloc}"
    kept = url.path if reading.value(*here, "preserve_path") else ""
    whole = root + kept
    if type.kind == "openai" and not _has_version(whole):
        whole += type.base
    if url.path and whole != root + url.path and not kept:
        reading.warn((*here, "url"), "has a path that is not used, as in Olla without `preserve_path: true`")
    builder.entry["kind"] = type.kind
    if type.profile is not None:
        builder.entry["profile"] = type.profile
    _copy(reading, builder, (*here, "url"), "url", whole)
    for key in ("kind", "profile"):
        if key in builder.entry:
            _copy(reading, builder, (*here, "type"), key, builder.entry[key])


def _has_version(url: str) -> bool:
    """Whether a URL is that of an API already: it ends in `/v1` or the like, or it is a vendor's own."""
    return _VERSIONED.search(url) is not None or vendors.base_url(vendors.guess_name(url)) == url


def _same_server(url: SplitResult, other: SplitResult) -> bool:
    ports = {"http": 80, "https": 443}
    return (url.scheme, url.hostname, url.port or ports[url.scheme]) == (
        other.scheme,
        other.hostname,
        other.port or ports.get(other.scheme),
    )


def _path_on(url: SplitResult, text: str) -> str | None:
    """The path of a relative or absolute address on the endpoint's own server; `None` if it leads to another one."""
    try:
        parts = urlsplit(text)
        if parts.scheme in ("http", "https"):
            return (parts.path or "/") if _same_server(url, parts) else None
    except ValueError:
        return None
    path = text.partition("#")[0].partition("?")[0]
    return f"{url.path}/{path.lstrip('/')}"


def _check_path(reading: Reading, builder: Endpoint, here: Location, url: SplitResult) -> None:
    location = (*here, "health_check_url")
    said = reading.find(*location)
    if said is None or not said.value:
        return
    path = _path_on(url, said.value)
    if path is None:
        reading.warn(location, "is ignored: it leads to another server; the backend itself is asked for its models")
    elif _BAD_IN_PATH.search(path):
        reading.problem(location, "is not a path or URL")
    else:
        if "?" in said.value:
            reading.warn(location, "is asked without what stands behind the ?")
        _copy(reading, builder, location, "check_path", path)


def _compare_model_url(reading: Reading, here: Location, url: SplitResult, type: Type) -> None:
    """The model list is where the kind has it; a file that says the same is right."""
    location = (*here, "model_url")
    said = reading.find(*location)
    if said is None or not said.value:
        return
    asked = ["/api/tags"] if type.kind == "ollama" else [f"{type.base}/models", "/v1/models"]
    if type.profile == "lmstudio":
        asked.append("/api/v0/models")
    if _path_on(url, said.value) not in [path for known in asked for path in (url.path + known, known)]:
        reading.warn(location, f"is ignored: such a backend is asked at {asked[0]}")


def _tell_twins(reading: Reading, found: list[Endpoint]) -> None:
    """Olla knows endpoints by their urls and keeps the last of several; nobody means that."""
    first: dict[str, str] = {}
    for position, endpoint in enumerate(found):
        url = endpoint.entry.get("url")
        if url is None:
            continue
        if url in first:
            reading.warn(
                (*WHERE, position, "url"),
                f"is that of {first[url]} as well; Olla keeps only the last of such endpoints, arriero keeps all",
            )
        first.setdefault(url, endpoint.entry["name"])


# ---- checks --------------------------------------------------------------------------------------------------------


def _place_checks(reading: Reading, builder: Endpoint, here: Location) -> None:
    """Seconds of the health check and of the model list, within the bounds that Olla has."""
    interval: Location = tuple(LIST_INTERVAL.split("."))
    for key, name, location in (
        ("check_interval", f"{ENDPOINTS}[].check_interval", (*here, "check_interval")),
        ("check_timeout", f"{ENDPOINTS}[].check_timeout", (*here, "check_timeout")),
        ("models_interval", LIST_INTERVAL, interval),
    ):
        builder.entry[key], builder.origins[key] = _DEFAULTS[name], OLLA
        if (said := reading.find(*location)) is not None:
            _copy(reading, builder, location, key, said.value)
    if builder.entry["check_interval"] < 1:
        reading.problem((*here, "check_interval"), "must be at least 1s")
    elif builder.entry["check_timeout"] == 0:
        reading.problem((*here, "check_timeout"), "must be greater than 0")
    elif builder.entry["check_interval"] <= builder.entry["check_timeout"]:
        reading.problem((*here, "check_interval"), "must be longer than check_timeout")


# ---- headers and credentials ---------------------------------------------------------------------------------------


def _headers(reading: Reading, here: Location, cwd: Path, home: Path) -> dict[str, str]:
    """The fields of every request. The credential's own field is stronger than one of the same name in `headers`."""
    fields = {name: said.value for name, said in reading.below(*here, "headers")}
    for name in fields:
        _check_field(reading, (*here, "headers", name), name)
    credential = _credential(reading, (*here, "auth"), cwd, home)
    if credential is None:
        return fields
    name, value = credential
    return {**{other: said for other, said in fields.items() if other.lower() != name.lower()}, name: value}


def _check_field(reading: Reading, location: Location, name: str) -> None:
    try:
        _FIELD_NAME.validate_python(name)
    except ValidationError:
        reading.problem(location, "is not the name of a header field")


def _credential(reading: Reading, auth: Location, cwd: Path, home: Path) -> tuple[str, str] | None:
    given = dict(reading.below(*auth))
    if not given and not any(where[: len(auth)] == auth for where in reading.faulty):
        return None
    kind = reading.value(*auth, "type")
    if kind is None:
        if (*auth, "type") not in reading.faulty:
            reading.problem((*auth, "type"), f"is missing; it is one of {', '.join(_CREDENTIALS)}")
        return None
    values = [_secret(reading, auth, name, cwd, home) for name in _CREDENTIALS[kind]]
    wanted = {"type", *_CREDENTIALS[kind], *(f"{name}_file" for name in _CREDENTIALS[kind])}
    wanted |= {"header"} if kind == "api_key" else set()
    for name in given:
        if name not in wanted:
            reading.warn((*auth, name), f"is ignored: it does not belong to {kind}")
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    if kind == "bearer":
        return "Authorization", f"Bearer {known[0]}"
    if kind == "basic":
        return "Authorization", "Basic " + b64encode(":".join(known).encode()).decode("ascii")
    name = reading.value(*auth, "header") or "X-Api-Key"
    _check_field(reading, (*auth, "header"), name)
    return name, known[0]


def _secret(reading: Reading, auth: Location, name: str, cwd: Path, home: Path) -> str | None:
    """A credential from its key or from the file that its `_file` key names."""
    inline, named = reading.find(*auth, name), reading.find(*auth, f"{name}_file")
    location = (*auth, f"{name}_file")
    if inline is not None and inline.value and named is not None and named.value:
        reading.problem(location, f"is given beside {name}; keep one of them")
        return None
    if inline is not None and inline.value:
        return str(inline.value)
    if named is None or not named.value:
        if not {(*auth, name), location} & reading.faulty:
            reading.problem((*auth, name), f"is missing; give {name} or {name}_file")
        return None
    try:
        text = expanded(named.value, cwd, home).read_text(encoding="utf-8").strip()
    except OSError as error:
        # Somebody may have put the secret itself here: only what looks like a path is repeated.
        shown = f"the file {named.value}" if "/" in named.value else "the file"
        reading.problem(location, f"{shown} cannot be read: {error.strerror or type(error).__name__}")
        return None
    except ValueError:  # not UTF-8, or a name that no file can have
        reading.problem(location, "the file is not UTF-8 text")
        return None
    if not text:
        reading.problem(location, "the file is empty")
    return text or None
