"""arriero's own series for a scripted tally over a known fleet: every sample, as Prometheus reads it."""

import platform

import arriero
from arriero.errors import BackendFailed, BackendTimeout, BadRequest, ClientGone
from arriero.gateway.outcome import Outcome
from arriero.gateway.tally import MAX_ERRORS, Tally
from arriero.server.series import SERIES
from support.olla_fleet import WALL
from support.scraped import Samples, kinds, names, per, read, said, scrape, scripted

# ---- counts --------------------------------------------------------------------------------------------------------


async def test_counts() -> None:
    told = read(await scrape(scripted()), "arriero_")
    counted = {name: value for name, value in told.items() if "_total" in name}
    assert counted == {
        "requests_total{backend=alpha,status_class=2xx}": 1,
        "requests_total{backend=alpha,status_class=4xx}": 1,
        "requests_total{backend=alpha,status_class=gone}": 1,
        "requests_total{backend=,status_class=4xx}": 1,
        "attempts_total{backend=gamma,result=backend_unreachable}": 1,
        "attempts_total{backend=alpha,result=ok}": 1,
        "attempts_total{backend=alpha,result=backend_refused}": 1,
        "attempts_total{backend=alpha,result=client_gone}": 1,
        "retries_total": 1,
        "fallbacks_total": 0,
        "errors_total{blame=client,type=backend_error}": 1,
        "errors_total{blame=nobody,type=client_gone}": 1,
        "errors_total{blame=client,type=model_not_found}": 1,
        "refused_total{reason=rate_limited}": 1,
        "refused_total{reason=too_large}": 1,
        **tokens(alpha=(10, 20), beta=(0, 0), gamma=(0, 0), delta=(0, 0)),
        **per("received_bytes_total", "backend", alpha=2048, beta=0, gamma=0, delta=0),
        "dialect_requests_total{dialect=ollama,way=relayed}": 0,
        "dialect_requests_total{dialect=ollama,way=translated}": 0,
        "dialect_requests_total{dialect=ollama,way=neither}": 4,
        "dialect_answers_total{dialect=ollama,form=streamed}": 0,
        "dialect_answers_total{dialect=ollama,form=whole}": 0,
        "model_requests_total{model=llama3.2,result=ok}": 2,
        "model_requests_total{model=llama3.2,result=failed}": 0,
        "model_requests_total{model=llama3.2,result=gone}": 1,
        "model_tokens_total{direction=input,model=llama3.2}": 10,
        "model_tokens_total{direction=output,model=llama3.2}": 20,
    }


def tokens(**backends: tuple[int, int]) -> Samples:
    """In and out of each."""
    return {
        f"tokens_total{{backend={name},direction={way}}}": n
        for name, pair in backends.items()
        for way, n in zip(("input", "output"), pair, strict=True)
    }


async def test_ways_and_forms_of_each_dialect() -> None:
    tally = Tally()
    for relayed, streamed in ((True, True), (True, False), (False, True), (None, None)):
        said(tally, Outcome(model="llama3.2", backend="alpha", attempts=1, relayed=relayed), ms=1, streamed=streamed)
    told = read(await scrape(tally), "arriero_dialect_")
    assert told == {
        "requests_total{dialect=ollama,way=relayed}": 2,
        "requests_total{dialect=ollama,way=translated}": 1,
        "requests_total{dialect=ollama,way=neither}": 1,
        "answers_total{dialect=ollama,form=streamed}": 2,
        "answers_total{dialect=ollama,form=whole}": 1,
    }


async def test_retries_and_fallbacks() -> None:
    tally = Tally()
    said(tally, Outcome(model="llama3.2", backend="alpha", attempts=3), ms=1)
    said(tally, Outcome(model="llama3.2", backend="alpha", attempts=2, fallback=True), ms=1)
    said(tally, Outcome(model="llama3.2", backend="alpha", attempts=1), ms=1)
    told = read(await scrape(tally), "arriero_")
    assert (told["retries_total"], told["fallbacks_total"]) == (3, 1)


async def test_errors_by_type_and_by_who_has_to_act() -> None:
    tally = Tally()
    failed = BackendFailed("oops", type="openrouter_error")
    for error in (
        failed,
        failed,
        BackendTimeout("idle", type="openrouter_error"),
        BadRequest("no"),
        ClientGone("left"),
    ):
        said(tally, Outcome(model="llama3.2", backend="alpha", attempts=1, error=error), ms=1)
    assert read(await scrape(tally), "arriero_errors_total") == {
        "{blame=backend,type=openrouter_error}": 3,
        "{blame=client,type=validation_error}": 1,
        "{blame=nobody,type=client_gone}": 1,
    }


async def test_types_of_errors_are_bounded() -> None:
    tally = Tally()
    for n in range(MAX_ERRORS + 50):
        error = BackendFailed("oops", type=f"vendor{n}_error")
        said(tally, Outcome(model="llama3.2", backend="alpha", attempts=1, error=error), ms=1)
    told = read(await scrape(tally), "arriero_errors_total")
    assert len(told) == MAX_ERRORS + 1
    assert (told["{blame=backend,type=other}"], sum(told.values())) == (50, MAX_ERRORS + 50)


async def test_histograms_count_from_below() -> None:
    text = await scrape(scripted())
    alpha = "backend=alpha"
    told = read(text, "arriero_first_byte_seconds")
    assert {name: value for name, value in told.items() if alpha in name} == {
        **{f"_bucket{{{alpha},le={le}}}": 0 for le in ("0.05", "0.1")},
        **{f"_bucket{{{alpha},le={le}}}": 1 for le in BOUNDS_ABOVE},
        f"_count{{{alpha}}}": 1,
        f"_sum{{{alpha}}}": 0.2,
    }
    told = read(text, "arriero_request_seconds")
    assert {name: value for name, value in told.items() if alpha in name} == {
        **{f"_bucket{{{alpha},le={le}}}": 1 for le in ("0.05", "0.1", "0.25", "0.5")},
        **{f"_bucket{{{alpha},le={le}}}": 2 for le in ("1.0", "2.5")},
        **{f"_bucket{{{alpha},le={le}}}": 3 for le in BOUNDS_ABOVE[4:]},
        f"_count{{{alpha}}}": 3,
        f"_sum{{{alpha}}}": 5.03,
    }
    assert told["_count{backend=beta}"] == 0


BOUNDS_ABOVE = ("0.25", "0.5", "1.0", "2.5", "5.0", "10.0", "20.0", "30.0", "60.0", "120.0", "300.0", "600.0", "+Inf")


# ---- the fleet now -------------------------------------------------------------------------------------------------


async def test_the_state_of_the_fleet() -> None:
    told = read(await scrape(Tally()), "arriero_")
    states = {name: value for name, value in told.items() if name.partition("{")[0].endswith("_state")}
    assert {name for name, value in states.items() if value} == {
        "breaker_state{backend=alpha,state=closed}",
        "breaker_state{backend=beta,state=open}",
        "breaker_state{backend=gamma,state=closed}",
        "breaker_state{backend=delta,state=closed}",
        "backend_state{backend=alpha,state=healthy}",
        "backend_state{backend=beta,state=healthy}",
        "backend_state{backend=gamma,state=offline}",
        "backend_state{backend=delta,state=rate_limited}",
    }
    assert states["breaker_state{backend=beta,state=half_open}"] == 0
    assert len([name for name in states if name.startswith("breaker_state")]) == 4 * 3
    assert len([name for name in states if name.startswith("backend_state")]) == 4 * 7


async def test_gauges_of_the_fleet() -> None:
    text = await scrape(Tally())
    gauges = {name.removeprefix("arriero_") for name in names(kinds(text), "gauge")}
    told = {
        name: value
        for name, value in read(text, "arriero_").items()
        if (family := name.partition("{")[0]) in gauges and not family.endswith("_state")
    }
    build = f"build_info{{policy=least-connections,python={platform.python_version()},version={arriero.__version__}}}"
    assert told == {
        **per("in_flight", "backend", alpha=2, beta=0, gamma=0, delta=0),
        "queue_waiting": 0,
        "queue_limit": 512,
        **per("backend_up", "backend", alpha=1, beta=1, gamma=0, delta=0),
        **{f"check_timestamp_seconds{{backend={name}}}": WALL - 2 for name in ("alpha", "beta", "gamma", "delta")},
        **per("check_seconds", "backend", alpha=0.0853, beta=0.0853, delta=0.0853),
        **per("check_failures", "backend", alpha=0, beta=0, gamma=7, delta=0),
        **per("models", "backend", alpha=2, beta=1, gamma=2, delta=1),
        **per("models_loaded", "backend", alpha=1),
        "models_listed": 4,
        "models_hidden": 0,
        build: 1,
        "start_timestamp_seconds": WALL - 9000,
    }


async def test_a_backend_that_has_left_keeps_its_counts() -> None:
    tally = Tally()
    tally.attempt("former", None)
    told = read(await scrape(tally), "arriero_")
    assert told["attempts_total{backend=former,result=ok}"] == 1
    assert "in_flight{backend=former}" not in told


async def test_odd_names_break_no_line() -> None:
    tally = Tally()
    tally.attempt('a"b\\c\nd', None)
    told = read(await scrape(tally), "arriero_attempts_total")
    assert told == {'{backend=a"b\\c\nd,result=ok}': 1}


# ---- the table -----------------------------------------------------------------------------------------------------


async def test_each_series_is_told_with_its_kind_and_meaning() -> None:
    text = await scrape(scripted())
    told = {name: kind for name, kind in kinds(text).items() if name.startswith("arriero_")}
    assert told == {one.name: one.kind for one in SERIES}
    assert names(told, "counter") == {name for name in told if name.endswith("_total")}
    assert all(f"# HELP {one.name} {one.meaning}\n" in text for one in SERIES)
