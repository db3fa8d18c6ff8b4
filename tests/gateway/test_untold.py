"""Backends in every condition in, why an unknown name is not the client's mistake out."""

from typing import Any

import pytest

from arriero.canonical.catalog import ModelCard
from arriero.errors import (
    AmbiguousModel,
    ArrieroError,
    BackendFailed,
    BackendOverloaded,
    BackendTimeout,
    BackendUnauthorized,
    BackendUnreachable,
    ModelNotFound,
    NoBackend,
)
from arriero.gateway.entry import Entry, Seat
from arriero.gateway.roster import Bylaws, Roster
from arriero.gateway.untold import misconfigured, unlisted
from arriero.routing.fleet import State
from support.choosing import fleet
from support.plain import Plain, entry_of

REFUSED = BackendUnauthorized("look at KEY")
AWAY = BackendUnreachable("away refused the connection")
LATE = BackendTimeout("late did not answer its check within 2 s")
BROKEN = BackendFailed("the backend answered HTTP 500", status=500)


def entry(name: str, state: State, error: ArrieroError | None = None, *ids: str) -> Entry:
    made = entry_of(name)
    made.state, made.error, made.cards = state, error, tuple(ModelCard(id=id) for id in ids)
    return made


def demo() -> Entry:
    """An engine that lists what lies on this machine."""
    made = entry("local", State.HEALTHY, None, "arriero-demo:latest")
    made.backend.curated = True
    return made


def said(error: ArrieroError | None) -> tuple[Any, ...] | None:
    return None if error is None else (type(error), error.message, error.status, error.type, error.retry_after)


REFUSES = entry("refuses", State.CONFIG_ERROR, REFUSED)
OFFLINE = entry("away", State.OFFLINE, AWAY)
SILENT = entry("late", State.OFFLINE, LATE)
ILL = entry("ill", State.UNHEALTHY, BROKEN)
EMPTY = entry("empty", State.HEALTHY)
TELLS = entry("tells", State.OFFLINE, AWAY, "m")


@pytest.mark.parametrize(
    ("entries", "error"),
    [
        ([REFUSES], REFUSED),
        ([OFFLINE, REFUSES, demo()], REFUSED),
        ([REFUSES, TELLS], None),
        ([OFFLINE, ILL, EMPTY], None),
        ([entry("new", State.CONFIG_ERROR)], None),
        ([], None),
    ],
)
def test_a_backend_that_is_configured_wrong_is_told_of(entries: list[Entry], error: ArrieroError | None) -> None:
    assert said(misconfigured([*entries])) == said(error)


@pytest.mark.parametrize(
    ("entries", "error"),
    [
        ([OFFLINE], AWAY),
        ([demo(), OFFLINE, SILENT], AWAY),
        ([ILL, SILENT], LATE),
        ([EMPTY, OFFLINE], AWAY),
        ([ILL, EMPTY], NoBackend("the models of ill are not known: the backend answered HTTP 500")),
        (
            [ILL, entry("odd", State.UNHEALTHY)],
            NoBackend(
                "the models of ill are not known: the backend answered HTTP 500; "
                "the models of odd are not known: unhealthy"
            ),
        ),
        # Who has told once may be away: the name is unknown then.
        ([TELLS, OFFLINE], None),
        ([entry("slow", State.BUSY), EMPTY], None),
        ([entry("new", State.UNKNOWN)], None),
        ([demo()], None),
        ([], None),
    ],
)
def test_backends_that_are_not_well_are_told_of(entries: list[Entry], error: ArrieroError | None) -> None:
    assert said(unlisted([*entries], 100.0)) == said(error)


def test_who_wants_to_be_left_alone_says_for_how_long() -> None:
    limited = [entry(name, State.RATE_LIMITED, BackendOverloaded("slow down", status=429)) for name in "ab"]
    limited[0].cooling_until, limited[1].cooling_until = 130.0, 107.0
    text = "the models of a are not known: slow down; the models of b are not known: slow down"
    assert said(unlisted(limited, 100.0)) == (NoBackend, text, 503, "no_backend", 7.0)


def test_each_request_has_an_error_of_its_own() -> None:
    assert misconfigured([REFUSES]) is not REFUSED
    assert unlisted([OFFLINE], 100.0) is not AWAY


# ---- where it counts -----------------------------------------------------------------------------------------------


async def nobody(error: ArrieroError, **bylaws: Any) -> Roster:
    """Two that have not told anything: one answers with this error, the other's models are those of this machine."""
    failing, local = Plain("failing"), Plain("local", "a/x", "b/x")
    failing.list_answer, local.curated = error, True
    return await fleet(failing, local, bylaws=Bylaws(**bylaws))


async def told(roster: Roster, model: str, scope: str | None = None) -> ArrieroError:
    with pytest.raises(ArrieroError) as raised:
        await roster.resolve(model, scope)
    return raised.value


@pytest.mark.parametrize("error", [REFUSED, AWAY, LATE])
async def test_the_answer_at_the_front_is_why_nobody_knows_the_name(error: ArrieroError) -> None:
    assert said(await told(await nobody(error), "gpt-4o")) == said(error)


async def test_at_ollas_doors_only_a_wrong_key_counts() -> None:
    assert said(await told(await nobody(REFUSED), "gpt-4o", "proxy")) == said(REFUSED)
    for error in (AWAY, LATE, BROKEN):
        assert isinstance(await told(await nobody(error), "gpt-4o", "proxy"), ModelNotFound)


async def test_a_name_that_is_ambiguous_among_those_who_tell_stays_so() -> None:
    for error in (REFUSED, AWAY, BROKEN):
        assert isinstance(await told(await nobody(error), "x"), AmbiguousModel)


async def test_where_unknown_models_are_sent_on_nobody_has_to_tell() -> None:
    roster = await nobody(BROKEN, unknown_model="any")
    assert [offer.backend for offer in await roster.resolve("gpt-4o")] == ["failing"]
    assert said(await told(await nobody(REFUSED, unknown_model="any"), "gpt-4o")) == said(REFUSED)


async def test_models_that_the_operator_names_are_told() -> None:
    failing = Plain("failing")
    failing.list_answer = AWAY
    roster = await fleet(failing, seats=[Seat(check_interval=0, extra_models=("mine",))])
    assert isinstance(await told(roster, "gpt-4o"), ModelNotFound)


@pytest.mark.parametrize("error", [REFUSED, AWAY, LATE])
async def test_a_name_that_begins_with_one_who_tells_nothing_is_answered_with_his_error(error: ArrieroError) -> None:
    """Though others tell theirs: with two vendors and one wrong key nobody would find out why."""
    failing, well = Plain("failing"), Plain("well", "a/x")
    failing.list_answer = error
    roster = await fleet(failing, well)
    assert said(await told(roster, "failing/vendor/gpt-4o")) == said(error)
    for model in ("gpt-4o", "failing", "well/gpt-4o", "vendor/failing/gpt-4o"):
        assert isinstance(await told(roster, model), ModelNotFound)
