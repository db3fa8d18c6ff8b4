"""The bearer tokens of registries: what a 401 asks for, the request for a token, and the token in its answer.

Pure but for the nonce and the clock, which arrive as arguments. The realm of a challenge is where a signature of this
machine would go: it has to be on the very host that was asked.
"""

import re
from base64 import b64encode
from hashlib import sha256
from typing import Protocol
from urllib.parse import urlencode

import msgspec
from msgspec import Struct

from arriero.backends.engine.registry.address import Place, read_url
from arriero.backends.http.call import Head
from arriero.errors import RegistryError

MAX_CHALLENGE_BYTES = 8192
MAX_TOKEN_CHARACTERS = 32768

_PARAMETER = re.compile(r'\s*([A-Za-z0-9_-]{1,64})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))\s*(?:,|$)')
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")
_EMPTY = b64encode(sha256(b"").hexdigest().encode()).decode()


class Signer(Protocol):
    """Whoever holds the key of this machine."""

    def authorization(self, text: str) -> str:
        """The value of an `Authorization` field that proves the key for this text."""
        ...


class Challenge(Struct, frozen=True):
    """What a 401 asks for. `scopes` are such as `repository:library/tiny:pull`."""

    realm: str
    service: str = ""
    scopes: tuple[str, ...] = ()


class Denied(RegistryError):
    """The registry gives it, or takes it, from nobody, or from others only. The CLI knows the first words."""

    def __init__(self, address: str, why: str) -> None:
        super().__init__(f"unauthorized: access denied by {address}: {why}")


def challenge_of(head: Head) -> Challenge | None:
    """The Bearer challenge of a 401, `None` where it has none that can be read."""
    for name, value in head.headers:
        if name == b"www-authenticate" and len(value) <= MAX_CHALLENGE_BYTES:
            scheme, _, rest = value.decode("latin-1").strip().partition(" ")
            if scheme.lower() == "bearer" and (found := _bearer(rest)) is not None:
                return found
    return None


def _bearer(text: str) -> Challenge | None:
    found: dict[str, str] = {}
    end = 0
    while end < len(text):
        match = _PARAMETER.match(text, end)
        if match is None:
            break
        quoted, plain = match[2], match[3]
        found.setdefault(match[1].lower(), plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
        end = match.end()
    if not found.get("realm"):
        return None
    return Challenge(found["realm"], found.get("service", ""), tuple(found.get("scope", "").split()))


def token_place(challenge: Challenge, asked: Place, *, nonce: str, now: int) -> Place:
    """Where to ask for the token, all parameters in it. `asked` is what answered with the challenge; `now` is unix
    seconds. Raises RegistryError for a realm on another host.
    """
    try:
        realm = read_url(challenge.realm)
    except ValueError:
        raise RegistryError(f"{asked.origin.address} asks for a token from an address that cannot be read") from None
    if realm.origin.netloc != asked.origin.netloc:
        raise RegistryError(f'realm host "{realm.origin.netloc}" does not match original host "{asked.origin.netloc}"')
    if asked.origin.secure and not realm.origin.secure:
        raise RegistryError(f"{asked.origin.address} asks for a token over plain http")
    parameters = [("nonce", nonce), *(("scope", scope) for scope in challenge.scopes)]
    parameters += [("service", challenge.service), ("ts", str(now))]
    separator = "&" if "?" in realm.target else "?"
    return Place(realm.origin, f"{realm.target}{separator}{urlencode(parameters)}")


def text_to_sign(place: Place) -> str:
    """What a registry checks the signature of a token request against."""
    return f"GET,{place.url},{_EMPTY}"


class _Answer(Struct):
    token: str = ""
    access_token: str = ""


def token_of(body: bytes) -> str | None:
    """The token in an answer, `None` where there is none that can stand in a header."""
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    token = answer.token or answer.access_token
    return token if len(token) <= MAX_TOKEN_CHARACTERS and _TOKEN.fullmatch(token) else None
