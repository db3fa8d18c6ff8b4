"""What is true of the counts whatever the exchanges are, and whenever somebody looks."""

from collections import Counter
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from arriero.canonical.events import Usage
from arriero.errors import (
    BackendFailed,
    BackendRefused,
    BadRequest,
    Busy,
    ClientGone,
    InternalError,
    ModelNotFound,
)
from arriero.gateway.counts import BOUNDS, BackendCount, Count, ModelCount
from arriero.gateway.outcome import Outcome
from arriero.gateway.tally import Tally
from support.tallied import CHAT, START_NS, good, recorded, slots


@given(st.lists(st.tuples(st.integers(0, 700_000), st.integers(0, 700_000) | st.none())))
def test_every_value_is_in_the_bucket_of_the_first_bound_that_it_does_not_exceed(
    times: list[tuple[int, int | None]],
) -> None:
    tally = Tally()
    for ms, first_ms in times:
        first_byte_ns = None if first_ms is None else START_NS + first_ms * 1_000_000
        tally.record(good(first_byte_ns=first_byte_ns), CHAT, START_NS + ms * 1_000_000)
    if times:
        count = tally.backends["gpu1"]
        whole, first = [ms for ms, _ in times], [ms for _, ms in times if ms is not None]
        for histogram, values in ((count.seconds, whole), (count.first_byte, first)):
            assert histogram.count == len(values)
            assert histogram.total == pytest.approx(sum(values) / 1e3)
            for number, bound in enumerate(BOUNDS):
                assert sum(histogram.buckets[: number + 1]) == sum(ms <= bound * 1000 for ms in values)


ON_A_BOUND = [(place, int(bound * 1000)) for place, bound in enumerate(BOUNDS)]


@pytest.mark.parametrize(("place", "ms"), ON_A_BOUND)
def test_a_value_on_a_bound_is_in_its_bucket(place: int, ms: int) -> None:
    count = recorded(good(first_byte_ns=START_NS + ms * 1_000_000), ms=ms).backends["gpu1"]
    assert [count.seconds.buckets[place], count.first_byte.buckets[place]] == [1, 1]
    later = recorded(good(first_byte_ns=START_NS + ms * 1_000_000), ms=ms + 1).backends["gpu1"]
    assert [later.seconds.buckets[place + 1], later.first_byte.buckets[place]] == [1, 1]


ERRORS = st.sampled_from(
    [
        None,
        BackendRefused("no"),
        BackendFailed("oops"),
        ClientGone("left"),
        Busy(),
        ModelNotFound("m"),
        BadRequest("no"),
    ]
)
OUTCOMES = st.builds(
    Outcome,
    model=st.sampled_from([None, "a", "b", "c"]),
    backend=st.sampled_from([None, "gpu1", "gpu2"]),
    attempts=st.integers(0, 3),
    error=ERRORS,
    received_bytes=st.integers(0, 100),
    usage=st.sampled_from([None, Usage(1, 2)]),
    loose=st.booleans(),
    fallback=st.booleans(),
    alias=st.sampled_from([None, "a"]),
    relayed=st.sampled_from([None, True, False]),
    status=st.sampled_from([None, 200, 304, 404, 500]),
    first_byte_ns=st.sampled_from([None, START_NS + 70_000_000]),
)


def everything(tally: Tally) -> object:
    """Whatever somebody who looks can see."""

    def told(count: Count) -> dict[str, object]:
        values = slots(count)
        if isinstance(count, ModelCount):
            values["backends"] = {name: slots(pair) for name, pair in count.backends.items()}
        if isinstance(count, BackendCount):
            values["times"] = [(each.buckets, each.total) for each in (count.seconds, count.first_byte)]
        return values

    return (
        told(tally.total),
        told(tally.unplaced),
        {name: told(count) for name, count in tally.backends.items()},
        {name: told(count) for name, count in tally.models.items()},
        {name: told(count) for name, count in tally.dialects.items()},
        (tally.trouble.errors, tally.trouble.retries),
    )


KINDS: tuple[tuple[Outcome, str, bool | None], ...] = (
    *((good(), "/api/chat", streamed) for streamed in (None, True, False)),
    (good(), "/v1/messages", None),
    *(
        (outcome, "/api/chat", None)
        for outcome in (
            good(model="llama3"),
            good(model=None),
            good(backend="gpu2"),
            good(backend=None),
            good(status=None),
            good(status=304),
            good(relayed=False),
            good(relayed=None),
            good(attempts=2),
            good(attempts=2, alias="qwen3:4b"),
            good(loose=True),
            good(fallback=True),
            good(status=None, error=BackendRefused("no", status=404)),
            good(status=None, error=BackendRefused("no", status=999)),
            good(error=BackendFailed("oops")),
            good(error=BackendFailed("oops"), attempts=2),
            good(error=InternalError("ours")),
            good(error=BackendFailed("oops", type="vendor_error")),
            good(error=ClientGone("left")),
        )
    ),
)
"""Exchanges that are told apart: each differs from another one in a single thing."""


def parts(*exchanges: tuple[Outcome, str, bool | None]) -> Counter[tuple[str, ...]]:
    """What adds up, of all that is counted for these."""
    tally = Tally()
    for outcome, path, streamed in exchanges:
        tally.record(outcome, replace(CHAT, path=path), START_NS, streamed=streamed)
    found: Counter[tuple[str, ...]] = Counter()

    def add(count: Count, *name: str) -> None:
        for word in ("requests", "failures", "gone", "answers", "hits", "misses", "fallbacks", "relayed", "streamed"):
            found[*name, word] += getattr(count, word, 0)

    add(tally.total, "total")
    for name, dialect in tally.dialects.items():
        add(dialect, "dialect", name)
        found["dialect", name, "whole"] += dialect.whole
        for backend, times in dialect.translated.items():
            found["dialect", name, "translated", backend] += times
    for name, placed in (*tally.backends.items(), ("", tally.unplaced)):
        for word, times in placed.statuses.items():
            found["backend", name, word] += times
    for model in tally.models.values():  # the name of one may be known by another
        add(model, "model")
        for name, pair in model.backends.items():
            add(pair, "pair", name)
    for (type, blame), times in tally.trouble.errors.items():
        found["error", type, blame] += times
    found["retries",] += tally.trouble.retries
    return +found


def test_exchanges_of_different_kinds_are_never_taken_for_each_other() -> None:
    for one, other in product(KINDS, KINDS):
        assert parts(one, other) == parts(one) + parts(other), (one, other)


@given(st.lists(st.tuples(OUTCOMES, st.integers(0, 9), st.sampled_from([None, True, False]), st.booleans())))
def test_whoever_looks_changes_nothing(exchanges: list[tuple[Outcome, int, bool | None, bool]]) -> None:
    """Looking between the exchanges, after each of them, and at the end only give the same counts."""
    now_and_then, always, once = Tally(), Tally(), Tally()
    for outcome, seconds, streamed, look in exchanges:
        for tally in (now_and_then, always, once):
            if outcome.backend is not None:
                tally.attempt(outcome.backend, outcome.error)
            tally.record(outcome, CHAT, START_NS + seconds * 1_000_000_000, streamed=streamed)
        if look:
            everything(now_and_then)
        everything(always)
    assert everything(now_and_then) == everything(always) == everything(once)


@given(st.lists(OUTCOMES))
def test_each_exchange_counts_once_in_each_sum(outcomes: list[Outcome]) -> None:
    tally = recorded(*outcomes)
    assert tally.total.requests == len(outcomes)
    assert sum(count.requests for count in tally.models.values()) == sum(o.model is not None for o in outcomes)
    placed = [tally.unplaced, *tally.backends.values()]
    assert sum(sum(count.statuses.values()) for count in placed) == len(outcomes)
    sums = [sum(count.received_bytes for count in counts) for counts in (placed, tally.dialects.values())]
    assert sums == [tally.total.received_bytes] * 2
    named = sum(o.received_bytes for o in outcomes if o.model is not None)
    assert sum(count.received_bytes for count in tally.models.values()) == named
    for count in (tally.total, *placed, *tally.models.values()):
        assert count.successes >= count.answers >= 0
        assert count.success is None or 0 <= count.success <= 1
