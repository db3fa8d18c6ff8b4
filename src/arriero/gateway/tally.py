"""What has been counted since the start: requests, failures, times, bytes and tokens, of everything, of each backend,
of each model, of each client dialect and of each path. Plain numbers in memory; one call for each exchange, none for
each chunk.

What strangers choose (model names, addresses) is bounded everywhere. Nothing here knows how the counts are shown.
"""

from bisect import bisect_left
from functools import lru_cache
from typing import TypeAlias

from arriero.errors import ArrieroError, BackendError, Blame, ClientGone
from arriero.gateway.counts import BOUNDS, AtBackend, BackendCount, Cell, Count, DialectCount, ModelCount, Trouble
from arriero.gateway.lane import Inbound
from arriero.gateway.outcome import Outcome
from arriero.routing.names import key_of

MAX_MODELS = 2000
"""Models that are counted by name."""

MAX_NAME = 512
"""Characters of a model's name: where any name is taken, a client may send long ones."""

MAX_BACKENDS = 2000
"""Backends that are counted by name: members found by DNS come and go under ever new ones."""

MAX_PAIRS = 20_000
"""Backends of models, over all models."""

MAX_PATHS = 100
"""Paths that are counted by themselves: what a door passes on may be anything."""

MAX_ERRORS = 100
"""Types of errors that are counted by themselves: a type may be named after a vendor."""

MAX_CLIENTS = 1000
"""Clients of one model that are told apart."""

MAX_MARKS = 100_000
"""Clients of models that are told apart, over all models."""

MAX_CELLS = 1024
"""Kinds of exchanges that are counted together before somebody looks."""

MAX_ADDRESSES = 10_000
"""Refused addresses that are remembered, the latest."""

REFUSED_SECONDS = 3600.0
"""For so long a refused address counts."""

OTHER = "other"
"""The name under which everything counts that is over a bound."""

UNKNOWN = "unknown"
"""The name under which all models count that no backend has: clients may make up any number of names."""

OK = "ok"
GONE = "gone"
CUT = "cut"
"""The status class of an answer that had begun well and was not completed."""

_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")
_BOUNDS_MS = tuple(bound * 1e3 for bound in BOUNDS)
_ABOVE_MS = (-1.0, *_BOUNDS_MS)
"""What a value of a bucket is above of."""

_Alike: TypeAlias = tuple[object, ...]
"""What exchanges share that are counted together, as the texts and numbers that they have at hand."""

_DIALECTS = (("/api/", "ollama"), ("/v1/messages", "anthropic"), ("/v1/responses", "openai-responses"))


class Security:
    """Requests that were refused before they became an exchange."""

    __slots__ = ("_refused", "rate_limited", "too_large")

    def __init__(self) -> None:
        self.rate_limited = 0
        self.too_large = 0
        self._refused: dict[str, float] = {}  # the one refused last stands last

    @property
    def violations(self) -> int:
        """All of them."""
        return self.rate_limited + self.too_large

    def limit(self, address: str | None, now: float) -> None:
        """A request over a rate limit. `now` is unix time."""
        self.rate_limited += 1
        if address is not None:
            self._refused.pop(address, None)
            self._refused[address] = now
            if len(self._refused) > MAX_ADDRESSES:
                del self._refused[next(iter(self._refused))]

    def oversize(self) -> None:
        """A request whose head or body is too large."""
        self.too_large += 1

    def addresses(self, now: float) -> int:
        """How many addresses were over a rate limit in the last hour."""
        while self._refused:
            address, at = next(iter(self._refused.items()))
            if at > now - REFUSED_SECONDS:
                break
            del self._refused[address]
        return len(self._refused)


class Tally:
    """All counts of one process. `unplaced` is of requests that no backend was found for.

    An exchange adds to its cell only, which one look into a table finds. Looking at any of the counts settles the cells
    first, so that nobody sees one that is behind: look again for later numbers.
    """

    def __init__(self) -> None:
        self.security = Security()
        self._total = Count()
        self._unplaced = BackendCount()
        self._backends: dict[str, BackendCount] = {}
        self._models: dict[str, ModelCount] = {}
        self._dialects: dict[str, DialectCount] = {}
        self._paths: dict[str, Count] = {}
        self._trouble = Trouble()
        self._pairs = 0
        self._marks = 0
        self._cells: dict[_Alike, Cell] = {}
        self._unsettled: list[Cell] = []  # in the order of their first request
        self._well: dict[str, int] = {}  # attempts that went well, by backend, not settled

    @property
    def total(self) -> Count:
        """Of everything."""
        self._settle()
        return self._total

    @property
    def unplaced(self) -> BackendCount:
        """Of requests that no backend was found for."""
        self._settle()
        return self._unplaced

    @property
    def backends(self) -> dict[str, BackendCount]:
        """Of each backend, those that have left the fleet too."""
        self._settle()
        return self._backends

    @property
    def models(self) -> dict[str, ModelCount]:
        """Of each model."""
        self._settle()
        return self._models

    @property
    def dialects(self) -> dict[str, DialectCount]:
        """Of each client dialect."""
        self._settle()
        return self._dialects

    @property
    def paths(self) -> dict[str, Count]:
        """Of each path of the API, as it is without a door's prefix."""
        self._settle()
        return self._paths

    @property
    def trouble(self) -> Trouble:
        """Errors and retries of all exchanges."""
        self._settle()
        return self._trouble

    # ---- the hot path ----------------------------------------------------------------------------------------------

    def attempt(self, backend: str, error: ArrieroError | None) -> None:
        """An attempt has ended, `None`: well. Called for each, the last one of an exchange too."""
        if error is None:
            try:
                self._well[backend] += 1
            except KeyError:
                self._first_well(backend)
            return
        self._settle_attempts()  # those before it: failures are counted in a row
        self._backend(backend).attempted(1, _in_words(type(error).__name__), _failed_there(error))

    def record(self, outcome: Outcome, inbound: Inbound, ended_ns: int, *, streamed: bool | None = None) -> None:
        """An exchange has ended, in whatever way. `ended_ns` is unix time.

        Every request pays for each line here: no calls of our own, and nothing that can wait for a look at the counts.
        """
        alike: _Alike = (
            outcome.model,
            outcome.backend,
            inbound.path,
            outcome.status,
            outcome.relayed,
            streamed,
            outcome.loose,
            outcome.fallback,
        )
        error, attempts = outcome.error, outcome.attempts
        if error is not None or attempts != 1:
            alike += (attempts, outcome.alias is not None)
            if error is not None:
                alike += (type(error), error.status, error.type)
        cell = self._cells.get(alike)
        if cell is None:
            cell = self._new_cell(alike, outcome, inbound, streamed)
        received_ns = inbound.received_ns
        ms = (ended_ns - received_ns) / 1e6
        if ms < 0.0:
            ms = 0.0  # the wall clock was set back meanwhile
        times = cell.requests
        cell.requests = times + 1
        cell.last_ns = ended_ns
        cell.total_ms += ms
        if not times:
            self._unsettled.append(cell)
            cell.min_ms = cell.max_ms = ms
        elif ms < cell.min_ms:
            cell.min_ms = ms
        elif ms > cell.max_ms:
            cell.max_ms = ms
        cell.received_bytes += outcome.received_bytes
        usage = outcome.usage
        if usage is not None:
            cell.prompt_tokens += usage.prompt_tokens or 0
            cell.completion_tokens += usage.completion_tokens or 0
        cell.recent_ms.append(ms)
        place = bisect_left(_BOUNDS_MS, ms)
        cell.seconds[place] += 1
        first_ns = outcome.first_byte_ns
        if first_ns is not None:
            first_ms = (first_ns - received_ns) / 1e6
            if first_ms < 0.0:
                first_ms = 0.0
            if not _ABOVE_MS[place] < first_ms <= ms:  # most answers are short: their first byte is in the same bucket
                place = bisect_left(_BOUNDS_MS, first_ms)
            cell.first_byte[place] += 1
            cell.first_ms += first_ms
        if inbound.client not in cell.clients:
            self._mark(cell.model, inbound.client)
        if cell.failed_there:
            cell.pair.failures_in_row += 1
        elif cell.pair.failures_in_row and cell.failed_there is not None:
            cell.pair.failures_in_row = 0
        if cell.once:
            self._settle()

    # ---- what is rare ----------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Carries over what has come together."""
        for cell in self._unsettled:
            cell.settle()
        self._unsettled.clear()
        self._settle_attempts()

    def _settle_attempts(self) -> None:
        for backend, times in self._well.items():
            self._backend(backend).attempted(times, OK, False)
        self._well.clear()

    def _first_well(self, backend: str) -> None:
        if len(self._well) >= MAX_BACKENDS:
            self._settle_attempts()
        self._backend(backend)  # who comes first is among those with a name
        self._well[backend] = 1

    def _new_cell(self, alike: _Alike, outcome: Outcome, inbound: Inbound, streamed: bool | None) -> Cell:
        """A cell for all that are alike. Under long words, which any client may send, it is not kept."""
        cell = self._cell(outcome, inbound, streamed)
        if len(outcome.model or "") > MAX_NAME or len(inbound.path) > MAX_NAME:
            cell.once = True
            return cell
        if len(self._cells) >= MAX_CELLS:
            self._forget()
        self._cells[alike] = cell
        return cell

    def _forget(self) -> None:
        self._settle()
        self._cells.clear()

    def _cell(self, outcome: Outcome, inbound: Inbound, streamed: bool | None) -> Cell:
        error, name = outcome.error, outcome.backend
        dialect = self._dialect(inbound.path)
        model = None if outcome.model is None else self._model(outcome)
        return Cell(
            self._total,
            dialect,
            self._unplaced if name is None else self._backend(name),
            model,
            None if model is None or name is None else self._pair(model, name),
            placed=name is not None,
            good=error is None,
            failed=None if isinstance(error, ClientGone) else error is not None and error.blame is not Blame.CLIENT,
            failed_there=_failed_there(error),
            hit=outcome.attempts == 1,
            detour=outcome.loose or outcome.fallback or (outcome.alias is not None and outcome.attempts > 1),
            word=_status_class(outcome),
            relayed=outcome.relayed,
            translated=_translated(dialect, name or "") if outcome.relayed is False else "",
            streamed=streamed,
            endpoint=self._path(inbound.path),
            trouble=self._trouble,
            error=None if error is None else self._error(error),
            again=max(0, outcome.attempts - 1),
        )

    def _mark(self, model: ModelCount | None, client: str | None) -> None:
        if model is None or client is None or len(model.clients) >= MAX_CLIENTS or self._marks >= MAX_MARKS:
            return
        self._marks += 1
        model.clients.add(client)

    def _dialect(self, path: str) -> DialectCount:
        name = _dialect_of(path)
        count = self._dialects.get(name)
        if count is None:
            count = self._dialects[name] = DialectCount()
        return count

    def _error(self, error: ArrieroError) -> tuple[str, str]:
        """Its name among the errors. Each blame has room for one `other` beside the types that are known."""
        name = (error.type, error.blame.value)
        known = self._trouble.errors
        if name not in known and len(known) >= MAX_ERRORS:
            name = (OTHER, name[1])
        known.setdefault(name, 0)
        return name

    def _path(self, path: str) -> Count:
        count = self._paths.get(path)
        if count is None:
            name = path if len(self._paths) < MAX_PATHS and len(path) <= MAX_NAME else OTHER
            count = self._paths.setdefault(name, Count())
        return count

    def _model(self, outcome: Outcome) -> ModelCount:
        name = key_of(outcome.model or "")
        count = self._models.get(name)
        if count is None:
            if outcome.backend is None or outcome.fallback or (outcome.loose and outcome.error is not None):
                name = UNKNOWN
            elif len(self._models) >= MAX_MODELS or len(name) > MAX_NAME:
                name = OTHER
            count = self._models.get(name)
            if count is None:
                self._forget()  # a cell may have stood for this name while nobody had the model
                count = self._models[name] = ModelCount()
        return count

    def _backend(self, name: str) -> BackendCount:
        count = self._backends.get(name)
        if count is None:
            if len(self._backends) >= MAX_BACKENDS:
                name = OTHER
            count = self._backends.setdefault(name, BackendCount())
        return count

    def _pair(self, model: ModelCount, backend: str) -> AtBackend:
        count = model.backends.get(backend)
        if count is None:
            if self._pairs >= MAX_PAIRS:
                backend = OTHER
            self._pairs += 1
            count = model.backends.setdefault(backend, AtBackend())
        return count


def _translated(dialect: DialectCount, backend: str) -> str:
    """The name under which the dialect counts it."""
    known = dialect.translated
    name = backend if backend in known or len(known) < MAX_BACKENDS else OTHER
    known.setdefault(name, 0)
    return name


def _failed_there(error: ArrieroError | None) -> bool | None:
    """Whether it is a failure of the backend; `None`: the client left."""
    if error is None:
        return False
    if isinstance(error, ClientGone):
        return None
    # What is the gateway's own doing says nothing about a backend, though it had the request last.
    return error.blame is Blame.BACKEND or (error.blame is Blame.GATEWAY and isinstance(error, BackendError))


def _status_class(outcome: Outcome) -> str:
    error = outcome.error
    if isinstance(error, ClientGone):
        return GONE
    status = outcome.status
    if status is None:
        status = 200 if error is None else error.status
    elif error is not None and status < 400:
        return CUT
    return _CLASSES[status // 100 - 1] if 100 <= status < 600 else "5xx"


def _dialect_of(path: str) -> str:
    for beginning, name in _DIALECTS:
        if path.startswith(beginning):
            return name
    return "openai"


@lru_cache(maxsize=256)  # one entry for each class of error
def _in_words(kind: str) -> str:
    """`BackendTimeout` as `backend_timeout`."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in kind).lstrip("_")
