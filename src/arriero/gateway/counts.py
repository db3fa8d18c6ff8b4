"""Counts as values: what is known of everything, of a backend, of a model or of a client dialect, and the cells from
which it comes. Who is counted where, and under which name, is `tally`'s affair.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from math import ceil

RECENT = 512
"""Response times of one model that are remembered, for its percentiles."""

BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Upper bounds of the histograms' buckets in seconds: from an embedding to a long answer behind a cold load."""

BUCKETS = len(BOUNDS) + 1


class Histogram:
    """How many values fell into each bucket, and their sum in seconds. The last bucket is for those above all bounds; a
    value on a bound belongs to that bound's bucket.
    """

    __slots__ = ("buckets", "total")

    def __init__(self) -> None:
        self.buckets = [0] * BUCKETS
        self.total = 0.0

    def add(self, buckets: Sequence[int], total_ms: float) -> None:
        """What another one holds, with its sum in milliseconds."""
        self.buckets = list(map(int.__add__, self.buckets, buckets))
        self.total += total_ms / 1e3

    @property
    def count(self) -> int:
        """How many values there are."""
        return sum(self.buckets)


class Count:
    """Of one thing. Milliseconds and their limits are those of good answers; `None`: there was none. `last_at` is unix
    time.

    `failures` are those that are not the client's doing; `gone`: the client left before the end, which is neither.
    `answers` were good ones.
    """

    __slots__ = (
        "answers",
        "completion_tokens",
        "failures",
        "gone",
        "last_at",
        "max_ms",
        "min_ms",
        "prompt_tokens",
        "received_bytes",
        "requests",
        "total_ms",
    )

    def __init__(self) -> None:
        self.requests = 0
        self.failures = 0
        self.gone = 0
        self.answers = 0
        self.total_ms = 0.0
        self.min_ms: float | None = None
        self.max_ms: float | None = None
        self.received_bytes = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.last_at: float | None = None

    @property
    def successes(self) -> int:
        """Requests that ended as they should, a refusal that the client has caused among them."""
        return self.requests - self.failures - self.gone

    @property
    def success(self) -> float | None:
        """Their share among those that ended, between 0 and 1; `None` where none has."""
        ended = self.requests - self.gone
        return (ended - self.failures) / ended if ended > 0 else None

    @property
    def error_rate(self) -> float | None:
        """Failures among all requests, between 0 and 1; `None` before the first."""
        return self.failures / self.requests if self.requests else None

    @property
    def average_ms(self) -> float | None:
        """Of the good answers."""
        return self.total_ms / self.answers if self.answers else None

    def end(self, times: int, failed: bool | None) -> None:
        """So many more; `failed` `None`: the client left."""
        self.requests += times
        if failed:
            self.failures += times
        elif failed is None:
            self.gone += times

    def add(self, cell: "Cell") -> None:
        """What the exchanges of a cell have brought, in whatever way they ended."""
        last_at = cell.last_ns / 1e9
        if self.last_at is None or last_at > self.last_at:
            self.last_at = last_at
        self.received_bytes += cell.received_bytes
        self.prompt_tokens += cell.prompt_tokens
        self.completion_tokens += cell.completion_tokens
        if cell.good:
            self.answers += cell.requests
            self.total_ms += cell.total_ms
            if self.min_ms is None or cell.min_ms < self.min_ms:
                self.min_ms = cell.min_ms
            if self.max_ms is None or cell.max_ms > self.max_ms:
                self.max_ms = cell.max_ms


def summed(counts: Iterable[Count]) -> Count:
    """Several as one."""
    each = list(counts)
    whole = Count()
    whole.requests = sum(count.requests for count in each)
    whole.failures = sum(count.failures for count in each)
    whole.gone = sum(count.gone for count in each)
    whole.answers = sum(count.answers for count in each)
    whole.total_ms = sum(count.total_ms for count in each)
    whole.min_ms = min((count.min_ms for count in each if count.min_ms is not None), default=None)
    whole.max_ms = max((count.max_ms for count in each if count.max_ms is not None), default=None)
    whole.received_bytes = sum(count.received_bytes for count in each)
    whole.prompt_tokens = sum(count.prompt_tokens for count in each)
    whole.completion_tokens = sum(count.completion_tokens for count in each)
    whole.last_at = max((count.last_at for count in each if count.last_at is not None), default=None)
    return whole


class AtBackend(Count):
    """Of one backend, in all or for one model. `failures_in_row`: the latest failures, without a success since."""

    __slots__ = ("failures_in_row",)

    def __init__(self) -> None:
        super().__init__()
        self.failures_in_row = 0


class BackendCount(AtBackend):
    """Of one backend. Its requests and failures are attempts: one that another backend has saved counts as well. All
    else is of the exchanges that it was the last to have.

    `results` counts attempts by how they ended: `ok`, or the kind of error in words (`backend_timeout`, `client_gone`).
    `statuses` counts exchanges by what the client was told: `2xx` to `5xx`, `cut` or `gone`. `first_byte` is seconds
    from the request's arrival, as the client feels it.
    """

    __slots__ = ("first_byte", "results", "seconds", "statuses")

    def __init__(self) -> None:
        super().__init__()
        self.results: dict[str, int] = {}
        self.statuses: dict[str, int] = {}
        self.first_byte = Histogram()
        self.seconds = Histogram()

    def attempted(self, times: int, word: str, failed: bool | None) -> None:
        """So many attempts more that ended in the same way."""
        self.results[word] = self.results.get(word, 0) + times
        self.end(times, failed)
        if failed:
            self.failures_in_row += times
        elif failed is not None:
            self.failures_in_row = 0


class ModelCount(Count):
    """Of one model, by the name that clients used, with the same of each backend that answered.

    `hits`: the first attempt was the only one; `misses`: it was not, or nobody could take the request; `fallbacks`: it
    went to a backend that does not list the model, or on through the names of an alias.
    """

    __slots__ = ("backends", "clients", "fallbacks", "hits", "misses", "recent_ms")

    def __init__(self) -> None:
        super().__init__()
        self.recent_ms: deque[float] = deque(maxlen=RECENT)
        self.clients: set[str] = set()
        self.hits = 0
        self.misses = 0
        self.fallbacks = 0
        self.backends: dict[str, AtBackend] = {}


class DialectCount(Count):
    """Of one client dialect. `relayed` and `translated` are the ways that a request has gone, if it got so far;
    `translated` by backend. `streamed` and `whole` are the ways of its answer, where that is known.
    """

    __slots__ = ("relayed", "streamed", "translated", "whole")

    def __init__(self) -> None:
        super().__init__()
        self.relayed = 0
        self.translated: dict[str, int] = {}
        self.streamed = 0
        self.whole = 0


class Trouble:
    """What did not go as it should. `errors` counts exchanges that ended with one, by its type and by who has to act;
    `retries` counts attempts after an exchange's first.
    """

    __slots__ = ("errors", "retries")

    def __init__(self) -> None:
        self.errors: dict[tuple[str, str], int] = {}
        self.retries = 0

    def add(self, times: int, error: tuple[str, str] | None, again: int) -> None:
        """So many exchanges more, each with so many attempts after its first."""
        self.retries += times * again
        if error is not None:
            self.errors[error] = self.errors.get(error, 0) + times


class Cell:
    """Exchanges that are alike in all but their numbers, and those numbers since they were last settled.

    Where the order matters (the latest times of a model, failures in a row) the count itself is written, and so are a
    model's clients. All else comes together here, so that an exchange adds to one place and not to five; `settle`
    carries it over. The counts are right only when every cell is settled.

    `backend` is `Tally.unplaced` where `placed` is false; `pair` is of the model at the backend. `good`: without an
    error; `failed` and `failed_there`: whether it is a failure of the whole, or of the backend (`None`: the client
    left). `hit` and `detour` are what `ModelCount` calls hits and fallbacks; `word` is of `BackendCount.statuses`.
    `relayed` and `streamed` are as in `DialectCount`, and `translated` is the name there. `endpoint` is of the path.
    `error` and `again` are what `Trouble` counts. `once`: nobody keeps it.
    """

    __slots__ = (
        "_again",
        "_detour",
        "_dialect",
        "_error",
        "_failed",
        "_hit",
        "_homes",
        "_placed",
        "_relayed",
        "_streamed",
        "_translated",
        "_trouble",
        "_word",
        "backend",
        "clients",
        "completion_tokens",
        "failed_there",
        "first_byte",
        "first_ms",
        "good",
        "last_ns",
        "max_ms",
        "min_ms",
        "model",
        "once",
        "pair",
        "prompt_tokens",
        "received_bytes",
        "recent_ms",
        "requests",
        "seconds",
        "total_ms",
    )

    def __init__(
        self,
        total: Count,
        dialect: DialectCount,
        backend: BackendCount,
        model: ModelCount | None,
        pair: AtBackend | None,
        *,
        placed: bool,
        good: bool,
        failed: bool | None,
        failed_there: bool | None,
        hit: bool,
        detour: bool,
        word: str,
        relayed: bool | None,
        translated: str,
        streamed: bool | None,
        endpoint: Count,
        trouble: Trouble,
        error: tuple[str, str] | None,
        again: int,
    ) -> None:
        self.backend = backend
        self.model = model
        self.pair = pair or AtBackend()
        self.good = good
        self.failed_there = failed_there
        self.once = False
        self.clients = model.clients if model is not None else set()
        self.recent_ms = model.recent_ms if model is not None and good else deque[float](maxlen=0)
        self.requests = 0
        self.last_ns = 0
        self.total_ms = self.min_ms = self.max_ms = 0.0
        self.first_ms = 0.0
        self.seconds = [0] * BUCKETS
        self.first_byte = [0] * BUCKETS
        self.received_bytes = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self._dialect = dialect
        self._homes: Sequence[Count] = (
            (total, dialect, endpoint) if model is None else (total, dialect, endpoint, model)
        )
        self._placed = placed
        self._failed = failed
        self._hit = hit
        self._detour = detour
        self._word = word
        self._relayed = relayed
        self._translated = translated
        self._streamed = streamed
        self._trouble = trouble
        self._error = error
        self._again = again

    def settle(self) -> None:
        """Carries the numbers over, and begins anew."""
        times, backend = self.requests, self.backend
        for count in self._homes:
            count.end(times, self._failed)
            count.add(self)
        self.pair.end(times, self.failed_there)
        self.pair.add(self)
        if not self._placed:
            backend.end(times, self._failed)  # without an attempt that would have
        backend.add(self)
        backend.statuses[self._word] = backend.statuses.get(self._word, 0) + times
        backend.seconds.add(self.seconds, self.total_ms)
        backend.first_byte.add(self.first_byte, self.first_ms)
        self._settle_ways(times)
        self._trouble.add(times, self._error, self._again)
        self.requests = self.received_bytes = self.prompt_tokens = self.completion_tokens = 0
        self.total_ms = self.first_ms = 0.0
        self.seconds = [0] * BUCKETS
        self.first_byte = [0] * BUCKETS

    def _settle_ways(self, times: int) -> None:
        dialect, model = self._dialect, self.model
        if self._relayed:
            dialect.relayed += times
        elif self._relayed is not None:
            dialect.translated[self._translated] += times
        if self._streamed:
            dialect.streamed += times
        elif self._streamed is not None:
            dialect.whole += times
        if model is not None:
            model.hits += times * self._hit
            model.misses += times * (not self._hit)
            model.fallbacks += times * self._detour


def percentile(recent_ms: Iterable[float], share: float) -> float | None:
    """The smallest of the values that at least this share of them does not exceed; `None` where there is none."""
    ordered = sorted(recent_ms)
    return ordered[max(0, ceil(share * len(ordered)) - 1)] if ordered else None
