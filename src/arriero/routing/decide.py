"""Which backend takes a request: a pure function of the offers and a snapshot of those who make them.

1. Where it is known what the request needs (the policy `capability`), those that the catalog says cannot do it are
   out, unless it says so of all. That others are full, away or tried already does not bring them back: they could only
   answer with an error about the request.
2. Those already tried are out, and those that were lost on the way.
3. Out are also: who is offline, whose breaker is open, who asked to be left alone. Who answered its check badly is
   taken only when no other is left: the check may be wrong, and the client's request is the better one.
4. Full ones are out; when all that are left are full, the answer is `Busy`.
5. Those of the model that was asked for come before those that answer in its place.
6. Those that the client prefers come first.
7. An alias lists models in order of preference: the first model that steps 1 to 6 leave is the one.
8. The backend that a session is pinned to is taken.
9. Backends that have the model in memory come first, as long as they are not crowded.
10. The highest priority wins. Where it is known what the request needs, those that are known to be able to come before
    those of whom nobody knows; then the policy decides, then who had the model's last request longest ago.
"""

from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct

from arriero.errors import Busy, NoBackend
from arriero.routing.fleet import LAST_RESORT, ROUTABLE, Member, State
from arriero.routing.names import Offer, key_of
from arriero.routing.needs import Needs, can, fitting, lacking
from arriero.routing.policies import CAPABILITY, POLICIES, Score

CROWDED = 4
"""Requests in flight from which a backend without a limit of its own no longer attracts by having the model loaded."""


ONLY = "only"
"""The reason where there was nothing to decide."""

PREFERRED = "provider"
"""The reason where the client's preference has decided."""


class Rules(Struct, frozen=True):
    """What the operator decided about decisions."""

    policy: str = "least-connections"
    prefer_loaded: bool = True


class Decision(Struct, frozen=True):
    """A backend's offer, and in one word or two why it was taken (the `X-Arriero-Reason` header)."""

    offer: Offer
    reason: str


class Weighed(Struct, frozen=True):
    """One offer as a decision sees it: `out` says why it cannot be taken, `score` is the policy's (less is better)."""

    offer: Offer
    out: str | None
    score: Score
    loaded: bool
    chosen: bool


Pairs = Collection[tuple[str, str]]
"""Offers, as (backend, model id)."""

_Free = list[tuple[Offer, Member]]


def decide(
    offers: Sequence[Offer],
    fleet: Mapping[str, Member],
    rules: Rules,
    now: float,
    *,
    tried: Pairs = (),
    lost: Collection[str] = (),
    pinned: str | None = None,
    own: Pairs | None = None,
    preferred: Pairs = (),
    needs: Needs | None = None,
) -> Decision:
    """The offer to take. Raises `Busy` where waiting helps, `NoBackend` where it does not.

    `tried` are those that the request has been sent to; `lost` are backends that failed this request as a whole;
    `pinned` is the one that its session is on; `own` are those of the model that was asked for, where others could
    answer in its place.
    """
    why: str | None = None
    if needs is not None:
        able = fitting(offers, needs)
        if len(able) < len(offers):
            offers, why = able, None if tried or lost else CAPABILITY
    if len(offers) == 1 and not tried and not lost:
        member = fleet[offers[0].backend]
        if member.state in ROUTABLE and not member.open and not member.cooling_s:
            if member.full:
                raise Busy
            return Decision(offers[0], why or ONLY)
    left = offers
    if tried or lost:
        left = [offer for offer in offers if (offer.backend, offer.card.id) not in tried and offer.backend not in lost]
    # One pass for the usual case: a model may be on hundreds of backends.
    free = [
        (offer, member)
        for offer in left
        if (member := fleet[offer.backend]).state in ROUTABLE
        and not member.open
        and not member.cooling_s
        and ((most := member.max_concurrency) is None or member.in_flight < most)
    ] or _last_resort(left, fleet)
    if own is not None:
        free = _of(own, free) or free
    if preferred and 0 < len(first := _of(preferred, free)) < len(free):
        free, why = first, PREFERRED
    best = free[0][0]
    id, key = best.card.id, key_of(best.card.id)
    free = [pair for pair in free if (other := pair[0].card.id) == id or key_of(other) == key]
    if len(free) == 1:
        rivals = sum(key_of(offer.card.id) == key for offer in offers)
        return Decision(best, why or ("only one left" if tried or lost else "only one free" if rivals > 1 else ONLY))
    if pinned is not None:
        for offer, _ in free:
            if offer.backend == pinned:
                return Decision(offer, "session")
    if rules.prefer_loaded:
        warm = [pair for pair in free if (loaded := pair[1].loaded) and key in loaded and not _crowded(pair[1])]
        if len(warm) == 1:
            return Decision(warm[0][0], "loaded")
        free = warm or free
    return _by_policy(free, rules, now, needs)


def _of(pairs: Pairs, free: _Free) -> _Free:
    return [pair for pair in free if (pair[0].backend, pair[0].card.id) in pairs]


def _last_resort(left: Sequence[Offer], fleet: Mapping[str, Member]) -> _Free:
    """Of those left where nobody well is free: who answered its check badly, unless somebody well is only full."""
    if not left:
        raise NoBackend("no backend is left to try")
    members = [fleet[offer.backend] for offer in left]
    if any(_able(member, ROUTABLE) for member in members):
        raise Busy
    able = [pair for pair in zip(left, members, strict=True) if _able(pair[1], LAST_RESORT)]
    if not able:
        raise _unavailable(members)
    free = [pair for pair in able if not pair[1].full]
    if not free:
        raise Busy
    return free


def _by_policy(free: _Free, rules: Rules, now: float, needs: Needs | None) -> Decision:
    top = max([member.priority for _, member in free])
    best = [pair for pair in free if pair[1].priority == top]
    if len(best) == 1:
        return Decision(best[0][0], "priority")
    if needs is not None and (sure := [pair for pair in best if can(needs, pair[0].card)]):
        best = sure
    policy = POLICIES[rules.policy]
    scores = [(policy(member, offer.card, now), member.turn) for offer, member in best]
    return Decision(best[scores.index(min(scores))][0], rules.policy)


def weigh(
    offers: Sequence[Offer],
    fleet: Mapping[str, Member],
    rules: Rules,
    now: float,
    *,
    pinned: str | None = None,
    own: Pairs | None = None,
    preferred: Pairs = (),
    needs: Needs | None = None,
) -> tuple[Weighed, ...]:
    """Every offer with what speaks for and against it, and the one that `decide` takes now, if any."""
    try:
        chosen = decide(offers, fleet, rules, now, pinned=pinned, own=own, preferred=preferred, needs=needs).offer
    except (Busy, NoBackend):
        chosen = None
    policy = POLICIES[rules.policy]
    parted = needs if needs is not None and len(fitting(offers, needs)) < len(offers) else None
    found = []
    for offer in offers:
        member = fleet[offer.backend]
        loaded = member.loaded is not None and key_of(offer.card.id) in member.loaded
        score = (*policy(member, offer.card, now), member.turn)
        lack = None if parted is None else lacking(parted, offer.card)
        found.append(Weighed(offer, lack or _out(member), score, loaded, offer is chosen))
    return tuple(found)


def _able(member: Member, states: Collection[State]) -> bool:
    return member.state in states and not member.open and not member.cooling_s


def _out(member: Member) -> str | None:
    """Why a backend cannot be taken now, in words."""
    if member.open:
        return f"its breaker is open for another {member.open_s:.0f} s"
    if member.cooling_s:
        return f"it wants to be left alone for another {member.cooling_s:.0f} s"
    if member.state not in ROUTABLE:
        why = "" if member.why is None else f" ({member.why})"
        last = ", taken only if no other is left" if member.state in LAST_RESORT else ""
        return member.state.value.replace("_", " ") + why + last
    return "all its places are taken" if member.full else None


def _crowded(member: Member) -> bool:
    # Without a limit nobody would ever load the model a second time, however long the queue at the first.
    return member.max_concurrency is None and member.in_flight >= CROWDED


def _unavailable(members: Sequence[Member]) -> NoBackend:
    names = list(dict.fromkeys(_sentence(member) for member in members))
    waits = [max(member.open_s, member.cooling_s) for member in members if member.open or member.cooling_s]
    return NoBackend(
        f"no backend can serve this model now ({'; '.join(names[:SHOWN])})",
        retry_after=min(waits) if waits else RETRY_SECONDS,
    )


def _sentence(member: Member) -> str:
    if member.open:
        return f"Circuit breaker open for {member.name}, for another {member.open_s:.0f} s"
    return f"{member.name}: {_out(member)}"


SHOWN = 8
"""Of the backends that cannot serve, so many are named."""

RETRY_SECONDS = 5.0
"""When to come again where nobody knows."""
