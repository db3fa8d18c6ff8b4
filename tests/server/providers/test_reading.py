"""What is known of a provider, of one in each condition and of several as one."""

from msgspec.structs import replace

from arriero.canonical.catalog import Capability, ModelCard
from arriero.errors import (
    ArrieroError,
    BackendFailed,
    BackendOverloaded,
    BackendRefused,
    BackendTimeout,
    BackendUnauthorized,
    BackendUnreachable,
    ClientGone,
)
from arriero.gateway.counts import BackendCount
from arriero.gateway.entry import Seat
from arriero.gateway.roster import Roster
from arriero.gateway.tally import Tally
from arriero.routing.breaker import Breaker, Phase
from arriero.routing.fleet import State
from arriero.server.providers.reading import Reading, Readings
from support.olla_fleet import NOW, WALL, Resting, fleet, tally


def reading(**other: object) -> Reading:
    """A healthy Ollama server that nobody has asked anything."""
    fields: dict[str, object] = {
        "name": "alpha",
        "type": "ollama",
        "kind": "ollama",
        "state": "healthy",
        "healthy": True,
        "timed_out": False,
        "trouble": None,
        "trouble_type": None,
        "failure": None,
        "priority": 100,
        "requests": 0,
        "failures": 0,
        "gone": 0,
        "answers": 0,
        "total_ms": 0.0,
        "min_ms": None,
        "max_ms": None,
        "in_flight": 0,
        "breaker": Phase.CLOSED,
        "failures_in_row": 0,
        "last_failure_at": None,
        "last_at": None,
        "check_at": WALL - 2,
        "check_ms": 85.3,
        "models": 2,
    }
    return Reading(**{**fields, **other})  # type: ignore[arg-type]


def readings(roster: Roster, counts: Tally | None = None) -> dict[str, Reading]:
    return {one.name: one for one in Readings(roster, counts or Tally()).all()}


# ---- one -----------------------------------------------------------------------------------------------------------


async def test_a_provider_in_each_condition() -> None:
    found = readings(await fleet(), tally())
    assert found == {
        "alpha": reading(
            requests=20,
            failures=1,
            answers=19,
            total_ms=19 * 120.4,
            min_ms=80.6,
            max_ms=2400.2,
            in_flight=2,
        ),
        "beta": reading(
            name="beta",
            type="vllm",
            kind="openai",
            healthy=False,
            trouble="circuit breaker open for 12 s more",
            breaker=Phase.OPEN,
            failures_in_row=5,
            models=1,
        ),
        "gamma": reading(
            name="gamma",
            state="offline",
            healthy=False,
            trouble="gamma refused the connection",
            trouble_type=BackendUnreachable("").type,
            priority=200,
            check_ms=None,
        ),
        "delta": reading(
            name="delta",
            type="openai",
            kind="openai",
            state="rate_limited",
            healthy=False,
            trouble="rate limited; it wants to be left alone for 25 s more",
            priority=50,
            models=1,
        ),
    }


async def test_one_that_was_not_asked_yet_is_not_healthy_and_has_no_trouble() -> None:
    roster = await fleet()
    entry = roster.entries["alpha"]
    entry.state, entry.check_at, entry.check_seconds = State.UNKNOWN, None, None
    one = readings(roster)["alpha"]
    assert (one.healthy, one.state, one.trouble, one.check_at, one.check_ms) == (False, "unknown", None, None, None)


async def test_a_breaker_whose_trial_is_under_way_says_so() -> None:
    roster = await fleet()
    roster.entries["beta"].breaker = Breaker(5, counted_at=NOW - 40, admits_at=NOW + 20, trial=NOW - 1)
    one = readings(roster)["beta"]
    assert (one.healthy, one.breaker, one.trouble) == (
        False,
        Phase.HALF_OPEN,
        "circuit breaker half open, its trial under way",
    )


async def test_a_check_that_ran_out_of_time() -> None:
    roster = await fleet()
    entry = roster.entries["gamma"]
    entry.error = BackendTimeout("gamma did not answer its check within 2 s")
    assert readings(roster)["gamma"].timed_out
    entry.state, entry.error = State.HEALTHY, None
    assert not readings(roster)["gamma"].timed_out


async def failed(error: ArrieroError) -> tuple[str | None, float | None]:
    """The sentence and the time of an attempt's failure."""
    roster = await fleet()
    roster.note(roster.entries["alpha"], error, NOW - 1, before_head=True)
    one = readings(roster)["alpha"]
    return one.failure, one.last_failure_at


async def test_the_last_failure_is_told_where_it_is_about_the_backend() -> None:
    for error in (
        BackendUnreachable("alpha refused the connection"),
        BackendTimeout("alpha did not begin to answer within 60 s"),
        BackendUnauthorized("OpenRouter API error: 401 Unauthorized"),
        BackendOverloaded("OpenRouter API error: 429 Too Many Requests", status=429),
    ):
        assert await failed(error) == (error.message, WALL)


async def test_what_may_repeat_somebodys_prompt_is_not_told_to_everybody() -> None:
    error = BackendFailed("cannot parse 'my secret prompt'", status=500, type="openrouter_error")
    assert await failed(error) == ("openrouter_error, answered to the client with status 500", WALL)


async def test_what_is_not_the_backends_fault_is_no_failure_of_it() -> None:
    for error in (BackendRefused("no such field"), ClientGone("the client left")):
        assert await failed(error) == (None, None)


def test_rates_before_the_first_request_are_unknown() -> None:
    one = reading()
    assert (one.error_rate, one.average_ms, one.successes) == (None, None, 0)


def test_rates() -> None:
    one = reading(requests=20, failures=1, gone=4, answers=14, total_ms=700.0)
    assert (one.error_rate, one.average_ms, one.successes) == (0.05, 50.0, 15)


# ---- several -------------------------------------------------------------------------------------------------------


async def test_several_are_their_sum() -> None:
    roster, counts = await fleet(), tally()
    gamma = counts.backends["gamma"] = BackendCount()
    gamma.requests, gamma.failures, gamma.gone, gamma.answers = 5, 3, 1, 1
    gamma.total_ms = gamma.min_ms = gamma.max_ms = 7.5
    gamma.last_at = WALL - 60
    alpha = roster.entries["alpha"]
    alpha.check_at = WALL - 1
    together = Readings(roster, counts).together("ollama", ("alpha", "gamma"))
    assert together == reading(
        name="alpha, gamma",
        trouble="gamma: gamma refused the connection",
        priority=200,
        requests=25,
        failures=4,
        gone=1,
        answers=20,
        total_ms=19 * 120.4 + 7.5,
        min_ms=7.5,
        max_ms=2400.2,
        in_flight=2,
        last_at=WALL - 60,
        check_at=WALL - 1,
        models=3,  # one of them is on both
    )


async def test_one_alone_is_as_it_is() -> None:
    roster = await fleet()
    assert Readings(roster, Tally()).together("vllm", ("beta",)) == readings(roster)["beta"]


async def test_where_none_is_healthy_the_mildest_breaker_stands_for_all() -> None:
    together = Readings(await fleet(), Tally()).together("openai", ("beta", "delta"))
    assert (together.healthy, together.type, together.breaker) == (False, "openai", Phase.CLOSED)
    assert together.trouble == (
        "beta: circuit breaker open for 12 s more; delta: rate limited; it wants to be left alone for 25 s more"
    )


async def test_the_last_failure_of_several_is_the_latest() -> None:
    roster = await fleet()
    for name, seconds in (("alpha", 9.0), ("gamma", 5.0)):
        entry = roster.entries[name]
        roster.note(entry, BackendUnreachable(f"{name} refused the connection"), NOW - 1, before_head=True)
        assert entry.last_failure is not None
        entry.last_failure = replace(entry.last_failure, at=WALL - seconds)
    together = Readings(roster, Tally()).together("ollama", ("alpha", "gamma"))
    assert (together.failure, together.last_failure_at) == ("gamma refused the connection", WALL - 5.0)


async def test_capabilities_are_those_that_any_model_has() -> None:
    found = Readings(await fleet(), Tally())
    own = frozenset({Capability.COMPLETION, Capability.TOOLS, Capability.EMBEDDING})
    assert found.capabilities(("alpha",)) == own
    assert found.capabilities(("alpha", "delta")) == own | {Capability.VISION}


async def test_capabilities_that_nobody_told_are_unknown() -> None:
    silent = Resting("silent", "openai", "http://10.0.0.9:8000/v1", ModelCard(id="some-model"), profile="generic")
    roster = await fleet([(silent, Seat())])  # type: ignore[list-item]
    assert Readings(roster, Tally()).capabilities(("silent",)) is None
