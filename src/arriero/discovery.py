"""Asking who is there: the addresses behind host names, and the model servers on the usual ports of this machine.

What follows from the answers is decided elsewhere: here they are only remembered.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

import structlog

from arriero import compose
from arriero.config import BackendConfig, Config
from arriero.config.members import Host
from arriero.errors import ArrieroError, BackendUnreachable

LOOK_UP_SECONDS = 5.0
"""How long a name may take to be looked up."""

FIND_SECONDS = 0.5
"""How long a local server on its usual port may take to answer before it is taken for absent."""

MAX_ROUNDS = 6
"""Who stands on such a port and is no model server is asked again after so many rounds at most."""

Resolve = Callable[[Host], Awaitable[Sequence[str]]]
"""The addresses of a name. Raises OSError."""

log = structlog.get_logger("arriero.discovery")


async def resolve(host: Host) -> tuple[str, ...]:
    """What the system's resolver says, IPv4 and IPv6, always in the same order."""
    found = await asyncio.get_running_loop().getaddrinfo(host.name, host.port, type=socket.SOCK_STREAM)
    return tuple(sorted({str(where[0]) for *_, where in found}, key=_order))


def _order(address: str) -> tuple[int, int, str]:
    plain = ipaddress.ip_address(address.partition("%")[0])
    return plain.version, int(plain), address


async def look_up(host: Host, by: Resolve = resolve) -> tuple[str, ...]:
    """The addresses of a name, at least one. Raises `BackendUnreachable` with a sentence that names it."""
    try:
        async with asyncio.timeout(LOOK_UP_SECONDS):
            found = tuple(dict.fromkeys(await by(host)))
    except TimeoutError:
        raise BackendUnreachable(f"{host.name} cannot be looked up: no answer within {LOOK_UP_SECONDS:g} s") from None
    except (OSError, UnicodeError) as error:
        unknown = isinstance(error, socket.gaierror) and error.errno == socket.EAI_NONAME
        reason = "there is no such host" if unknown else (getattr(error, "strerror", None) or "unknown reason").lower()
        raise BackendUnreachable(f"{host.name} cannot be looked up: {reason}") from None
    if not found:
        raise BackendUnreachable(f"{host.name} cannot be looked up: it has no address")
    return found


class Addresses:
    """The last known addresses of each name: a look-up that fails takes nothing away, and is told once."""

    def __init__(self, by: Resolve = resolve) -> None:
        self.known: dict[Host, tuple[str, ...]] = {}
        self._by = by
        self._failing: set[Host] = set()

    async def look(self, hosts: Iterable[Host]) -> None:
        """Look these up, all at once."""
        await asyncio.gather(*(self._look(host) for host in hosts))

    async def _look(self, host: Host) -> None:
        try:
            self.known[host] = await look_up(host, self._by)
        except BackendUnreachable as error:
            if host not in self._failing:
                log.warning("backends cannot be discovered", error=error.message, kept=len(self.known.get(host, ())))
            self._failing.add(host)
        else:
            self._failing.discard(host)


class LocalServers:
    """Which of the candidates have answered. One that was found stays found: its state says when it is away."""

    def __init__(self) -> None:
        self.found: set[str] = set()
        self._pauses: dict[str, int] = {}  # of those who answer and are no model servers: rounds between two questions
        self._left: dict[str, int] = {}  # rounds until they are asked

    async def look(self, config: Config, candidates: Collection[BackendConfig]) -> None:
        """Ask those that are not found yet. Who answered something else is asked less and less often."""
        due = [candidate for candidate in candidates if self._is_due(candidate.name)]
        heard = await asyncio.gather(*(is_model_server(config, candidate) for candidate in due))
        for candidate, answer in zip(due, heard, strict=True):
            name = candidate.name
            if answer:
                self.found.add(name)
            elif answer is None:
                self._pauses.pop(name, None)
            else:
                self._pauses[name] = self._left[name] = min(self._pauses.get(name, 0) + 1, MAX_ROUNDS)

    def _is_due(self, name: str) -> bool:
        if name in self.found:
            return False
        left = self._left.get(name, 0)
        self._left[name] = max(left - 1, 0)
        return left == 0


async def is_model_server(config: Config, candidate: BackendConfig) -> bool | None:
    """Whether a model server answers there; `None` where nobody does."""
    backend = compose.build_backend(config, candidate)
    try:
        async with asyncio.timeout(FIND_SECONDS):
            await backend.list_models()
    except BackendUnreachable:
        return None
    except (ArrieroError, TimeoutError):
        return False
    finally:
        await backend.close()
    return True
