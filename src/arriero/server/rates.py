"""How many requests a minute are let in, of everybody and of one address; and the header fields that say so.

No clock here: the time arrives. What a refusal looks like to a client is said elsewhere.
"""

import ipaddress
from math import ceil
from typing import NamedTuple

from msgspec import Struct

from arriero.backends.http.call import Headers

ADDRESSES = 10_000
"""Addresses that are counted at one time."""

_KEPT = ADDRESSES * 3 // 4  # what is left after making room, so that there is room for a while


class RateRule(Struct, frozen=True):
    """Requests a minute of all clients together and of each address, `None` for no limit. `burst` may come at once."""

    per_minute: int | None = None
    per_minute_per_address: int | None = None
    burst: int = 50


class Share(Struct, frozen=True, gc=False):
    """What a client has left, by the limit that is nearer. `limit` is requests a minute, `remaining` those that may
    come at once, 0 where this one was refused. `reset_s`: seconds until all of the burst may come again; `retry_after`:
    seconds until one may come, `None` where this one was let in.
    """

    allowed: bool
    limit: int
    remaining: int
    reset_s: float
    retry_after: float | None = None


class Rates:
    """The buckets of one server. Times are seconds on one monotonic clock."""

    def __init__(self, rule: RateRule) -> None:
        self.rule = rule
        self._all = _limit(rule.per_minute, rule.burst)
        self._each = _limit(rule.per_minute_per_address, rule.burst)
        self.limits = self._all is not None or self._each is not None  # whether there is a limit at all
        # A bucket is one number, the time at which it is full again: before that, each token that is out is so many
        # seconds of refilling. One that is full may as well not be there.
        self._full_at = 0.0
        self._full_at_of: dict[str, float] = {}

    def __len__(self) -> int:
        """Addresses that are counted now."""
        return len(self._full_at_of)

    def take(self, address: str | None, now: float) -> Share | None:
        """One request of this address; `None` where no limit is set. A refused one takes nothing.

        An IPv6 client is its /64: that is what one customer is given. Clients without an address count as one.
        """
        every, each = self._all, self._each
        if each is None:
            if every is None:
                return None
            share, self._full_at = _taken(every, self._full_at, now)
            return share
        who = _counted(address)
        whole, full_at = (None, 0.0) if every is None else _taken(every, self._full_at, now)
        own, own_full_at = _taken(each, self._full_at_of.get(who, 0.0), now)
        if whole is None:
            share = own
        elif whole.allowed and own.allowed:
            share = own if own.remaining < whole.remaining else whole
        else:
            share = _refused(whole, own)
        if share.allowed:
            self._full_at = full_at
            if who not in self._full_at_of and len(self._full_at_of) >= ADDRESSES:
                self._make_room(now)
            self._full_at_of[who] = own_full_at
        return share

    def _make_room(self, now: float) -> None:
        """Drops the buckets that are full again, and where that is not enough, those that are nearest to it."""
        filling = sorted((full_at, who) for who, full_at in self._full_at_of.items() if full_at > now)
        self._full_at_of = {who: full_at for full_at, who in filling[-_KEPT:]}


def fields(share: Share, wall: float) -> Headers:
    """What the answer says of it; `wall` is unix time."""
    told: Headers = (
        (b"x-ratelimit-limit", b"%d" % share.limit),
        (b"x-ratelimit-remaining", b"%d" % share.remaining),
        (b"x-ratelimit-reset", b"%d" % ceil(wall + share.reset_s)),
    )
    if share.retry_after is None:
        return told
    return (*told, (b"retry-after", b"%d" % max(1, ceil(share.retry_after))))


class _Limit(NamedTuple):
    per_minute: int
    token_s: float  # seconds in which one token comes back
    window_s: float  # seconds in which an empty bucket is full again
    slack_s: float  # for the rounding of sums of seconds


def _limit(per_minute: int | None, burst: int) -> _Limit | None:
    if not per_minute:
        return None
    token_s = 60.0 / per_minute
    return _Limit(per_minute, token_s, token_s * max(1, burst), min(1e-6, token_s / 1000))


def _taken(limit: _Limit, full_at: float, now: float) -> tuple[Share, float]:
    """The share after one more request, and when the bucket is full again then."""
    missing_s = max(0.0, full_at - now)
    short_s = missing_s + limit.token_s - limit.window_s
    if short_s > limit.slack_s:
        return Share(False, limit.per_minute, 0, missing_s, short_s), full_at
    missing_s += limit.token_s
    remaining = int((limit.window_s - missing_s + limit.slack_s) / limit.token_s)
    return Share(True, limit.per_minute, remaining, missing_s), now + missing_s


def _refused(whole: Share, own: Share) -> Share:
    """The refusal of either; of both, the first one's, with the time after which both let one in."""
    if whole.allowed:
        return own
    waits = [share.retry_after for share in (whole, own) if share.retry_after is not None]
    return Share(False, whole.limit, 0, whole.reset_s, max(waits))


def _counted(address: str | None) -> str:
    if address is None:
        return ""
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address)
    except ValueError:
        return address
    return parsed.packed[:8].hex() if parsed.ipv4_mapped is None else str(parsed.ipv4_mapped)
