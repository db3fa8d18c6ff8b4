"""Requests in, keys out; keys in, backends out."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.routing.sticky import Key, Sessions, Stick, derive, session, stick

ALL = ("header", "prefix", "authorization", "address")
ANN = ((b"authorization", b"Bearer ann"),)
BOB = ((b"authorization", b"Bearer bob"),)

SYSTEM = {"role": "system", "content": "You are a mule driver. " * 40}
HELLO = {"role": "user", "content": "Hello"}
ANSWER = {"role": "assistant", "content": "Good day."}
AGAIN = {"role": "user", "content": "And now?"}


def key(
    kinds: tuple[str, ...] = ALL,
    *,
    model: str = "qwen3:4b",
    headers: tuple[tuple[bytes, bytes], ...] = (),
    body: bytes = b"{}",
    client: str | None = None,
) -> Key | None:
    return derive(kinds, model=model, headers=headers, body=body, client=client)


def prefix(headers: tuple[tuple[bytes, bytes], ...] = (), client: str | None = None, **body: Any) -> Key | None:
    return key(("prefix",), headers=headers, body=json.dumps(body).encode(), client=client)


def talk(*messages: dict[str, Any], headers: tuple[tuple[bytes, bytes], ...] = ()) -> Key | None:
    found = prefix(headers, messages=messages)
    assert found is None or found.source == "prefix_hash"
    return found


# What names a session.


def test_the_first_kind_that_the_request_has_is_taken() -> None:
    full = json.dumps({"messages": [HELLO]}).encode()
    named = ((b"x-arriero-session", b"s1"), *ANN)

    def source(kinds: tuple[str, ...], headers: tuple[tuple[bytes, bytes], ...], body: bytes) -> str | None:
        found = key(kinds, headers=headers, body=body, client="10.0.0.1")
        return None if found is None else found.source

    assert source(ALL, named, full) == "session_header"
    assert source(ALL, ANN, full) == "prefix_hash"
    assert source(ALL, ANN, b"{}") == "auth_header"
    assert source(ALL, (), b"{}") == "ip"
    assert source(ALL[:3], (), b"{}") is None
    assert source(("address", "header"), named, full) == "ip"
    assert source((), named, full) is None


def test_a_key_is_a_digest() -> None:
    found = key(headers=((b"authorization", b"Bearer secret"),))
    assert found is not None
    assert len(bytes.fromhex(found.text)) == 12


def test_a_kind_that_there_is_not() -> None:
    with pytest.raises(
        ValueError, match="'cookie' is no kind of session key: header, prefix, authorization or address"
    ):
        key(("cookie",))


def test_the_header_under_both_names() -> None:
    arriero, olla = (b"x-arriero-session", b"s1"), (b"x-olla-session-id", b"s2")
    assert key(headers=(olla, arriero)) == key(headers=(arriero,))
    assert key(headers=(olla,)) == key(headers=((b"x-arriero-session", b" s2 "),))
    assert key(headers=(olla,)) != key(headers=(arriero,))
    assert [session((olla, arriero)), session((olla,)), session(ANN)] == [b"s1", b"s2", None]


@pytest.mark.parametrize("name", [b"x-arriero-session", b"x-olla-session-id", b"authorization", b"x-api-key"])
def test_an_empty_field_names_nothing(name: bytes) -> None:
    assert key(headers=((name, b" "),)) is None


def test_both_fields_for_credentials() -> None:
    assert key(headers=((b"x-api-key", b"k"),)) == key(headers=((b"authorization", b"k"),))
    assert key(headers=ANN) != key(headers=BOB)


def test_the_same_word_in_two_places_is_not_one_session() -> None:
    headers = ((b"x-arriero-session", b"10.0.0.1"), (b"authorization", b"10.0.0.1"))
    keys = {key((kind,), headers=headers, client="10.0.0.1") for kind in ("header", "authorization", "address")}
    assert len({found.text for found in keys if found is not None}) == 3


def test_each_model_has_sessions_of_its_own_and_spellings_are_one_model() -> None:
    def of(model: str) -> Key | None:
        return key(model=model, headers=ANN)

    assert of("qwen3:4b") != of("qwen3:32b")
    assert of("Qwen3:4B ") == of("qwen3:4b")
    assert of("gemma3:latest") == of("gemma3")
    assert of("\ud800") is not None


def test_where_the_model_ends_and_the_session_begins_counts() -> None:
    assert key(model="ab", headers=((b"x-arriero-session", b"c"),)) != key(
        model="a", headers=((b"x-arriero-session", b"bc"),)
    )


# The beginning of a conversation.


def test_a_conversation_has_one_key_from_its_first_turn_on() -> None:
    first = talk(SYSTEM, HELLO)
    assert first is not None
    assert talk(SYSTEM, HELLO, ANSWER, AGAIN) == first
    assert talk(SYSTEM, HELLO, ANSWER, AGAIN, SYSTEM, ANSWER, HELLO) == first


def test_a_short_conversation_has_one_too() -> None:
    assert talk(HELLO) is not None
    assert talk(HELLO, ANSWER, AGAIN) == talk(HELLO)


def test_a_common_system_prompt_does_not_bring_all_to_one_backend() -> None:
    assert talk(SYSTEM, HELLO) != talk(SYSTEM, AGAIN)
    assert talk(SYSTEM, HELLO, headers=ANN) != talk(SYSTEM, HELLO, headers=BOB)
    addresses = ("10.0.0.1", "10.0.0.2", None)
    assert len({prefix(messages=[SYSTEM, HELLO], client=client) for client in addresses}) == 3


def test_every_system_prompt_before_the_user_counts() -> None:
    other = {"role": "developer", "content": "Be brief."}
    keys = {talk(*before, HELLO) for before in [(), (SYSTEM,), (other,), (SYSTEM, other), (other, SYSTEM)]}
    assert len(keys) == 5
    assert None not in keys


def test_a_system_prompt_outside_of_the_messages() -> None:
    plain = prefix(messages=[HELLO], system="Be brief.")
    assert plain not in (prefix(messages=[HELLO]), prefix(messages=[HELLO], system="Be long."))
    marked = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    assert prefix(messages=[HELLO], system=marked) == plain


def test_a_text_and_its_one_part_are_the_same_and_marks_for_a_cache_may_move() -> None:
    part = {"type": "text", "text": "Hello"}
    marked = {**part, "cache_control": {"type": "ephemeral"}}
    assert talk({"role": "user", "content": [part]}) == talk(HELLO)
    assert talk({"role": "user", "content": [marked]}) == talk(HELLO)


@pytest.mark.parametrize(
    "extra",
    [
        {"images": ["aGVsbG8="]},
        {"content": [{"type": "text", "text": "Hello"}, {"type": "image_url", "image_url": {"url": "data:,x"}}]},
        {"content": [{"type": "text", "text": "Hello"}, {"type": "image", "source": {"data": "eA=="}}]},
        {"content": [{"type": "text", "text": "Hello"}, {"type": "input_audio", "input_audio": {"data": "eA=="}}]},
        {"content": [{"type": "text", "text": "Hello"}, {"type": "file", "file": {"file_id": "x"}}]},
        {"content": [{"type": "text", "text": "Hello"}, {"type": "text", "text": ""}]},
    ],
)
def test_what_goes_with_the_text_counts(extra: dict[str, Any]) -> None:
    found = talk({**HELLO, **extra})
    assert found not in (None, talk(HELLO))
    assert talk({**HELLO, **extra}, ANSWER, AGAIN) == found


@pytest.mark.parametrize("messages", [[], [SYSTEM], [SYSTEM, ANSWER], [{"content": "Hello"}], [{"role": 1}], [{}]])
def test_without_a_user_there_is_no_conversation(messages: list[dict[str, Any]]) -> None:
    assert talk(*messages) is None


def test_a_long_prompt_is_known_by_its_beginning() -> None:
    long = "é" * 256
    found = prefix(prompt=long)
    assert found is not None
    assert prefix(prompt=long + "and what came later", messages=None) == found
    assert prefix(prompt="e" + long) != found
    assert prefix(prompt=long, system="Be brief.") != found
    assert prefix(ANN, prompt=long) != found
    assert prefix(prompt=long, client="10.0.0.1") != found


@pytest.mark.parametrize("prompt", ["é" * 255, "", None, 7, ["é" * 300], {"a": "b"}])
def test_a_short_prompt_may_yet_grow(prompt: Any) -> None:
    assert prefix(prompt=prompt) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"[]",
        b"null",
        b'{"messages":"hello"}',
        b'{"messages":[1]}',
        b'{"messages":[{"role":"user","content":["hello"]}]}',
        b'{"messages":[{"role":"user","content":"hello"}]',
        b'{"messages":[{"role":"user","content":[1,}]}',
        b'{"prompt":"\xff' + b"a" * 300 + b'"}',
        b'{"messages":' + b"[" * 100_000,
        b'{"x":' + b"[" * 100_000,
    ],
)
def test_a_body_of_any_form_is_taken(body: bytes) -> None:
    assert key(("prefix",), body=body) is None


@given(st.binary(max_size=60) | st.text('{}[]":,\\ messagprotuniv', max_size=80).map(str.encode))
def test_a_body_of_any_bytes_is_taken(body: bytes) -> None:
    found = key(body=body, client="10.0.0.1")
    assert found is not None
    assert found.source in ("prefix_hash", "ip")


TEXTS = st.text(max_size=20)
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant", "tool"]), "content": TEXTS}),
    max_size=6,
)


@given(MESSAGES, TEXTS, MESSAGES)
def test_whatever_follows_the_first_message_of_the_user_changes_nothing(
    before: list[dict[str, Any]], text: str, after: list[dict[str, Any]]
) -> None:
    opening = [*before, {"role": "user", "content": text}]
    assert talk(*opening, *after) == talk(*opening)


# The words for the answer.


def test_the_answer_says_what_became_of_it() -> None:
    named = ((b"x-olla-session-id", b"caf\xe9"),)
    assert stick("hit", key(headers=named), named) == Stick("hit", "session_header", "caf\xe9")
    by_key = key(("authorization",), headers=(*named, *ANN))
    assert stick("repin", by_key, (*named, *ANN)) == Stick("repin", "auth_header", None)
    assert stick("miss", None, named) == Stick("disabled", None, None)


# Who remembers.


def keys(text: str) -> list[Key]:
    return [Key(each, "ip") for each in text]


K, L, M = keys("klm")


def counters(sessions: Sessions) -> tuple[int, int, int, int, int]:
    """Length, insertions, hits, misses, evictions."""
    return len(sessions), sessions.insertions, sessions.hits, sessions.misses, sessions.evictions


def test_the_first_turn_is_a_miss_and_the_second_a_hit() -> None:
    sessions = Sessions()
    assert sessions.find(K, 0.0) is None
    sessions.pin(K, "gpu1", 0.0)
    assert sessions.find(K, 1.0) == "gpu1"
    assert sessions.find(L, 1.0) is None
    assert counters(sessions) == (1, 1, 1, 2, 0)


def test_a_session_moves_to_another_backend() -> None:
    sessions = Sessions()
    sessions.pin(K, "gpu1", 0.0)
    sessions.pin(K, "gpu2", 1.0)
    sessions.forget("gpu1")
    assert sessions.find(K, 2.0) == "gpu2"
    assert counters(sessions) == (1, 1, 1, 0, 0)


def test_an_idle_session_is_forgotten_and_one_in_use_is_not() -> None:
    sessions = Sessions(ttl_seconds=10)
    sessions.pin(K, "gpu1", 0.0)
    sessions.pin(L, "gpu1", 0.0)
    assert sessions.find(K, 9.0) == "gpu1"
    assert sessions.find(L, 10.0) is None
    assert sessions.find(K, 18.5) == "gpu1"
    assert sessions.find(K, 28.5) is None
    assert counters(sessions) == (0, 2, 2, 2, 2)


def test_a_pin_counts_as_use() -> None:
    sessions = Sessions(ttl_seconds=10)
    sessions.pin(K, "gpu1", 0.0)
    sessions.pin(K, "gpu1", 9.0)
    assert sessions.find(K, 18.0) == "gpu1"


def test_the_one_that_was_pinned_longest_ago_makes_room() -> None:
    sessions = Sessions(max_sessions=2)
    for each, now in ((K, 0.0), (L, 1.0), (K, 2.0), (M, 3.0)):
        sessions.pin(each, "gpu1", now)
    assert [sessions.find(each, 4.0) for each in (K, L, M)] == ["gpu1", None, "gpu1"]


def test_expire_drops_what_has_timed_out() -> None:
    sessions = Sessions(ttl_seconds=10)
    sessions.pin(K, "gpu1", 0.0)
    sessions.pin(L, "gpu1", 5.0)
    sessions.expire(12.0)
    assert counters(sessions) == (1, 2, 0, 0, 1)


def test_the_one_that_was_used_longest_ago_makes_room() -> None:
    sessions = Sessions(max_sessions=2)
    sessions.pin(K, "gpu1", 0.0)
    sessions.pin(L, "gpu1", 1.0)
    assert sessions.find(K, 2.0) == "gpu1"
    sessions.pin(M, "gpu2", 3.0)
    assert [sessions.find(each, 4.0) for each in (K, L, M)] == ["gpu1", None, "gpu2"]
    assert counters(sessions) == (2, 3, 3, 1, 1)


def test_a_backend_that_went_down_is_forgotten() -> None:
    sessions = Sessions()
    sessions.pin(K, "gpu1", 0.0)
    sessions.pin(L, "gpu2", 0.0)
    sessions.pin(M, "gpu1", 0.0)
    sessions.forget("gpu1")
    sessions.forget("nobody")
    assert [sessions.find(each, 1.0) for each in (K, L, M)] == [None, "gpu2", None]
    assert counters(sessions) == (1, 3, 1, 2, 2)


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["find", "pin", "forget", "expire"]),
        st.sampled_from(keys("abcd")),
        st.sampled_from(["gpu1", "gpu2", "gpu3"]),
        st.sampled_from([0.0, 1.0, 4.0, 11.0]),
    ),
    max_size=80,
)


@given(ACTIONS, st.integers(1, 3))
def test_as_a_plain_dictionary_would_do_it(actions: list[tuple[str, Key, str, float]], most: int) -> None:
    sessions, now = Sessions(ttl_seconds=10, max_sessions=most), 0.0
    model: dict[Key, tuple[str, float]] = {}  # in the order of use
    for action, each, backend, passed in actions:
        now += passed
        if action == "forget":
            sessions.forget(backend)
            model = {one: pin for one, pin in model.items() if pin[0] != backend}
        else:
            model = {one: pin for one, pin in model.items() if now - pin[1] < 10}
        if action == "expire":
            sessions.expire(now)
        elif action == "pin":
            sessions.pin(each, backend, now)
            model.pop(each, None)
            model[each] = (backend, now)
            model = dict(list(model.items())[-most:])
        elif action == "find":
            pin = model.pop(each, None)
            assert sessions.find(each, now) == (None if pin is None else pin[0])
            if pin is not None:
                model[each] = (pin[0], now)
        assert len(sessions) == len(model)
        assert sessions.insertions - sessions.evictions == len(model)
