"""What requests are called."""

import re

import pytest

from arriero.server.ids import Ids


def test_a_plain_one_is_short_and_never_the_same() -> None:
    ids = Ids()
    made = [ids.plain() for _ in range(1000)]
    assert len(set(made)) == 1000
    assert all(re.fullmatch(r"[0-9a-f]{16}", id) for id in made)
    assert made[0][:8] == made[-1][:8] and made == sorted(made)  # people find those of one process together


def test_two_processes_do_not_share_theirs() -> None:
    assert Ids().plain() != Ids().plain()


def test_one_in_words_has_ollas_form() -> None:
    ids = Ids()
    made = [ids.in_words() for _ in range(200)]
    assert all(re.fullmatch(r"[a-z]+-[a-z]+-[0-9a-f]{4}", id) for id in made)
    assert len(set(made)) == 200
    assert len({id.partition("-")[0] for id in made}) > 20  # neighbours in a log look different


def test_words_come_again_only_after_67_million() -> None:
    ids = Ids()
    ids._word_start = 0
    first = ids.in_words()
    near = set()
    for jump in range(26):
        for offset in (0, 1, 5, 31, 1000):
            ids._count = (1 << jump) + offset
            near.add(ids.in_words())
    assert first not in near
    ids._count = 1 << 26
    assert ids.in_words() == first


def test_words_differ_wherever_the_count_begins() -> None:
    """Each part is read off other bits of the number: no two of a stretch can meet."""
    for start in (0, 31, 1 << 10, (1 << 26) - 5, 123_456_789):
        ids = Ids()
        ids._word_start = start
        assert len({ids.in_words() for _ in range(70_000)}) == 70_000


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (b"abc", "abc"),
        (b"!~", "!~"),
        (b"x" * 128, "x" * 128),
        (b"x" * 129, None),
        (b"", None),
        (b"a b", None),
        (b" a", None),
        (b"a\t", None),
        (b"a\n", None),
        (b"caf\xc3\xa9", None),
        (b"\x7f", None),
    ],
)
def test_the_clients_own(value: bytes, told: str | None) -> None:
    assert Ids().told(((b"host", b"x"), (b"x-request-id", value))) == told


def test_the_first_one_counts_and_none_is_none() -> None:
    ids = Ids()
    assert ids.told(((b"x-request-id", b"a b"), (b"x-request-id", b"good"))) is None
    assert ids.told(((b"x-request-ids", b"good"),)) is None
