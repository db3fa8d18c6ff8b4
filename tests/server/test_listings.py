"""Texts are written once, and anew when what they were written from is another one."""

from arriero.canonical.catalog import ModelCard
from arriero.gateway.door import FRONT, Door
from arriero.gateway.entry import Entry, Seat
from arriero.routing.fleet import State
from arriero.routing.names import Names, Offer
from arriero.server.listings import MAX_TEXTS, Listings
from support.olla_fleet import Resting

NAMES = Names([Offer("gpu1", ModelCard(id="tiny"))])


def entries(**states: State) -> dict[str, Entry]:
    """Backends in these states."""
    found = {}
    for name, state in states.items():
        entry = Entry(Resting(name, "ollama", ""), Seat())  # type: ignore[arg-type]
        entry.state = state
        found[name] = entry
    return found


class Asked:
    """Listings, and how often a text had to be written."""

    def __init__(self) -> None:
        self.listings = Listings()
        self.written = 0

    def ask(self, door: Door = FRONT, form: str = "ollama", names: Names = NAMES, **states: State) -> bytes:
        return self.listings.text(door, form, names, entries(**states), self._write)

    def _write(self) -> bytes:
        self.written += 1
        return b"%d" % self.written


def test_a_text_is_written_once() -> None:
    asked = Asked()
    assert [asked.ask(gpu1=State.HEALTHY) for _ in range(3)] == [b"1", b"1", b"1"]


def test_states_that_change_no_list_change_no_text() -> None:
    asked = Asked()
    for state in (State.UNKNOWN, State.HEALTHY, State.BUSY, State.UNHEALTHY, State.RATE_LIMITED, State.CONFIG_ERROR):
        assert asked.ask(gpu1=state) == b"1"


def test_who_goes_offline_and_who_comes_back_makes_another_text() -> None:
    asked = Asked()
    away = [asked.ask(gpu1=State.HEALTHY, gpu2=state) for state in (State.HEALTHY, State.OFFLINE, State.HEALTHY)]
    assert away == [b"1", b"2", b"3"]
    assert asked.ask(gpu1=State.OFFLINE, gpu2=State.HEALTHY) == b"4"


def test_another_index_makes_another_text_though_it_says_the_same() -> None:
    asked = Asked()
    index = Names([Offer("gpu1", ModelCard(id="tiny"))])
    assert [asked.ask(names=index), asked.ask(names=NAMES), asked.ask(names=NAMES)] == [b"1", b"2", b"2"]


def test_an_index_that_has_gone_is_never_taken_for_a_new_one() -> None:
    asked = Asked()
    for n in range(50):  # one takes the other's place in memory
        assert asked.ask(names=Names([Offer("gpu1", ModelCard(id=f"m{n}"))])) == b"%d" % (n + 1)


def test_each_door_and_form_has_its_own() -> None:
    asked = Asked()
    olla = Door("/olla/ollama", "ollama", olla=True)
    assert [asked.ask(), asked.ask(form="openai"), asked.ask(olla), asked.ask(), asked.ask(olla)] == [
        b"1",
        b"2",
        b"3",
        b"1",
        b"3",
    ]


def test_of_many_texts_those_asked_for_last_are_kept() -> None:
    asked = Asked()
    for n in range(MAX_TEXTS):
        asked.ask(form=f"form{n}")
    asked.ask(form="form0")
    asked.ask(form="one more")
    assert asked.written == MAX_TEXTS + 1
    assert (asked.ask(form="form0"), asked.written) == (b"1", MAX_TEXTS + 1)
    asked.ask(form="form1")
    assert asked.written == MAX_TEXTS + 2
