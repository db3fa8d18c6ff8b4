"""`/internal/metrics`: its formats, which models have series, and that no client can make it grow."""

import pytest
from msgspec.structs import replace
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families

from arriero.canonical.catalog import ModelCard
from arriero.errors import ModelNotFound
from arriero.gateway.entry import Seat
from arriero.gateway.outcome import Outcome
from arriero.gateway.tally import Tally
from arriero.server import metrics as module
from arriero.server.metrics import MAX_MODELS, Metrics
from support.lanes import KeptLane, inbound
from support.olla_fleet import WALL, Resting, fleet
from support.scraped import kinds, read, said, scrape, scraped, scripted

# ---- models and other words that strangers choose ------------------------------------------------------------------


async def test_models_that_the_catalog_does_not_know_are_no_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    tally = Tally()
    for model, times in (("gone:7b", 3), ("made-up", 9), ("acme/big", 2), ("llama3.2", 1), ("fast", 5)):
        for _ in range(times):
            said(tally, Outcome(model=model, backend="alpha", attempts=1, loose=model == "made-up"), ms=1)
    monkeypatch.setattr(module, "MAX_MODELS", 3)
    told = read(await scrape(tally), "olla_model_requests_total")
    assert told == {"{model=fast}": 5, "{model=gone:7b}": 3, "{model=acme/big}": 2}


async def test_of_many_models_those_that_were_asked_for_most_have_series() -> None:
    many = 2 * MAX_MODELS
    backend = Resting("alpha", "ollama", "http://10.0.0.1:11434", *(ModelCard(id=f"m{n}:1b") for n in range(many)))
    roster = await fleet([(backend, Seat())])  # type: ignore[list-item]
    tally = Tally()
    for n in range(many):
        for _ in range(1 + n // MAX_MODELS):
            said(tally, Outcome(model=f"m{n}:1b", backend="alpha", attempts=1), ms=1)
    told = read(await scrape(tally, roster=roster), "arriero_model_requests_total")
    often = {f"m{n}:1b" for n in range(MAX_MODELS, many)}
    assert told == {f"{{model={name},result={word}}}": 2 * (word == "ok") for name in often for word in RESULTS}


RESULTS = ("ok", "failed", "gone")


async def test_made_up_words_do_not_make_the_text_longer() -> None:
    async def lines(times: int) -> int:
        tally = scripted()
        for n in range(times):
            missing = Outcome(model=f"made-up-{n}", error=ModelNotFound("no"), status=404)
            said(tally, missing, ms=1, client=f"10.1.{n // 250}.{n % 250}")
            loose = Outcome(model=f"any-{n}", backend="alpha", attempts=1, loose=True)
            request = replace(inbound("POST", f"/v1/made/up/{n}"), received_ns=moment_ns())
            tally.record(loose, request, moment_ns())
        return len((await scrape(tally)).splitlines())

    assert await lines(5000) == await lines(1)


def moment_ns() -> int:
    """A moment before the scrape."""
    return (int(WALL) - 10) * 1_000_000_000


# ---- formats -------------------------------------------------------------------------------------------------------


async def test_the_text_names_its_format() -> None:
    lane = await scraped(Tally())
    assert lane.field(b"content-type") == b"text/plain; version=0.0.4; charset=utf-8"
    assert lane.field(b"vary") == b"Accept"
    assert lane.body.startswith(b"# HELP olla_info Build and configuration\n# TYPE olla_info gauge\nolla_info{")


async def test_the_text_without_ollas_names() -> None:
    whole = kinds(await scrape(scripted()))
    lane = KeptLane()
    roster = await fleet()
    await Metrics(roster, scripted(), started=WALL, policy="priority").text(inbound("GET", "/metrics"), lane)
    assert (lane.status, lane.field(b"content-type")) == (200, b"text/plain; version=0.0.4; charset=utf-8")
    own = kinds(lane.body.decode())
    assert own == {name: kind for name, kind in whole.items() if not name.startswith("olla_")}
    assert {"arriero_requests_total", "process_start_time_seconds"} <= set(own)


PROMETHEUS = (
    b"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    b"application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


async def test_a_client_that_reads_openmetrics_gets_it() -> None:
    lane = await scraped(scripted(), headers=((b"accept", PROMETHEUS),))
    assert lane.field(b"content-type") == b"application/openmetrics-text; version=1.0.0; charset=utf-8"
    text = lane.body.decode()
    assert text.endswith("# EOF\n")
    told = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in open_families(text)  # type: ignore[no-untyped-call]
        for sample in family.samples
    }
    assert told["arriero_tokens_total", ("backend", "alpha"), ("direction", "output")] == 20
    assert told["arriero_request_seconds_count", ("backend", "alpha")] == 3
    assert told["olla_endpoint_traffic_bytes", ("endpoint", "alpha")] == 2048
