"""Lists of models: `/v1/models` as clients read it, and the lists of backends with what they truly tell.

What an entry tells of its model is read in `cards`. Entries that make no sense are passed over; a body that is no list
is an error. A list may be as long as an answer may be: its entries are read one by one, and no more of them than
`MAX_MODELS`.
"""

from collections.abc import Iterable, Mapping
from typing import Any, assert_never
from urllib.parse import parse_qsl, urlsplit

import msgspec
from msgspec import Raw, Struct

from arriero.canonical.catalog import Listed, ModelCard
from arriero.dialects.openai import props
from arriero.dialects.openai.cards import card_of
from arriero.dialects.openai.chunks import EMPTY, UNREADABLE, NotJson, loosely
from arriero.dialects.openai.failures import reported
from arriero.dialects.quirks import Paging, Profile
from arriero.errors import BackendBroken, BackendError
from arriero.wire.jsontext import json_text

# ---- for clients ---------------------------------------------------------------------------------------------------


def write_models(models: Iterable[Listed], since: float = 0.0) -> bytes:
    """`GET /v1/models`. `data` is `[]` where there are none: clients iterate over it.

    `since` (unix seconds) is the time of models that have none.
    """
    return b'{"object":"list","data":[' + b",".join([_written(listed, since) for listed in models]) + b"]}\n"


def write_model(listed: Listed, since: float = 0.0) -> bytes:
    """`GET /v1/models/{id}`."""
    return _written(listed, since) + b"\n"


def _written(listed: Listed, since: float) -> bytes:
    card = listed.card
    created = card.created if card.created is not None else int(card.modified_at or since)
    text = json_text({"id": listed.name, "object": "model", "created": created, "owned_by": card.owned_by or "library"})
    return text if card.beyond is None else text[:-1] + b"," + bytes(card.beyond)[1:]


# ---- of backends ---------------------------------------------------------------------------------------------------


MAX_MODELS = 100_000
"""Models of one list that are read; nobody has more, and each costs memory."""

_MAX_COMMAS = 2_000_000
"""Of a body that has more, no list of its entries is made; five thousand models of OpenRouter's have a fifth."""

_LOOSE_BYTES = 4 * 1024 * 1024
"""A body that only the slow reader can read may be this long."""


class Page(Struct, frozen=True):
    """One page of a list. `entries` is how many it had, sensible or not; `next` the query of the next one, if any."""

    cards: tuple[ModelCard, ...]
    entries: int = 0
    next: Mapping[str, str] | None = None


def read_models(body: bytes, profile: Profile) -> tuple[ModelCard, ...]:
    """The models of a list that is whole. Raises `BackendBroken` for a body that is no list."""
    return read_page(body, profile).cards


def read_page(body: bytes, profile: Profile, before: int = 0) -> Page:
    """The models of a backend's list, each id once, in its order. Raises `BackendBroken` for a body that is no list,
    and the error that it tells of instead.

    Read are OpenAI's form and its relatives: a bare array (Together), `models` instead of `data` (LM Studio's own API,
    Cohere), and `data: null` for an empty list (Ollama). `before` is how many entries the pages before had.
    """
    top = _top(body)
    listed = top.data if isinstance(top.data, list) else top.models
    if listed is None:
        if top.data is False:
            raise _no_list(body, profile)
        return Page(())
    cards: dict[str, ModelCard] = {}
    for entry in listed[:MAX_MODELS]:
        card = card_of(entry, profile)
        if card is not None:
            cards.setdefault(card.id, card)
    return Page(tuple(cards.values()), len(listed), _next(top, profile.paging, before + len(listed)))


def _no_list(body: bytes, profile: Profile) -> BackendError:
    """Why a body of JSON has no list: some say with 200 what is wrong."""
    try:
        value = loosely(body) if len(body) <= _LOOSE_BYTES else None
    except NotJson:
        value = None
    if isinstance(value, dict) and value.get("error"):
        return reported(body, profile)
    return BackendBroken("the backend's model list is no list")


class _Top(Struct):
    """The outer object. Of `data` and `models`: a list, `None` for null, `False` for anything else and for nothing."""

    data: list[Any] | bool | None = False
    models: list[Any] | None = None
    links: Any = None
    has_more: Any = None
    last_id: Any = None
    next_page_token: Any = None
    total_count: Any = None


class _RawTop(Struct):
    data: Raw = EMPTY
    models: Raw = EMPTY
    links: Any = None
    has_more: Any = None
    last_id: Any = None
    next_page_token: Any = None
    total_count: Any = None


_raw_top = msgspec.json.Decoder(_RawTop).decode
_raws = msgspec.json.Decoder(list[Raw]).decode


def _top(body: bytes) -> _Top:
    if body.count(b",") > _MAX_COMMAS:
        raise BackendBroken("the backend's model list is longer than any list of models")
    try:
        if body.lstrip()[:1] == b"[":
            return _Top(_raws(body))
        raw = _raw_top(body)
        data, models = _list_or(raw.data), _list_or(raw.models)
        return _Top(
            data,
            models if isinstance(models, list) else None,
            raw.links,
            raw.has_more,
            raw.last_id,
            raw.next_page_token,
            raw.total_count,
        )
    except UNREADABLE:
        # A lone surrogate, bytes that are no UTF-8: rare, so the slow way is good enough. Or no list at all.
        return _loose_top(body)


def _list_or(raw: Raw) -> "list[Any] | bool | None":
    text = bytes(raw).lstrip()
    if text[:1] == b"[":
        return list(_raws(raw))
    return None if text == b"null" else False


def _loose_top(body: bytes) -> _Top:
    if not body.strip():
        raise BackendBroken("the backend's model list is empty: there is nothing in its answer")
    if len(body) > _LOOSE_BYTES:
        raise BackendBroken("the backend's model list is not JSON")
    try:
        value = loosely(body)
    except NotJson as error:
        raise BackendBroken(f"the backend's model list is not JSON: {error}") from None
    if isinstance(value, list) or value is None:
        return _Top(value)
    if not isinstance(value, dict):
        return _Top()
    data, models = value.get("data", False), value.get("models")
    return _Top(
        data if isinstance(data, list) or data is None else False,
        models if isinstance(models, list) else None,
        *(value.get(name) for name in ("links", "has_more", "last_id", "next_page_token", "total_count")),
    )


def _next(top: _Top, paging: Paging | None, seen: int) -> Mapping[str, str] | None:
    """What to ask for next. Of a link only the query is taken: it never leads to another host or path."""
    match paging:
        case None:
            return None
        case Paging.LINK:
            link = top.links.get("next") if isinstance(top.links, dict) else None
            if isinstance(link, str) and link:
                return _query(link)
            if isinstance(top.links, dict) and "next" in top.links:
                return None  # it says itself that this was the last one
            return {"offset": str(seen)} if type(top.total_count) is int and seen < top.total_count else None
        case Paging.AFTER:
            last = top.last_id
            return {"after_id": last} if top.has_more is True and isinstance(last, str) and last else None
        case Paging.TOKEN:
            token = top.next_page_token
            return {"page_token": token} if isinstance(token, str) and token else None
        case _:
            assert_never(paging)


def _query(link: str) -> Mapping[str, str] | None:
    try:
        return dict(parse_qsl(urlsplit(link).query)) or None
    except ValueError:
        return None


def with_details(cards: tuple[ModelCard, ...], body: bytes, profile: Profile) -> tuple[ModelCard, ...]:
    """The cards of a model list with what the vendor's own page (`Profile.details_path`) knows better.

    The page is llama-server's `/props`, which speaks of the one model the server runs, or another list with the same
    ids. Raises `BackendBroken` for a page that is neither.
    """
    if profile.details_path == props.PATH:
        return (props.read(body).onto(cards[0]),) if len(cards) == 1 else cards
    better = {card.id: card for card in read_models(body, profile)}
    return tuple(better.get(card.id, card) for card in cards)
