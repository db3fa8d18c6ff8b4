"""The backends as they run: those behind one host name (`discover: dns`), and the local servers that were found.

Pure: what was looked up and who was found come in as values.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from arriero.backends.http.origin import Origin
from arriero.config.backends import BackendConfig, OllamaConfig, OpenAIConfig
from arriero.config.schema import Config

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]")


class Host(NamedTuple):
    """What is looked up for a backend with `discover: dns`."""

    name: str
    port: int


class OllamaAt(OllamaConfig):
    """The one of several Ollama servers behind a name that has this address."""

    address: str


class OpenAIAt(OpenAIConfig):
    """The same of servers with the OpenAI API."""

    address: str


def host_of(backend: BackendConfig) -> Host | None:
    """The name that stands for several backends; `None` for a backend that is one."""
    if not isinstance(backend, OllamaConfig | OpenAIConfig) or backend.discover != "dns":
        return None
    origin = Origin.parse(backend.url)
    return Host(origin.host, origin.port)


def hosts_of(config: Config) -> tuple[Host, ...]:
    """Every name that has to be looked up, once."""
    return tuple(dict.fromkeys(host for backend in config.backends if (host := host_of(backend)) is not None))


def address_of(backend: BackendConfig) -> str | None:
    """The address that is dialed in place of the URL's host; `None` where the host itself is."""
    return backend.address if isinstance(backend, OllamaAt | OpenAIAt) else None


def present(
    config: Config,
    addresses: Mapping[Host, Sequence[str]],
    candidates: Sequence[BackendConfig] = (),
    found: Collection[str] = (),
) -> Config:
    """The configuration with a backend for each address of a name, none for a name without any, and behind them those
    of the candidates whose names are `found`.
    """
    taken = {backend.name for backend in config.backends}
    backends = [one for backend in config.backends for one in _each(backend, addresses, taken)]
    backends += (candidate for candidate in candidates if candidate.name in found and candidate.name not in taken)
    return config.model_copy(update={"backends": tuple(backends)})


def _each(backend: BackendConfig, addresses: Mapping[Host, Sequence[str]], taken: set[str]) -> Iterator[BackendConfig]:
    host = host_of(backend)
    if host is None:
        yield backend
        return
    made = OllamaAt if isinstance(backend, OllamaConfig) else OpenAIAt
    for address in addresses.get(host, ()):
        name = _free(f"{backend.name}-{_NOT_IN_NAMES.sub('-', address)}", taken)
        taken.add(name)
        # As it is: every value has been looked at already.
        yield made.model_construct(**{**dict(backend), "name": name, "address": address})


def _free(name: str, taken: Collection[str]) -> str:
    """The name, or with a number behind it where somebody has it."""
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{name}-{number}"
    return found
