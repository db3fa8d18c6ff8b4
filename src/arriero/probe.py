"""`arriero check`: each backend asked once for its models, all at the same time."""

import asyncio  # noqa: TID251 - an entry point: it runs the loop
from typing import NamedTuple

from arriero import compose
from arriero.config import BackendConfig, Config
from arriero.config.members import Host, address_of, host_of, hosts_of, present
from arriero.discovery import Resolve, look_up, resolve
from arriero.errors import ArrieroError
from arriero.holdings import Holdings, holdings_of

PROBE_SECONDS = 10.0
"""How long a backend may take that has no `check_timeout`."""


class ProbeResult(NamedTuple):
    """What one backend said. `error` is a sentence, `None` if it answered; `models` are its ids, and behind them those
    that the operator has named. `store` is what an engine's holds.
    """

    name: str
    kind: str
    where: str
    models: tuple[str, ...] = ()
    error: str | None = None
    store: Holdings | None = None


def probe(config: Config, by: Resolve = resolve) -> list[ProbeResult]:
    """Ask every backend, in the order of the configuration; with `discover: dns` every one behind its name. Raises
    nothing for a backend that fails.
    """
    return asyncio.run(_probe(config, by))


async def _probe(config: Config, by: Resolve) -> list[ProbeResult]:
    hosts = hosts_of(config)
    answers = dict(zip(hosts, await asyncio.gather(*(_look_up(host, by) for host in hosts)), strict=True))
    known = {host: answer for host, answer in answers.items() if not isinstance(answer, str)}
    asked = {backend.name: _ask(config, backend) for backend in present(config, known).backends}
    found = dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))
    for backend in config.backends:
        failure = answers.get(host) if (host := host_of(backend)) is not None else None
        if isinstance(failure, str):
            found[backend.name] = ProbeResult(backend.name, backend.kind, _where(backend), error=failure)
    return list(found.values())


async def _look_up(host: Host, by: Resolve) -> tuple[str, ...] | str:
    """The addresses, or why there are none."""
    try:
        return await look_up(host, by)
    except ArrieroError as error:
        return error.message


def _where(backend: BackendConfig) -> str:
    return str(getattr(backend, "url", "this machine"))


async def _ask(config: Config, backend: BackendConfig) -> ProbeResult:
    try:
        reached = compose.build_backend(config, backend)
    except ArrieroError as error:
        return ProbeResult(backend.name, backend.kind, _where(backend), error=error.message)
    where = reached.where if address_of(backend) is not None else _where(backend)
    seconds = float(getattr(backend, "check_timeout", PROBE_SECONDS))
    try:
        async with asyncio.timeout(seconds):
            cards = await reached.list_models()
        store = holdings_of(reached)
    except ArrieroError as error:
        return ProbeResult(backend.name, backend.kind, where, error=error.message)
    except TimeoutError:
        return ProbeResult(backend.name, backend.kind, where, error=f"no answer within {seconds:g} seconds")
    finally:
        await reached.close()
    named = getattr(backend, "extra_models", ())
    models = tuple(dict.fromkeys((*(card.id for card in cards), *named)))
    return ProbeResult(backend.name, backend.kind, where, models, store=store)
