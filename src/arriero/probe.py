"""`arriero check`: each backend asked once for its models, all at the same time."""

import asyncio  # noqa: TID251 - an entry point: it runs the loop
from typing import NamedTuple

from arriero import compose
from arriero.config import BackendConfig, Config
from arriero.errors import ArrieroError

PROBE_SECONDS = 10.0
"""How long a backend may take that has no `check_timeout`."""


class ProbeResult(NamedTuple):
    """What one backend said. `error` is a sentence, `None` if it answered; `models` are its ids."""

    name: str
    kind: str
    where: str
    models: tuple[str, ...] = ()
    error: str | None = None


def probe(config: Config) -> list[ProbeResult]:
    """Ask every backend, in the order of the configuration. Raises nothing for a backend that fails."""
    return asyncio.run(_probe(config))


async def _probe(config: Config) -> list[ProbeResult]:
    return list(await asyncio.gather(*(_ask(config, backend) for backend in config.backends)))


async def _ask(config: Config, backend: BackendConfig) -> ProbeResult:
    where = str(getattr(backend, "url", "this machine"))
    try:
        reached = compose.build_backend(config, backend)
    except ArrieroError as error:
        return ProbeResult(backend.name, backend.kind, where, error=error.message)
    seconds = float(getattr(backend, "check_timeout", PROBE_SECONDS))
    try:
        async with asyncio.timeout(seconds):
            cards = await reached.list_models()
    except ArrieroError as error:
        return ProbeResult(backend.name, backend.kind, where, error=error.message)
    except TimeoutError:
        return ProbeResult(backend.name, backend.kind, where, error=f"no answer within {seconds:g} seconds")
    finally:
        await reached.close()
    return ProbeResult(backend.name, backend.kind, where, tuple(card.id for card in cards))
