"""A start from Olla's configuration: its file and its variables as settings of arriero.

What each key becomes is the table in `olla_keys`; here is what takes several keys at once. Olla's own defaults hold for
what a client notices (address, limits); towards backends arriero's hold, which let a large model load.
"""

from pathlib import Path

from arriero.config import olla_endpoints, olla_reading
from arriero.config.draft import Draft
from arriero.config.environment import Variables
from arriero.config.olla_keys import KEYS, PRIVATE_NETWORKS
from arriero.config.olla_reading import OLLA, Reading, Said
from arriero.config.problems import Location

_LIMITS = ("server", "rate_limits")
_CORS = ("server", "cors")
_STRATEGY = ("model_registry", "routing_strategy")
_DISCOVERY = ("discovery", "model_discovery")


def take(draft: Draft, path: Path, variables: Variables, cwd: Path, home: Path) -> None:
    """Put what Olla's file and variables say into the draft, with every problem and a warning for each dead key."""
    reading = olla_reading.read(path, variables)
    for key in KEYS:
        if not key.setting:
            continue
        if (said := reading.find(*key.name.split("."))) is not None:
            draft.set(key.setting, said.value, said.origin, said.place)
        elif key.default is not None:
            draft.set(key.setting, key.default, OLLA)
    # A balancer that is named does what its name says; arriero's own preference would overrule it.
    draft.set("routing.prefer_loaded", False, OLLA)
    _take_cors(draft, reading)
    _take_proxies(draft, reading)
    _take_strategy(draft, reading)
    _take_aliases(draft, reading)
    _check_interval(reading)
    draft.data["backends"] = []
    tiers = reading.value("proxy", "load_balancer") == "priority"
    for endpoint in olla_endpoints.read(reading, cwd, home):
        if not tiers:
            endpoint.entry.pop("priority", None)  # Olla's other balancers know none; here it would count for all
        draft.add(endpoint.entry, endpoint.origins, endpoint.places)
    draft.problems += reading.problems
    draft.warnings += reading.warnings


def _take_cors(draft: Draft, reading: Reading) -> None:
    enabled = reading.find(*_CORS, "enabled")
    if enabled is None or not enabled.value:
        return
    named = reading.find(*_CORS, "allowed_origins")
    origins = Said(["*"], enabled.origin, enabled.place) if named is None or not named.value else named
    draft.set("server.cors_origins", origins.value, origins.origin, origins.place)
    credentials = reading.find(*_CORS, "allow_credentials")
    if credentials is not None and credentials.value:
        if "*" in origins.value:
            reading.problems.append(
                f"{credentials.place}: not together with the origin '*': any page could act for its reader; "
                "name the origins in server.cors.allowed_origins"
            )
        else:
            draft.set("server.cors_credentials", True, credentials.origin, credentials.place)


def _take_proxies(draft: Draft, reading: Reading) -> None:
    trusts, named = (reading.find(*_LIMITS, key) for key in ("trust_proxy_headers", "trusted_proxy_cidrs"))
    if trusts is not None and trusts.value:
        networks = Said(list(PRIVATE_NETWORKS), OLLA, "") if named is None or not named.value else named
        draft.set("limits.trusted_proxies", networks.value, networks.origin, networks.place)


def _take_strategy(draft: Draft, reading: Reading) -> None:
    strategy = reading.find(*_STRATEGY, "type")
    if strategy is None:
        return
    anywhere = reading.value(*_STRATEGY, "options", "fallback_behavior") == "all"
    word = {"strict": "reject", "discovery": "discover", "optimistic": "any" if anywhere else "reject"}[strategy.value]
    draft.set("routing.unknown_model", word, strategy.origin, strategy.place)
    refresh: Location = (*_STRATEGY, "options", "discovery_refresh_on_miss")
    if strategy.value == "discovery" and reading.value(*refresh) is False:
        reading.warn(refresh, "is ignored: `discovery` reads the lists again on a miss in any case")


def _take_aliases(draft: Draft, reading: Reading) -> None:
    routing = draft.data["routing"]
    for name, said in reading.below("model_aliases"):
        if not said.value:
            reading.warnings.append(f"{said.origin}: model_aliases.{name} is ignored: it names no model")
            continue
        aliases = routing.setdefault("aliases", {})
        draft.put(("routing", "aliases"), aliases, name, said.value, said.origin, said.place)


def _check_interval(reading: Reading) -> None:
    said = reading.find(*_DISCOVERY, "interval")
    if said is not None and said.value == 0:
        reading.problem((*_DISCOVERY, "interval"), "must be greater than 0")
