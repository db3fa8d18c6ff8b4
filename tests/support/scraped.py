"""A tally of known exchanges, and its text as Prometheus reads it, sample by sample."""

from collections.abc import Mapping

from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families as families

from arriero.backends.http.call import Headers
from arriero.canonical.events import Usage
from arriero.errors import BackendRefused, BackendUnreachable, ClientGone, ModelNotFound
from arriero.gateway.outcome import Outcome
from arriero.gateway.roster import Roster
from arriero.gateway.tally import Tally
from arriero.server.metrics import Metrics
from support.lanes import KeptLane, inbound
from support.olla_fleet import WALL, Site, fleet

ENDED_NS = (int(WALL) - 10) * 1_000_000_000

Samples = dict[str, float]


def said(
    tally: Tally,
    outcome: Outcome,
    *,
    ms: int,
    client: str = "10.0.0.9",
    first_byte_ms: int | None = None,
    streamed: bool | None = None,
) -> None:
    """One exchange that ended ten seconds before the scrape."""
    received_ns = ENDED_NS - ms * 1_000_000
    if first_byte_ms is not None:
        outcome.first_byte_ns = received_ns + first_byte_ms * 1_000_000
    request = replace(inbound("POST", "/api/chat"), client=client, received_ns=received_ns)
    tally.record(outcome, request, ENDED_NS, streamed=streamed)


def scripted() -> Tally:
    """A request that `alpha` saved from `gamma`, one that `alpha` refused, one whose client left, an unknown name."""
    tally = Tally()
    tally.attempt("gamma", BackendUnreachable("refused"))
    tally.attempt("alpha", None)
    saved = Outcome(model="llama3.2", backend="alpha", attempts=2, status=200, usage=Usage(10, 20), received_bytes=2048)
    said(tally, saved, ms=4000, first_byte_ms=200)
    tally.attempt("alpha", BackendRefused("no tools"))
    refused = Outcome(model="llama3.2", backend="alpha", attempts=1, status=400, error=BackendRefused("no tools"))
    said(tally, refused, ms=30, client="::1")
    tally.attempt("alpha", ClientGone("left"))
    said(tally, Outcome(model="llama3.2", backend="alpha", attempts=1, error=ClientGone("left")), ms=1000)
    said(tally, Outcome(model="nope", error=ModelNotFound("nope"), status=404), ms=1)
    tally.security.limit("10.9.9.9", WALL)
    tally.security.oversize()
    return tally


async def scrape(tally: Tally, *, roster: Roster | None = None, headers: Headers = ()) -> str:
    """The text, from the route."""
    return (await scraped(tally, roster=roster, headers=headers)).body.decode()


async def scraped(tally: Tally, *, roster: Roster | None = None, headers: Headers = ()) -> KeptLane:
    """The whole answer."""
    roster = roster or await fleet()
    site = Site(*Metrics(roster, tally, started=WALL - 9000, policy="least-connections").routes)
    lane = await site.ask("/internal/metrics", headers=headers)
    assert lane.status == 200
    return lane


def read(text: str, prefix: str = "") -> Samples:
    """Sample by sample, under its name and labels as they are written, in the order of their names."""
    found: Samples = {}
    for family in families(text):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sample.labels.items())
            name = f"{sample.name}{{{labels}}}" if labels else sample.name
            assert name not in found, "a sample comes once"
            if name.startswith(prefix):
                found[name.removeprefix(prefix)] = sample.value
    return found


def per(name: str, label: str, **values: float) -> Samples:
    """A sample for each of these."""
    return {f"{name}{{{label}={one}}}": value for one, value in values.items()}


def kinds(text: str) -> dict[str, str]:
    """The kind of each family."""
    return {line.split()[2]: line.split()[3] for line in text.splitlines() if line.startswith("# TYPE ")}


def names(told: Mapping[str, str], kind: str) -> set[str]:
    """The families of one kind."""
    return {name for name, of in told.items() if of == kind}
