"""Where blobs lie, as long as that is remembered."""

from arriero.gateway.library.placed import Placed

ONE, TWO = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def test_a_blob_may_lie_in_several_places() -> None:
    placed = Placed()
    placed.put(ONE, ["gpu1"])
    placed.put(ONE, ["gpu2"])
    assert placed.find(ONE) == {"gpu1", "gpu2"}
    assert not placed.find(TWO)


def test_both_spellings_of_a_digest_are_one() -> None:
    placed = Placed()
    placed.put(f"sha256-{'A' * 64}", ["gpu1"])
    assert placed.find(f"sha256:{'a' * 64}") == {"gpu1"}


def test_it_is_forgotten_after_its_time() -> None:
    clock = Clock()
    placed = Placed(seconds=10, clock=clock)
    placed.put(ONE, ["gpu1"])
    clock.now += 9
    assert placed.find(ONE) == {"gpu1"}
    clock.now += 1
    assert placed.find(ONE) == frozenset()
    placed.put(ONE, ["gpu2"])
    assert placed.find(ONE) == {"gpu2"}


def test_of_too_many_the_one_that_was_not_touched_for_longest_goes() -> None:
    placed = Placed(most=2)
    placed.put(ONE, ["gpu1"])
    placed.put(TWO, ["gpu1"])
    placed.put(ONE, ["gpu1"])
    placed.put(f"sha256:{'3' * 64}", ["gpu1"])
    assert (len(placed), placed.find(TWO)) == (2, frozenset())
    assert placed.find(ONE) == {"gpu1"}


def test_nobody_is_no_place() -> None:
    placed = Placed()
    placed.put(ONE, [])
    assert len(placed) == 0
