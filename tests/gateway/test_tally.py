"""What exchanges leave in the counts."""

import tracemalloc
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from arriero.canonical.events import Usage
from arriero.errors import (
    ArrieroError,
    BackendBroken,
    BackendFailed,
    BackendRefused,
    BackendTimeout,
    BackendUnauthorized,
    BackendUnreachable,
    BadRequest,
    Busy,
    ClientGone,
    EngineMissing,
    InternalError,
    InvalidOption,
    ModelNotFound,
    NoBackend,
)
from arriero.gateway import tally as module
from arriero.gateway.counts import Count, DialectCount
from arriero.gateway.outcome import Outcome
from arriero.gateway.tally import Security, Tally
from support.tallied import CHAT, START, START_NS, good, recorded, slots

# ---- one exchange --------------------------------------------------------------------------------------------------


def test_a_good_answer_counts_everywhere_once() -> None:
    tally = Tally()
    outcome = good(usage=Usage(7, 11), first_byte_ns=START_NS + 300_000_000, received_bytes=512)
    tally.attempt("gpu1", None)
    tally.record(outcome, CHAT, START_NS + 2_000_000_000, streamed=True)
    counted = {
        "answers": 1,
        "completion_tokens": 11,
        "last_at": START + 2,
        "max_ms": 2000.0,
        "min_ms": 2000.0,
        "prompt_tokens": 7,
        "received_bytes": 512,
        "requests": 1,
        "total_ms": 2000.0,
    }
    assert slots(tally.total) == counted
    assert slots(tally.backends["gpu1"]) == {**counted, "results": {"ok": 1}, "statuses": {"2xx": 1}}
    (model,) = tally.models.values()
    assert slots(model.backends["gpu1"]) == counted
    assert list(model.recent_ms) == [2000.0]
    assert (model.clients, model.hits, model.misses, model.fallbacks) == ({"127.0.0.1"}, 1, 0, 0)
    assert slots(tally.dialects["ollama"]) == {**counted, "relayed": 1, "streamed": 1}
    assert slots(tally.unplaced) == {}


def test_times_go_into_the_histograms_of_the_backend() -> None:
    tally = recorded(good(first_byte_ns=START_NS + 250_000_000), good(first_byte_ns=START_NS + 60_000_000), ms=700_000)
    backend = tally.backends["gpu1"]
    assert backend.first_byte.buckets == [0, 1, 1] + [0] * 12
    assert backend.first_byte.total == pytest.approx(0.31)
    assert backend.seconds.buckets == [0] * 14 + [2]
    assert backend.seconds.total == 1400.0


def test_times_are_those_of_good_answers() -> None:
    tally = Tally()
    answers = [(ms, None) for ms in (200, 100, 300)]
    for ms, error in (*answers, (5, BackendRefused("too long")), (9000, BackendTimeout("idle"))):
        tally.record(good(error=error), CHAT, START_NS + ms * 1_000_000)
    total = tally.total
    assert (total.answers, total.total_ms, total.min_ms, total.max_ms) == (3, 600.0, 100.0, 300.0)
    assert total.average_ms == 200.0
    assert list(tally.models["qwen3:4b"].recent_ms) == [200.0, 100.0, 300.0]


def test_a_wall_clock_that_was_set_back_makes_no_negative_times() -> None:
    tally = Tally()
    tally.record(good(first_byte_ns=START_NS - 5), CHAT, START_NS - 10)
    assert tally.total.total_ms == 0
    assert tally.backends["gpu1"].first_byte.total == 0


def test_tokens_that_nobody_told_add_nothing() -> None:
    tally = recorded(good(usage=None), good(usage=Usage(None, 3)), good(usage=Usage(2, None)))
    assert (tally.total.prompt_tokens, tally.total.completion_tokens) == (2, 3)


# ---- whose doing it was --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "whole", "backend"),
    [
        (None, "success", "success"),
        (BackendRefused("bad tool"), "success", "success"),
        (BadRequest("no messages"), "success", "success"),
        (BackendFailed("oops", status=500), "failure", "failure"),
        (BackendTimeout("first byte"), "failure", "failure"),
        (BackendBroken("cut"), "failure", "failure"),
        (BackendUnauthorized("key"), "failure", "failure"),
        (EngineMissing("not installed"), "failure", "failure"),
        (NoBackend("all away"), "failure", "success"),
        (InternalError("ours"), "failure", "success"),
        (ClientGone("left"), "gone", "gone"),
    ],
)
def test_who_is_blamed(error: ArrieroError | None, whole: str, backend: str) -> None:
    tally = recorded(good(error=error))

    def word(count: Count) -> str:
        assert count.requests == count.successes + count.failures + count.gone == 1
        return "gone" if count.gone else "failure" if count.failures else "success"

    (model,) = tally.models.values()
    assert [word(count) for count in (tally.total, model, *tally.dialects.values())] == [whole] * 3
    assert [word(count) for count in (tally.backends["gpu1"], model.backends["gpu1"])] == [backend] * 2


@pytest.mark.parametrize(
    ("outcome", "word"),
    [
        (good(), "2xx"),
        (good(status=None), "2xx"),
        (good(status=304), "3xx"),
        (good(status=404, error=BackendRefused("nothing", status=404)), "4xx"),
        (good(status=None, error=BackendRefused("nothing", status=422)), "4xx"),
        (good(status=500, error=InvalidOption("temperature")), "5xx"),
        (good(status=None, error=BackendUnreachable("refused")), "5xx"),
        (good(status=200, error=BackendBroken("cut")), "cut"),
        (good(status=200, error=ClientGone("left")), "gone"),
        (good(status=None, error=ClientGone("left")), "gone"),
        (good(status=None, error=BackendRefused("odd", status=999)), "5xx"),
    ],
)
def test_what_the_client_was_told(outcome: Outcome, word: str) -> None:
    assert recorded(outcome).backends["gpu1"].statuses == {word: 1}


def test_who_left_is_neither_success_nor_failure() -> None:
    left = good(error=ClientGone("left"), status=None)
    assert recorded(left).total.success is None
    tally = recorded(left, good(), good(error=BackendTimeout("idle")))
    assert (tally.total.requests, tally.total.gone, tally.total.success) == (3, 1, 0.5)
    assert tally.backends["gpu1"].success == 0.5


def test_failures_in_a_row_end_with_a_success() -> None:
    bad, left = good(error=BackendFailed("oops")), good(error=ClientGone("left"))
    tally = recorded(good(), good(), bad, bad, left)
    assert tally.backends["gpu1"].failures_in_row == 2
    assert tally.models["qwen3:4b"].backends["gpu1"].failures_in_row == 2
    ended = recorded(bad, bad, good())
    assert (ended.backends["gpu1"].failures_in_row, ended.models["qwen3:4b"].backends["gpu1"].failures_in_row) == (0, 0)


def test_failures_in_a_row_are_of_one_backend() -> None:
    bad = BackendFailed("oops")
    tally = recorded(good(backend="gpu1", error=bad), good(backend="gpu2"), good(backend="gpu1", error=bad))
    assert {name: count.failures_in_row for name, count in tally.backends.items()} == {"gpu1": 2, "gpu2": 0}
    pairs = tally.models["qwen3:4b"].backends
    assert {name: count.failures_in_row for name, count in pairs.items()} == {"gpu1": 2, "gpu2": 0}


# ---- several attempts ----------------------------------------------------------------------------------------------


def test_a_request_that_another_backend_has_saved_shows_where_it_failed() -> None:
    tally = Tally()
    tally.attempt("dead", BackendUnreachable("refused"))
    tally.attempt("slow", BackendTimeout("first byte"))
    tally.attempt("gpu1", None)
    tally.record(good(attempts=3), CHAT, START_NS + 1_000_000)
    assert {name: (count.requests, count.failures) for name, count in tally.backends.items()} == {
        "dead": (1, 1),
        "slow": (1, 1),
        "gpu1": (1, 0),
    }
    assert [count.results for count in tally.backends.values()] == [
        {"backend_unreachable": 1},
        {"backend_timeout": 1},
        {"ok": 1},
    ]
    assert (tally.total.requests, tally.total.failures) == (1, 0)
    assert (tally.models["qwen3:4b"].hits, tally.models["qwen3:4b"].misses) == (0, 1)
    assert list(tally.models["qwen3:4b"].backends) == ["gpu1"]


def test_a_request_that_found_no_backend_is_placed_nowhere() -> None:
    tally = recorded(Outcome(model="qwen3:4b", error=Busy(), status=503))
    assert tally.backends == {}
    assert slots(tally.unplaced) == {
        "failures": 1,
        "last_at": START + 0.1,
        "requests": 1,
        "statuses": {"5xx": 1},
    }
    assert tally.total.failures == 1


def test_attempts_after_the_first_are_retries_whoever_got_the_request_in_the_end() -> None:
    outcomes = (good(attempts=3), good(attempts=1), good(attempts=2, error=BackendFailed("oops")), good(attempts=0))
    assert recorded(*outcomes).trouble.retries == 3


def test_errors_by_type_and_blame() -> None:
    refused = BackendRefused("no", type="openrouter_error")
    failed = BackendFailed("oops", type="openrouter_error")
    tally = recorded(*(good(error=error) for error in (refused, failed, failed, ClientGone("left"), None)))
    assert tally.trouble.errors == {
        ("openrouter_error", "client"): 1,
        ("openrouter_error", "backend"): 2,
        ("client_gone", "nobody"): 1,
    }


def test_types_of_errors_are_bounded_though_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ERRORS", 2)
    tally = recorded(*(good(error=BackendFailed("oops", type=f"vendor{n}_error")) for n in range(5)))
    assert tally.trouble.errors == {
        ("vendor0_error", "backend"): 1,
        ("vendor1_error", "backend"): 1,
        ("other", "backend"): 3,
    }


# ---- names that clients make up ------------------------------------------------------------------------------------


def test_one_model_in_several_spellings_is_one() -> None:
    tally = recorded(good(model="Qwen3"), good(model="qwen3:latest"), good(model="qwen3"))
    assert {name: count.requests for name, count in tally.models.items()} == {"qwen3": 3}


def test_names_that_nobody_has_count_together() -> None:
    missing = [Outcome(model=f"made-up-{n}", error=ModelNotFound(f"made-up-{n}"), status=404) for n in range(50)]
    tally = recorded(*missing)
    assert {name: count.requests for name, count in tally.models.items()} == {"unknown": 50}


def test_a_name_is_that_models_as_soon_as_somebody_has_it() -> None:
    elsewhere = good(fallback=True)
    tally = recorded(elsewhere, elsewhere, good(), elsewhere)
    assert {name: (count.requests, count.fallbacks) for name, count in tally.models.items()} == {
        "unknown": (2, 2),
        "qwen3:4b": (2, 1),
    }


def test_a_model_that_is_known_keeps_its_name_while_its_backends_are_away() -> None:
    away = Outcome(model="qwen3:4b", error=NoBackend("all away"), status=503)
    tally = recorded(good(), away)
    assert {name: (count.requests, count.misses) for name, count in tally.models.items()} == {"qwen3:4b": (2, 1)}


def test_a_model_that_nobody_lists_has_a_name_once_it_has_answered() -> None:
    refused = good(model="guess", loose=True, error=BackendRefused("no such model", status=404))
    assert list(recorded(refused).models) == ["unknown"]
    tally = recorded(good(model="guess", loose=True))
    assert (list(tally.models), tally.models["guess"].fallbacks) == (["guess"], 1)


def test_an_alias_that_went_on_is_a_fallback() -> None:
    tally = recorded(good(model="fast", alias="fast"), good(model="fast", alias="fast", attempts=2))
    assert (tally.models["fast"].hits, tally.models["fast"].misses, tally.models["fast"].fallbacks) == (1, 1, 1)


def test_a_body_without_a_model_is_no_models() -> None:
    tally = recorded(Outcome(error=BadRequest("unexpected end of JSON"), status=400))
    assert (tally.models, tally.total.requests, tally.total.failures) == ({}, 1, 0)


def test_whatever_strangers_choose_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_MODELS", 3)
    monkeypatch.setattr(module, "MAX_BACKENDS", 2)
    monkeypatch.setattr(module, "MAX_PAIRS", 4)
    tally = recorded(*(good(model=f"m{n}", backend=f"b{n}") for n in range(10)))
    assert {name: count.requests for name, count in tally.models.items()} == {"m0": 1, "m1": 1, "m2": 1, "other": 7}
    assert {name: count.requests for name, count in tally.backends.items()} == {"b0": 1, "b1": 1, "other": 8}
    assert {name: count.requests for name, count in tally.models["other"].backends.items()} == {"b3": 1, "other": 6}
    assert tally.total.requests == 10


def test_a_long_name_is_not_kept() -> None:
    assert list(recorded(good(model="m" * 100_000)).models) == ["other"]


def test_long_words_leave_nothing_behind() -> None:
    """Neither a model's name nor a path, which anybody chooses behind `/olla/proxy/`."""
    tally, characters, times = Tally(), 1_000_000, 20
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for n in range(times):
            tally.record(good(model=f"{n}-" + "m" * characters), CHAT, START_NS)
            tally.record(good(), replace(CHAT, path=f"/{n}-" + "p" * characters), START_NS)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < characters
    assert {name: count.requests for name, count in tally.models.items()} == {"other": times, "qwen3:4b": times}


def _made_up_path(tally: Tally, n: int) -> None:
    tally.record(good(), replace(CHAT, path=f"/{n}"), START_NS)


def _long_model(tally: Tally, n: int) -> None:
    tally.record(good(model=f"{n}" + "m" * 600), CHAT, START_NS)


def _made_up_model(tally: Tally, n: int) -> None:
    missing = Outcome(model=f"made-up-{n}", error=ModelNotFound("no"), status=404)
    tally.record(missing, CHAT, START_NS)


def _new_member(tally: Tally, n: int) -> None:
    tally.attempt(f"gpu@10.0.0.{n}", None)


@pytest.mark.parametrize("one_more", [_made_up_path, _long_model, _made_up_model, _new_member])
def test_memory_does_not_grow_with_made_up_words(
    one_more: Callable[[Tally, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though nobody looks."""
    monkeypatch.setattr(module, "MAX_CELLS", 10)
    monkeypatch.setattr(module, "MAX_BACKENDS", 10)
    monkeypatch.setattr(module, "MAX_PATHS", 10)
    tally, times = Tally(), 3000
    for n in range(20):
        one_more(tally, n)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for n in range(20, times):
            one_more(tally, n)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 30 * times
    assert sum(count.requests for count in (*tally.models.values(), *tally.backends.values())) == times


def test_more_kinds_than_cells_are_counted_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CELLS", 3)
    monkeypatch.setattr(module, "MAX_BACKENDS", 8)
    tally = Tally()
    for _ in range(4):
        for n in range(8):
            tally.attempt(f"gpu{n}", None)
            tally.record(good(backend=f"gpu{n}"), CHAT, START_NS + n * 1_000_000, streamed=bool(n % 2))
    assert (tally.total.requests, tally.total.total_ms, tally.total.min_ms, tally.total.max_ms) == (32, 112.0, 0.0, 7.0)
    assert [(count.requests, count.statuses, count.total_ms) for count in tally.backends.values()] == [
        (4, {"2xx": 4}, 4.0 * n) for n in range(8)
    ]
    assert (tally.dialects["ollama"].streamed, tally.dialects["ollama"].whole) == (16, 16)


def test_backends_that_came_first_keep_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BACKENDS", 2)
    tally = Tally()
    tally.attempt("gpu1", None)
    tally.attempt("gpu2", None)
    tally.record(good(backend="late", model=None), CHAT, START_NS)
    assert {name: (count.requests, count.answers) for name, count in tally.backends.items()} == {
        "gpu1": (1, 0),
        "gpu2": (1, 0),
        "other": (0, 1),
    }


def test_backends_that_come_and_go_without_a_look_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BACKENDS", 3)
    tally = Tally()
    for n in range(20):
        tally.attempt(f"gpu{n}", None)
    assert {name: count.results for name, count in tally.backends.items()} == {
        "gpu0": {"ok": 1},
        "gpu1": {"ok": 1},
        "gpu2": {"ok": 1},
        "other": {"ok": 17},
    }


def test_clients_are_told_apart_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CLIENTS", 3)
    monkeypatch.setattr(module, "MAX_MARKS", 4)
    tally = Tally()
    for model in ("a", "b"):
        for n in range(10):
            tally.record(good(model=model), replace(CHAT, client=f"10.0.0.{n % 5}"), START_NS)
    tally.record(good(model="b"), replace(CHAT, client=None), START_NS)
    assert tally.models["a"].clients == {"10.0.0.0", "10.0.0.1", "10.0.0.2"}
    assert tally.models["b"].clients == {"10.0.0.0"}


def test_only_the_latest_times_are_remembered() -> None:
    tally = Tally()
    for ms in range(600):
        tally.record(good(), CHAT, START_NS + ms * 1_000_000)
    recent = tally.models["qwen3:4b"].recent_ms
    assert (len(recent), recent[0], recent[-1]) == (512, 88.0, 599.0)


# ---- dialects ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/api/generate", "ollama"),
        ("/v1/chat/completions", "openai"),
        ("/v1/responses", "openai-responses"),
        ("/v1/messages", "anthropic"),
        ("/v1/messages/count_tokens", "anthropic"),
        ("/chat/completions", "openai"),
    ],
)
def test_the_dialect_is_that_of_the_path(path: str, name: str) -> None:
    tally = Tally()
    tally.record(good(), replace(CHAT, path=path), START_NS)
    assert list(tally.dialects) == [name]


def test_the_way_of_requests_and_answers_where_it_is_known() -> None:
    tally = Tally()
    for relayed, backend, streamed in (
        (True, "gpu1", True),
        (False, "gpu1", True),
        (False, "router", False),
        (False, "router", None),
        (None, None, None),
    ):
        tally.record(good(relayed=relayed, backend=backend), CHAT, START_NS, streamed=streamed)
    count = tally.dialects["ollama"]
    assert isinstance(count, DialectCount)
    assert (count.requests, count.relayed, count.translated, count.streamed, count.whole) == (
        5,
        1,
        {"gpu1": 1, "router": 2},
        2,
        1,
    )


def test_each_path_is_counted() -> None:
    tally = Tally()
    for path, error in (("/api/chat", None), ("/api/chat", BackendTimeout("late")), ("/v1/embeddings", None)):
        tally.record(good(error=error), replace(CHAT, path=path), START_NS)
    found = {path: (count.requests, count.failures, count.answers) for path, count in tally.paths.items()}
    assert found == {"/api/chat": (2, 1, 1), "/v1/embeddings": (1, 0, 1)}


def test_paths_that_strangers_make_up_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PATHS", 2)
    tally = Tally()
    for path in ("/api/chat", "/v1/" + "x" * 600, "/v1/a", "/v1/b", "/api/chat"):
        tally.record(good(), replace(CHAT, path=path), START_NS)
    assert {path: count.requests for path, count in tally.paths.items()} == {"/api/chat": 2, "other": 3}


# ---- refused before any exchange -----------------------------------------------------------------------------------


def test_refusals_are_counted_and_addresses_once() -> None:
    security = Security()
    for address, at in (("a", 0.0), ("b", 10.0), ("a", 20.0), (None, 30.0)):
        security.limit(address, at)
    security.oversize()
    assert (security.rate_limited, security.too_large, security.violations) == (4, 1, 5)
    assert security.addresses(30.0) == 2


def test_an_address_is_forgotten_after_an_hour() -> None:
    security = Security()
    for address, at in (("a", 0.0), ("b", 10.0), ("a", 20.0)):
        security.limit(address, at)
    assert [security.addresses(now) for now in (3609.9, 3610.0, 3619.9, 3620.0)] == [2, 1, 1, 0]
    assert security.rate_limited == 3


def test_addresses_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ADDRESSES", 3)
    security = Security()
    for n in range(10):
        security.limit(f"10.0.0.{n}", float(n))
    assert security.addresses(10.0) == 3
    assert security.addresses(3607.5) == 2  # those that were refused last have stayed
