"""What is left out does nothing, and what is not there cannot be left out."""

import pytest

from benchmarks.uncounted import leave_out


class Thing:
    """Counts its calls."""

    times = 0

    def count(self, more: int) -> None:
        self.times += more


def test_a_method_that_is_left_out_does_nothing() -> None:
    class Other(Thing):
        pass

    leave_out(Other, "count")
    other = Other()
    other.count(3)
    assert other.times == 0


def test_a_method_that_has_gone_is_told() -> None:
    with pytest.raises(AssertionError, match=r"measures what is gone: Thing\.counted"):
        leave_out(Thing, "counted")
