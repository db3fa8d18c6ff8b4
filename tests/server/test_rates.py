"""Requests with their times in, shares and header fields out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.server.rates import ADDRESSES, RateRule, Rates, Share, fields

A, B = "10.0.0.1", "10.0.0.2"


def allowed(rates: Rates, *requests: tuple[str | None, float]) -> list[bool]:
    shares = [rates.take(address, now) for address, now in requests]
    return [share is not None and share.allowed for share in shares]


def test_without_a_limit_nothing_is_said() -> None:
    rates = Rates(RateRule())
    assert [rates.take(A, 0.0), rates.take(None, 0.0)] == [None, None]


def test_a_burst_then_a_refusal_then_one_for_each_token_that_came_back() -> None:
    rates = Rates(RateRule(per_minute=60, burst=3))
    assert [rates.take(A, 100.0) for _ in range(4)] == [
        Share(True, 60, 2, 1.0),
        Share(True, 60, 1, 2.0),
        Share(True, 60, 0, 3.0),
        Share(False, 60, 0, 3.0, 1.0),
    ]
    assert rates.take(A, 100.5) == Share(False, 60, 0, 2.5, 0.5)
    assert rates.take(A, 101.0) == Share(True, 60, 0, 3.0)
    assert rates.take(A, 200.0) == Share(True, 60, 2, 1.0)


def test_the_limit_of_all_counts_every_address() -> None:
    rates = Rates(RateRule(per_minute=60, burst=2))
    assert allowed(rates, (A, 0.0), (B, 0.0), (A, 0.0), (B, 0.0)) == [True, True, False, False]


def test_the_limit_of_each_address_counts_that_one() -> None:
    rates = Rates(RateRule(per_minute_per_address=60, burst=1))
    assert allowed(rates, (A, 0.0), (A, 0.0), (B, 0.0), (B, 0.0)) == [True, False, True, False]


def test_a_burst_is_one_request_at_least() -> None:
    assert allowed(Rates(RateRule(per_minute=60, burst=0)), (A, 0.0), (A, 0.0)) == [True, False]


def test_what_is_told_is_of_the_limit_that_is_nearer() -> None:
    rates = Rates(RateRule(per_minute=120, per_minute_per_address=60, burst=2))
    assert rates.take(A, 0.0) == Share(True, 120, 1, 0.5)
    assert rates.take(B, 0.25) == Share(True, 120, 0, 0.75)
    assert rates.take(B, 1.0) == Share(True, 60, 0, 1.25)
    assert rates.take(A, 1.0) == Share(True, 120, 0, 1.0)
    assert rates.take(A, 1.25) == Share(False, 120, 0, 0.75, 0.25)


def test_where_both_refuse_both_are_waited_for() -> None:
    rates = Rates(RateRule(per_minute=60, per_minute_per_address=6, burst=1))
    assert rates.take(A, 0.0) == Share(True, 60, 0, 1.0)
    assert rates.take(A, 0.5) == Share(False, 60, 0, 0.5, 9.5)
    assert rates.take(A, 1.0) == Share(False, 6, 0, 9.0, 9.0)


def test_who_is_refused_by_one_limit_takes_nothing_from_the_other() -> None:
    rates = Rates(RateRule(per_minute=60, per_minute_per_address=1, burst=3))
    assert allowed(rates, *[(A, 0.0)] * 3) == [True, True, True]
    # A has used up both. A second later the common bucket has one token, and A must not take it.
    assert allowed(rates, *[(A, 1.0)] * 5, (B, 1.0), (B, 1.0)) == [False] * 5 + [True, False]
    # B's refusal by the common bucket has taken none of B's own three.
    assert allowed(rates, (B, 2.0), (B, 3.0), (B, 4.0)) == [True, True, False]


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("2001:db8:0:1::1", "2001:DB8:0000:1::2", True),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("10.0.0.1", "10.0.0.2", False),
        (None, None, True),
        (None, "10.0.0.1", False),
        ("what:is:this", "what:is:this", True),
        ("what:is:this", "what:is:that", False),
    ],
)
def test_which_addresses_are_one_client(first: str | None, second: str | None, same: bool) -> None:
    rates = Rates(RateRule(per_minute_per_address=1, burst=1))
    assert allowed(rates, (first, 0.0), (second, 0.0)) == [True, not same]


def test_strangers_do_not_fill_the_memory_and_who_has_used_up_its_share_stays_counted() -> None:
    rates = Rates(RateRule(per_minute_per_address=60, burst=10))
    assert all(allowed(rates, *[(A, 0.0)] * 10))
    for number in range(ADDRESSES * 3):
        rates.take(f"2001:db8:{number // 65536:x}:{number % 65536:x}::1", 0.0)
        assert len(rates) <= ADDRESSES
    assert allowed(rates, (A, 0.0)) == [False]


def test_buckets_that_are_full_again_go_first() -> None:
    rates = Rates(RateRule(per_minute_per_address=60, burst=10))
    for number in range(ADDRESSES - 1):
        rates.take(f"10.1.{number // 256}.{number % 256}", 0.0)
    rates.take(A, 0.5)
    assert len(rates) == ADDRESSES
    rates.take(B, 1.0)
    assert len(rates) == 2


def test_a_refused_stranger_takes_no_room() -> None:
    rates = Rates(RateRule(per_minute=1, per_minute_per_address=1, burst=1))
    assert allowed(rates, (A, 0.0), (B, 0.0)) == [True, False]
    assert len(rates) == 1


@pytest.mark.parametrize(
    ("share", "told"),
    [
        (Share(True, 60, 2, 1.0), (b"60", b"2", b"1001")),
        (Share(True, 60, 2, 0.9), (b"60", b"2", b"1001")),
        (Share(True, 60, 2, 1.1), (b"60", b"2", b"1002")),
        (Share(False, 60, 0, 3.0, 0.01), (b"60", b"0", b"1003", b"1")),
        (Share(False, 60, 0, 3.0, 1.5), (b"60", b"0", b"1003", b"2")),
        (Share(False, 1, 0, 3000.0, 59.0), (b"1", b"0", b"4000", b"59")),
    ],
)
def test_fields(share: Share, told: tuple[bytes, ...]) -> None:
    names = (b"x-ratelimit-limit", b"x-ratelimit-remaining", b"x-ratelimit-reset", b"retry-after")
    assert fields(share, 1000.0) == tuple(zip(names, told, strict=False))


LIMITS = st.one_of(st.none(), st.integers(1, 100_000))
RULES = st.builds(RateRule, per_minute=LIMITS, per_minute_per_address=LIMITS, burst=st.integers(1, 20))
REQUESTS = st.lists(st.tuples(st.sampled_from([A, B, "::1", None]), st.floats(0, 30)), max_size=60)


@given(RULES, REQUESTS, st.floats(0, 1e7))
def test_a_share_tells_the_truth(rule: RateRule, requests: list[tuple[str | None, float]], start: float) -> None:
    rates, now = Rates(rule), start
    for address, passed in requests:
        now += passed
        share = rates.take(address, now)
        if share is None:
            assert rule.per_minute is None and rule.per_minute_per_address is None
            continue
        assert share.limit in (rule.per_minute, rule.per_minute_per_address)
        assert 0 <= share.remaining < rule.burst
        assert share.reset_s >= 0
        if share.allowed:
            assert share.retry_after is None
        else:
            assert share.remaining == 0
            assert share.retry_after is not None and share.retry_after > 0
        # As many as it said come through at once, and then none.
        follow = [rates.take(address, now) for _ in range(share.remaining + 1)]
        assert [each is not None and each.allowed for each in follow] == [True] * share.remaining + [False]
        last = follow[-1]
        assert last is not None and last.retry_after is not None
        now += last.retry_after
        assert allowed(rates, (address, now)) == [True]


@given(st.integers(1, 600), st.integers(1, 20), st.lists(st.floats(0, 10), max_size=200))
def test_never_more_than_the_burst_and_what_came_back_since(per_minute: int, burst: int, gaps: list[float]) -> None:
    rates, now, let_in = Rates(RateRule(per_minute=per_minute, burst=burst)), 0.0, 0
    for gap in gaps:
        now += gap
        let_in += allowed(rates, (A, now)) == [True]
        assert let_in <= burst + now * per_minute / 60 + 0.01
