"""The error tree: every class answers status, retry and blame as data."""

from collections.abc import Iterator

import pytest

from arriero import errors
from arriero.errors import ArrieroError, Blame, Retry


def tree(root: type[ArrieroError] = ArrieroError) -> Iterator[type[ArrieroError]]:
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


TABLE = [
    ("ArrieroError", 500, "internal_error", Retry.NEVER, Blame.GATEWAY),
    ("BadRequest", 400, "validation_error", Retry.NEVER, Blame.CLIENT),
    ("InvalidOption", 500, "validation_error", Retry.NEVER, Blame.CLIENT),
    ("UnsupportedCapability", 400, "validation_error", Retry.NEVER, Blame.CLIENT),
    ("UnsupportedContent", 400, "validation_error", Retry.NEVER, Blame.CLIENT),
    ("Unauthorized", 401, "unauthorized", Retry.NEVER, Blame.CLIENT),
    ("Forbidden", 403, "forbidden", Retry.NEVER, Blame.CLIENT),
    ("ModelForbidden", 403, "model_forbidden", Retry.NEVER, Blame.CLIENT),
    ("NotFound", 404, "not_found", Retry.NEVER, Blame.CLIENT),
    ("ModelNotFound", 404, "model_not_found", Retry.NEVER, Blame.CLIENT),
    ("AmbiguousModel", 404, "model_not_found", Retry.NEVER, Blame.CLIENT),
    ("RequestTimeout", 408, "request_timeout", Retry.NEVER, Blame.CLIENT),
    ("PayloadTooLarge", 413, "payload_too_large", Retry.NEVER, Blame.CLIENT),
    ("HeadersTooLarge", 431, "headers_too_large", Retry.NEVER, Blame.CLIENT),
    ("RateLimited", 429, "rate_limited", Retry.NEVER, Blame.CLIENT),
    ("ClientGone", 499, "client_gone", Retry.NEVER, Blame.NOBODY),
    ("InternalError", 500, "internal_error", Retry.NEVER, Blame.GATEWAY),
    ("NotImplementedHere", 501, "not_implemented", Retry.NEVER, Blame.GATEWAY),
    ("NoBackend", 503, "no_backend", Retry.NEVER, Blame.GATEWAY),
    ("Busy", 503, "rate_limited", Retry.NEVER, Blame.GATEWAY),
    ("BackendError", 502, "backend_error", Retry.ELSEWHERE, Blame.BACKEND),
    ("BackendUnreachable", 503, "network_error", Retry.ELSEWHERE, Blame.BACKEND),
    ("BackendTimeout", 504, "network_error", Retry.ELSEWHERE, Blame.BACKEND),
    ("BackendBroken", 502, "backend_error", Retry.ELSEWHERE, Blame.BACKEND),
    ("BackendUnauthorized", 502, "backend_error", Retry.ELSEWHERE, Blame.BACKEND),
    ("BackendUnconfigured", 503, "configuration_error", Retry.ELSEWHERE, Blame.GATEWAY),
    ("BackendOverloaded", 503, "rate_limited", Retry.ELSEWHERE, Blame.BACKEND),
    ("BackendFailed", 502, "backend_error", Retry.ELSEWHERE, Blame.BACKEND),
    ("BackendRefused", 400, "backend_error", Retry.NEVER, Blame.CLIENT),
    ("ContextExceeded", 400, "backend_error", Retry.NEVER, Blame.CLIENT),
    ("ModelMissing", 404, "model_not_found", Retry.ELSEWHERE, Blame.BACKEND),
    ("ToolsRefused", 400, "backend_error", Retry.NEVER, Blame.CLIENT),
    ("UsageRefused", 400, "backend_error", Retry.NEVER, Blame.CLIENT),
    ("EngineError", 500, "engine_error", Retry.ELSEWHERE, Blame.BACKEND),
    ("EngineMissing", 503, "configuration_error", Retry.ELSEWHERE, Blame.GATEWAY),
    ("ModelBroken", 500, "engine_error", Retry.ELSEWHERE, Blame.BACKEND),
    ("ModelTooLarge", 500, "engine_error", Retry.ELSEWHERE, Blame.BACKEND),
    ("EngineCrashed", 500, "engine_error", Retry.ELSEWHERE, Blame.BACKEND),
    ("RegistryError", 500, "registry_error", Retry.NEVER, Blame.BACKEND),
    ("StoreError", 500, "store_error", Retry.NEVER, Blame.GATEWAY),
    ("StoreReadOnly", 403, "store_error", Retry.NEVER, Blame.GATEWAY),
]


@pytest.mark.parametrize(("name", "status", "type", "retry", "blame"), TABLE, ids=[row[0] for row in TABLE])
def test_what_a_class_says(name: str, status: int, type: str, retry: Retry, blame: Blame) -> None:
    found = getattr(errors, name)
    assert (found.status, found.type, found.retry, found.blame) == (status, type, retry, blame)


def test_the_table_is_the_whole_tree() -> None:
    assert sorted(row[0] for row in TABLE) == sorted(
        {found.__name__ for found in tree() if found.__module__ == "arriero.errors"}
    )


def test_an_instance_may_carry_a_backends_own_words() -> None:
    error = errors.BackendRefused("too long", status=422, type="openrouter_error", retry_after=2.5)
    assert (error.message, str(error)) == ("too long", "too long")
    assert (error.status, error.type, error.retry_after) == (422, "openrouter_error", 2.5)
    assert (errors.BackendRefused.status, errors.BackendRefused.type) == (400, "backend_error")


def test_messages_that_clients_know() -> None:
    assert errors.ModelNotFound("nope").message == "model 'nope' not found"
    assert errors.Busy().message == "server busy, please try again.  maximum pending requests exceeded"
    assert errors.Busy().retry_after == 1.0
    ambiguous = errors.AmbiguousModel("gpt", ("gpt-4", "gpt-5"))
    assert ambiguous.message == "model 'gpt' not found: the name is ambiguous, it may mean gpt-4, gpt-5"
    assert ambiguous.candidates == ("gpt-4", "gpt-5")
