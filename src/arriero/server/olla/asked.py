"""The parameters behind the `?` of a request: words of closed sets, and yes or no."""

from collections.abc import Collection, Mapping
from urllib.parse import parse_qsl

from arriero.errors import BadRequest
from arriero.gateway.lane import Inbound

_FLAGS: Mapping[str, bool] = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def parameters(inbound: Inbound) -> Mapping[str, str]:
    """Name to value. Of a name that comes twice the first counts; an empty value counts as none."""
    found: dict[str, str] = {}
    for name, value in parse_qsl(inbound.query.decode("latin-1")):
        found.setdefault(name, value.strip())
    return {name: value for name, value in found.items() if value}


def word(asked: Mapping[str, str], name: str, allowed: Collection[str]) -> str | None:
    """The parameter in lower case, `None` where it is missing. Raises `BadRequest`, which names all that it may be."""
    value = asked.get(name)
    if value is None:
        return None
    if value.lower() not in allowed:
        raise BadRequest(f"{name}={value} is not understood: {name} may be {', '.join(allowed)}")
    return value.lower()


def flag(asked: Mapping[str, str], name: str) -> bool | None:
    """The parameter as yes or no, `None` where it is missing. Raises `BadRequest`."""
    value = asked.get(name)
    if value is None:
        return None
    if value.lower() not in _FLAGS:
        raise BadRequest(f"{name}={value} is not understood: {name} may be true or false")
    return _FLAGS[value.lower()]
