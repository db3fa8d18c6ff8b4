"""Conversations to numbers and back, and numbers that nobody should trust."""

import zlib
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.canonical.requests import Image, Message, Text
from arriero.dialects.ollama.memory import MARK, MAX_BYTES, MAX_TURNS, recalled, remembered, resumed
from arriero.errors import BadRequest


def say(role: str, text: str) -> Message:
    return Message(role, (Text(text),))


HI, HELLO = say("user", "hi"), say("assistant", "Hello")


def numbers(packed: bytes, *, sum: int | None = None) -> tuple[int, ...]:
    """A context as somebody else could make it."""
    data = pack(">I", zlib.crc32(packed) if sum is None else sum) + packed
    data += bytes(-len(data) % 3)
    return (MARK, *[int.from_bytes(data[at : at + 3]) for at in range(0, len(data), 3)])


@given(st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), st.text())), st.text())
def test_what_was_said_comes_back(said: list[tuple[str, str]], answer: str) -> None:
    turns = tuple(say(role, text) for role, text in said)
    given = remembered(turns, answer)
    assert given is not None and given[0] == MARK and all(0 <= number < 1 << 24 for number in given)
    assert recalled(given) == (*turns, say("assistant", answer))
    assert recalled(list(given)) == recalled(given)


def test_half_a_surrogate_pair_is_carried_as_well() -> None:
    given = remembered((say("user", "a\ud800"),), "")
    assert given is not None
    assert recalled(given) == (say("user", "a\ud800"), say("assistant", ""))


def test_images_stay_behind() -> None:
    given = remembered((Message("user", (Text("look"), Image(data="aGk="))),), "A cat.")
    assert given is not None
    assert recalled(given) == (say("user", "look"), say("assistant", "A cat."))


def test_it_is_no_longer_than_the_tokens_would_be() -> None:
    text = "The llama went over the mountain to see what it could see. " * 50
    given = remembered((say("user", text),), text)
    assert given is not None and len(given) < 100


def test_what_is_too_long_is_not_carried() -> None:
    assert remembered((HI,), "x" * MAX_BYTES) is None
    assert remembered((HI,) * MAX_TURNS, "") is None
    longest = remembered((), "x" * MAX_BYTES)
    assert longest is not None
    assert recalled(longest) == (say("assistant", "x" * MAX_BYTES),)
    most = remembered((HI,) * (MAX_TURNS - 1), "")
    assert most is not None
    assert len(recalled(most) or ()) == MAX_TURNS


@pytest.mark.parametrize("tokens", [(), (1, 2), (128_000, MARK), (-1,), (MARK + 1,)])
def test_tokens_of_others_are_not_ours(tokens: tuple[int, ...]) -> None:
    assert recalled(tokens) is None


WHOLE = remembered((HI,), "Hello") or ()


@pytest.mark.parametrize(
    "context",
    [
        (MARK,),
        (MARK, 1),
        WHOLE[:-1],
        (*WHOLE, 0),
        (*WHOLE[:-1], WHOLE[-1] ^ 1 << 20),
        (*WHOLE[:3], 1 << 24, *WHOLE[3:]),
        (*WHOLE[:3], -1, *WHOLE[3:]),
        (*WHOLE[:3], 1 << 40, *WHOLE[3:]),
        numbers(zlib.compress(b"u2\nhi"), sum=7),
        numbers(b"no zlib"),
        numbers(zlib.compress(b"u2\nhi")[:-3]),
        *[
            numbers(zlib.compress(written))
            for written in (b"", b"\n", b"u\n", b"u3\nhi", b"u1\nhi", b"x2\nhi", b"u-2\nhi", b"u1 u-1\nh", b"u+2\nhi",
                            b"u2  u0\nhi", b"u1\n\xff", b"u" + b"9" * 5000 + b"\nhi")
        ],
    ],
)  # fmt: skip
def test_what_is_damaged_is_refused(context: tuple[int, ...]) -> None:
    with pytest.raises(BadRequest) as caught:
        recalled(context)
    assert (caught.value.status, caught.value.message) == (
        400,
        "context: it is not as it was given; send it back whole and unchanged, or leave it out",
    )


@given(st.lists(st.integers(-1, 1 << 24)), st.binary())
def test_anything_else_is_damaged_or_a_conversation(anything: list[int], written: bytes) -> None:
    for context in ((MARK, *anything), numbers(written), numbers(zlib.compress(written))):
        try:
            turns = recalled(context)
        except BadRequest as error:
            assert error.status == 400
        else:
            assert turns and all(turn.role in ("system", "user", "assistant") for turn in turns)


def test_what_others_make_as_arriero_does_is_read() -> None:
    assert recalled(numbers(zlib.compress(b"s1 u2\n!hi"))) == (say("system", "!"), HI)


def test_a_bomb_is_refused_before_it_goes_off() -> None:
    bombs = [b"u%d\n" % (5 * MAX_BYTES) + bytes(5 * MAX_BYTES), b"u0 " * 100_000 + b"u0\n"]
    for bomb in bombs:
        with pytest.raises(BadRequest, match="context: the conversation in it is too long"):
            recalled(numbers(zlib.compress(bomb)))


def test_a_conversation_goes_on() -> None:
    assert resumed((), None, HI) == (HI,)
    assert resumed((HI, HELLO), None, HI) == (HI, HELLO, HI)


def test_a_new_system_text_takes_the_place_of_the_old_one() -> None:
    old, new = say("system", "be kind"), say("system", "be brief")
    assert resumed((old, HI, HELLO), None, HI) == (old, HI, HELLO, HI)
    assert resumed((old, HI, HELLO), "be brief", HI) == (new, HI, HELLO, HI)
    assert resumed((), "be brief", HI) == (new, HI)
