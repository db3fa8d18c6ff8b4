"""What is said where several were asked."""

import pytest

from arriero.errors import ArrieroError, BackendFailed, BackendRefused, BackendUnreachable, ModelNotFound
from arriero.gateway.library.outcomes import Outcomes, failure, failure_where_present, reason

AWAY = BackendUnreachable("gpu2 closed the connection before it answered")
FULL = BackendFailed("no space left", status=500)
GONE = BackendRefused("model 'x' not found", status=404)
BAD = BackendRefused("invalid model name")
NEVER = BackendFailed("nobody manages models", status=501)
UNKNOWN = ModelNotFound("x")


def told(error: ArrieroError | None) -> tuple[int, str] | None:
    return None if error is None else (error.status, error.message)


@pytest.mark.parametrize(
    ("outcomes", "error"),
    [
        ({"gpu1": None}, None),
        ({"gpu1": None, "gpu2": None}, None),
        ({"gpu1": None, "gpu2": AWAY}, (502, "pulled on gpu1; gpu2: closed the connection before it answered")),
        ({"gpu1": FULL, "gpu2": None, "gpu3": None}, (502, "pulled on gpu2, gpu3; gpu1: no space left")),
        ({"gpu1": FULL, "gpu2": FULL}, (502, "pulled nowhere; gpu1: no space left; gpu2: no space left")),
        ({"gpu1": BAD, "gpu2": BAD}, (400, "invalid model name")),
        ({"gpu1": NEVER}, (501, "nobody manages models")),
        ({"gpu1": BAD, "gpu2": None}, (502, "pulled on gpu2; gpu1: invalid model name")),
        ({"gpu1": BAD, "gpu2": GONE}, (502, "pulled nowhere; gpu1: invalid model name; gpu2: model 'x' not found")),
    ],
)
def test_the_failure_names_who_failed_and_who_did_it(outcomes: Outcomes, error: tuple[int, str] | None) -> None:
    assert told(failure("pulled", outcomes)) == error


@pytest.mark.parametrize(
    ("outcomes", "error"),
    [
        ({"gpu1": None, "gpu2": GONE}, None),
        ({"gpu1": GONE, "gpu2": GONE}, (404, "model 'x' not found")),
        ({"gpu1": GONE, "gpu2": FULL}, (502, "deleted nowhere; gpu2: no space left")),
        ({"gpu1": GONE, "gpu2": FULL, "gpu3": None}, (502, "deleted on gpu3; gpu2: no space left")),
    ],
)
def test_who_does_not_have_it_spoils_nothing(outcomes: Outcomes, error: tuple[int, str] | None) -> None:
    assert told(failure_where_present("deleted", outcomes, UNKNOWN)) == error


def test_the_name_does_not_stand_there_twice() -> None:
    assert (reason("gpu2", AWAY), reason("gpu", AWAY)) == ("closed the connection before it answered", AWAY.message)
