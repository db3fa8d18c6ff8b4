"""Which backends an operation goes to."""

from collections.abc import Sequence

import pytest

from arriero.backends.remote import Ollama, OpenAI, RemoteSettings
from arriero.canonical.catalog import ModelCard
from arriero.dialects.profiles import profile_of
from arriero.errors import ArrieroError
from arriero.gateway.entry import Entry, Seat
from arriero.gateway.library.targets import Entries, first_well, holders, home_of, managing, named
from arriero.routing.fleet import State
from arriero.routing.names import Offer

PUSH = "/api/push"


def entries(**states: State) -> dict[str, Entry]:
    """Ollama servers; a name that begins with `v` is a server of the OpenAI API."""
    found: dict[str, Entry] = {}
    for name, state in states.items():
        kind, profile = (OpenAI, "generic") if name.startswith("v") else (Ollama, "ollama")
        settings = RemoteSettings(name=name, url="http://127.0.0.1:1", profile=profile_of(profile))
        found[name] = Entry(kind(settings), Seat())
        found[name].state = state
    return found


def offers(*pairs: tuple[str, str]) -> Sequence[Offer]:
    return [Offer(backend, ModelCard(id=id)) for backend, id in pairs]


WELL, AWAY, BAD, NEW, SLOW = State.HEALTHY, State.OFFLINE, State.UNHEALTHY, State.UNKNOWN, State.BUSY
ALL = entries(gpu1=WELL, gpu2=WELL, gpu3=WELL)


def refusal(error: pytest.ExceptionInfo[ArrieroError]) -> tuple[int, str]:
    return error.value.status, error.value.message


def test_only_some_manage_models() -> None:
    assert list(managing(entries(v1=WELL, gpu2=AWAY, gpu1=WELL), PUSH)) == ["gpu2", "gpu1"]
    with pytest.raises(ArrieroError) as raised:
        managing(entries(v1=WELL), PUSH)
    assert refusal(raised) == (
        501,
        "no configured backend manages models: /api/push needs one of kind ollama, or of kind engine whose store is "
        "not read_only",
    )


@pytest.mark.parametrize(
    ("library", "home"),
    [
        (entries(gpu1=WELL, gpu2=WELL), "gpu1"),
        (entries(gpu2=WELL, gpu1=WELL), "gpu2"),
        (entries(gpu1=AWAY, gpu2=BAD, gpu3=SLOW), "gpu3"),
        (entries(gpu1=State.RATE_LIMITED, gpu2=NEW), "gpu2"),
        (entries(gpu1=AWAY, gpu2=BAD), "gpu1"),
    ],
)
def test_the_home_is_the_first_that_is_well(library: Entries, home: str) -> None:
    assert list(first_well(library)) == [home]


@pytest.mark.parametrize(
    ("field", "chosen"),
    [
        (None, None),
        (b"", None),
        (b" , ", None),
        (b"gpu3, gpu1", ["gpu1", "gpu3"]),
        (b"gpu2,gpu2,,", ["gpu2"]),
        (b"*", ["gpu1", "gpu2", "gpu3"]),
        (b"gpu2,*", ["gpu1", "gpu2", "gpu3"]),
    ],
)
def test_the_header_names_backends(field: bytes | None, chosen: list[str] | None) -> None:
    found = named(field, ALL)
    assert (found if found is None else list(found)) == chosen


@pytest.mark.parametrize("field", [b"gpu9", b"gpu1,gpu9", b"gpu9;x", b"\xff"])
def test_a_name_that_is_none_is_answered_with_those_there_are(field: bytes) -> None:
    with pytest.raises(ArrieroError) as raised:
        named(field, ALL)
    unknown = field.decode("utf-8", "replace").rpartition(",")[2]
    assert refusal(raised) == (404, f"no backend named '{unknown}' manages models; these do: gpu1, gpu2, gpu3")


def test_what_is_made_of_blobs_is_made_where_they_all_are() -> None:
    def place(*names: str) -> frozenset[str]:
        return frozenset(names)

    assert list(home_of({}, ALL)) == ["gpu1"]
    assert list(home_of({"a": place("gpu2", "gpu3")}, ALL)) == ["gpu2"]
    assert list(home_of({"a": place("gpu2", "gpu3"), "b": place("gpu3", "gpu1")}, ALL)) == ["gpu3"]
    assert list(home_of({"a": place("gpu1", "gpu2")}, entries(gpu1=AWAY, gpu2=WELL))) == ["gpu2"]


@pytest.mark.parametrize(
    ("places", "text"),
    [
        (
            [["gpu1"], ["gpu2"]],
            "no backend has all the files of this model: they lie on gpu1, gpu2; upload them again",
        ),
        (
            [["gpu1", "gone"]],
            "the files of this model were uploaded to gone, gpu1, which does not answer now: "
            "try again when it is back, or upload them again",
        ),
    ],
)
def test_where_nobody_has_them_all_it_is_refused(places: list[list[str]], text: str) -> None:
    with pytest.raises(ArrieroError) as raised:
        home_of({str(at): frozenset(names) for at, names in enumerate(places)}, entries(gpu1=AWAY, gpu2=WELL))
    assert refusal(raised) == (503, text)


def test_who_has_a_model_has_it_under_a_name_of_its_own() -> None:
    found = offers(("gpu2", "TINY"), ("v1", "tiny"), ("gpu1", "tiny:latest"), ("gpu3", "other"))
    held = holders(PUSH, "tiny", found, ALL, None)
    assert [(name, offer.card.id) for name, offer in held.items()] == [("gpu1", "tiny:latest"), ("gpu2", "TINY")]
    chosen = named(b"gpu2,gpu3", ALL)
    assert list(holders(PUSH, "tiny", found, ALL, chosen)) == ["gpu2"]


def test_who_is_asked_for_what_he_does_not_have() -> None:
    with pytest.raises(ArrieroError) as raised:
        holders(PUSH, "Tiny", offers(("gpu1", "tiny")), ALL, named(b"gpu2,gpu3", ALL))
    assert refusal(raised) == (404, "model 'Tiny' not found on gpu2, gpu3, but on gpu1")


def test_what_only_others_have_is_not_managed() -> None:
    with pytest.raises(ArrieroError) as raised:
        holders(PUSH, "tiny", offers(("v1", "tiny"), ("v2", "tiny")), ALL, None)
    assert refusal(raised) == (
        501,
        "'tiny' is on v1, v2 only, where models are not managed: /api/push needs a backend of kind ollama or engine "
        "that has it",
    )
