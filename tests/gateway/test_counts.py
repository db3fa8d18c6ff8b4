"""What cells carry over to the counts, and what is worked out of them."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.gateway.counts import (
    AtBackend,
    BackendCount,
    Cell,
    Count,
    DialectCount,
    ModelCount,
    Trouble,
    percentile,
    summed,
)


class Homes:
    """One count of each kind, and cells that belong to them."""

    def __init__(self) -> None:
        self.total = Count()
        self.dialect = DialectCount()
        self.backend = BackendCount()
        self.model = ModelCount()
        self.pair = AtBackend()
        self.path = Count()
        self.trouble = Trouble()

    def cell(self, *, placed: bool = True, failed: bool | None = False, relayed: bool | None = True) -> Cell:
        """Whole answers at the first attempt; `failed` is the backend's failure as well."""
        return Cell(
            self.total,
            self.dialect,
            self.backend,
            self.model,
            self.pair if placed else None,
            placed=placed,
            good=failed is False,
            failed=failed,
            failed_there=failed,
            hit=placed,
            detour=False,
            word="2xx" if failed is False else "5xx",
            relayed=relayed,
            translated="",
            streamed=False,
            endpoint=self.path,
            trouble=self.trouble,
            error=("backend_error", "backend") if failed else None,
            again=0 if placed else 1,
        )

    def requests(self) -> list[tuple[int, int, int]]:
        """Requests, failures and those that left: of the whole, dialect, backend, model and pair."""
        counts = (self.total, self.dialect, self.backend, self.model, self.pair)
        return [(count.requests, count.failures, count.gone) for count in counts]


def add(cell: Cell, times: int, *, ms: float, at: int = 1) -> Cell:
    """So many exchanges of `ms` each, the last at second `at`."""
    cell.requests += times
    cell.total_ms += times * ms
    cell.min_ms = cell.max_ms = ms
    cell.seconds[1] += times
    cell.first_byte[0] += times
    cell.first_ms += times * ms / 2
    cell.last_ns = at * 1_000_000_000
    cell.received_bytes += 10 * times
    cell.prompt_tokens += 2 * times
    cell.completion_tokens += 3 * times
    return cell


# ---- cells ---------------------------------------------------------------------------------------------------------


def test_a_cell_adds_to_its_path_and_to_the_trouble() -> None:
    homes = Homes()
    add(homes.cell(), 2, ms=50.0, at=7).settle()
    add(homes.cell(placed=False, failed=True), 3, ms=20.0, at=9).settle()
    path = homes.path
    assert (path.requests, path.failures, path.answers, path.total_ms, path.last_at) == (5, 3, 2, 100.0, 9.0)
    assert (homes.trouble.errors, homes.trouble.retries) == ({("backend_error", "backend"): 3}, 3)


def test_trouble_adds_up() -> None:
    trouble = Trouble()
    for times, error, again in ((2, None, 0), (3, None, 1), (1, ("x", "client"), 2), (4, ("x", "client"), 0)):
        trouble.add(times, error, again)
    assert (trouble.errors, trouble.retries) == ({("x", "client"): 5}, 5)


def test_a_cell_adds_to_all_its_counts_and_begins_anew() -> None:
    homes = Homes()
    cell = homes.cell()
    for times, ms, at in ((2, 50.0, 7), (1, 20.0, 9)):
        add(cell, times, ms=ms, at=at).settle()
    for count in (homes.total, homes.dialect, homes.backend, homes.model, homes.pair):
        assert (count.answers, count.total_ms, count.min_ms, count.max_ms) == (3, 120.0, 20.0, 50.0)
        assert (count.received_bytes, count.prompt_tokens, count.completion_tokens) == (30, 6, 9)
        assert count.last_at == 9.0
    assert homes.backend.statuses == {"2xx": 3}
    seconds, first_byte = homes.backend.seconds, homes.backend.first_byte
    assert [seconds.buckets, first_byte.buckets] == [[0, 3] + [0] * 13, [3] + [0] * 14]
    assert [seconds.total, first_byte.total] == pytest.approx([0.12, 0.06])
    assert (homes.model.hits, homes.model.misses, homes.model.fallbacks) == (3, 0, 0)
    assert (homes.dialect.relayed, homes.dialect.streamed, homes.dialect.whole) == (3, 0, 3)


def test_requests_of_a_backend_are_its_attempts() -> None:
    homes = Homes()
    add(homes.cell(), 2, ms=5.0).settle()
    assert homes.requests() == [(2, 0, 0), (2, 0, 0), (0, 0, 0), (2, 0, 0), (2, 0, 0)]
    homes.backend.attempted(2, "ok", False)
    assert homes.requests() == [(2, 0, 0)] * 5


def test_without_a_backend_there_was_no_attempt_that_counts() -> None:
    homes = Homes()
    add(homes.cell(placed=False, failed=True), 2, ms=5.0).settle()
    assert homes.requests() == [(2, 2, 0), (2, 2, 0), (2, 2, 0), (2, 2, 0), (0, 0, 0)]
    assert (homes.model.hits, homes.model.misses) == (0, 2)


def test_who_left_is_counted_as_gone_and_its_time_is_none_of_an_answer() -> None:
    homes = Homes()
    add(homes.cell(failed=None), 4, ms=5.0).settle()
    assert homes.requests() == [(4, 0, 4), (4, 0, 4), (0, 0, 0), (4, 0, 4), (4, 0, 4)]
    assert (homes.total.answers, homes.total.total_ms, homes.total.min_ms, homes.total.average_ms) == (
        0,
        0.0,
        None,
        None,
    )
    assert homes.total.received_bytes == 40


@given(st.permutations([(1, 50.0, 7), (2, 20.0, 9), (3, 90.0, 8)]))
def test_cells_settle_in_any_order(exchanges: list[tuple[int, float, int]]) -> None:
    homes = Homes()
    for cell in [add(homes.cell(), times, ms=ms, at=at) for times, ms, at in exchanges]:
        cell.settle()
    total = homes.total
    assert (total.requests, total.total_ms, total.min_ms, total.max_ms, total.last_at) == (6, 360.0, 20.0, 90.0, 9.0)


# ---- counts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ends", "success", "successes"),
    [
        ([], None, 0),
        ([(4, None)], None, 0),
        ([(3, False), (1, True), (6, None)], 0.75, 3),
        ([(2, True)], 0.0, 0),
        ([(5, False)], 1.0, 5),
    ],
)
def test_the_share_of_successes(ends: Sequence[tuple[int, bool | None]], success: float | None, successes: int) -> None:
    count = Count()
    for times, failed in ends:
        count.end(times, failed)
    assert (count.success, count.successes) == (success, successes)


def test_the_share_of_failures_is_of_all_requests() -> None:
    count = Count()
    assert count.error_rate is None
    count.end(3, False)
    count.end(1, True)
    count.end(4, None)
    assert count.error_rate == 0.125


def test_several_counts_as_one() -> None:
    homes = Homes()
    add(homes.cell(), 2, ms=50.0, at=7).settle()
    add(homes.cell(failed=True), 1, ms=20.0, at=9).settle()
    add(homes.cell(failed=None), 4, ms=10.0, at=8).settle()
    whole = summed([homes.total, homes.path, Count()])
    assert {name: getattr(whole, name) for name in Count.__slots__} == {
        "requests": 14,
        "failures": 2,
        "gone": 8,
        "answers": 4,
        "total_ms": 200.0,
        "min_ms": 50.0,
        "max_ms": 50.0,
        "received_bytes": 140,
        "prompt_tokens": 28,
        "completion_tokens": 42,
        "last_at": 9.0,
    }
    assert [getattr(summed([]), name) for name in Count.__slots__] == [
        getattr(Count(), name) for name in Count.__slots__
    ]


def test_failures_in_a_row_since_the_last_success() -> None:
    count = BackendCount()
    seen = []
    for times, word, failed in (
        (2, "backend_failed", True),
        (1, "client_gone", None),
        (1, "backend_timeout", True),
        (5, "ok", False),
        (1, "backend_failed", True),
    ):
        count.attempted(times, word, failed)
        seen.append(count.failures_in_row)
    assert seen == [2, 2, 3, 0, 1]
    assert count.results == {"backend_failed": 3, "client_gone": 1, "backend_timeout": 1, "ok": 5}


# ---- percentiles ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recent", "share", "value"),
    [
        ([], 0.95, None),
        ([5.0], 0.95, 5.0),
        ([3.0, 1.0, 2.0], 0.5, 2.0),
        ([float(n) for n in range(100, 0, -1)], 0.95, 95.0),
        ([float(n) for n in range(1, 101)], 0.99, 99.0),
        ([1.0, 2.0], 1.0, 2.0),
        ([1.0, 2.0], 0.0, 1.0),
    ],
)
def test_a_percentile(recent: Sequence[float], share: float, value: float | None) -> None:
    assert percentile(recent, share) == value


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1.0))
def test_a_percentile_is_the_least_that_covers_its_share(recent: list[float], share: float) -> None:
    value = percentile(recent, share)
    assert value in recent
    assert sum(each <= value for each in recent) >= share * len(recent) - 1e-6
    assert sum(each < value for each in recent) < share * len(recent)
