"""The client's request as far as it has been read: raw first, its canonical form only when something needs it."""

from arriero.canonical.requests import EmbedRequest, Request
from arriero.dialects.base import Dialect, Endpoint
from arriero.errors import BadRequest
from arriero.filters.defaults import filled, furnish
from arriero.filters.rules import NO_CHANGES, Changes, Rule, changes
from arriero.gateway.lane import Inbound
from arriero.routing.names import Offer
from arriero.routing.needs import Needs, needs_of
from arriero.wire.splice import NotAnObject, has_other_case, peek


class Misread(Exception):
    """The dialect's own reading names another model than the peek did: a key in another letter case came later."""

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.model = model


class Reading:
    """One request. `odd`: only the dialect's lenient rules, or arriero itself, can read the body, so that it cannot be
    relayed. `stream`: what the client asked for, as far as is known by now; `None` until something said it.
    """

    __slots__ = ("_anew", "_decoded", "_dialect", "_endpoint", "_inbound", "_looked", "_needs", "odd", "stream")

    def __init__(self, inbound: Inbound, dialect: Dialect, endpoint: Endpoint) -> None:
        self._inbound = inbound
        self._dialect = dialect
        self._endpoint = endpoint
        self._decoded: Request | None = None
        self._looked = False
        self._anew = False
        self._needs: Needs | None = None
        self.odd = False
        self.stream: bool | None = None

    def model(self) -> str:
        """The model's name as the client typed it; tells `stream` by the way. Raises the dialect's errors."""
        try:
            model, stream = peek(self._inbound.body)
        except NotAnObject:
            model = stream = None
        if not model:
            # Odd, empty or broken: the dialect's own reading decides, and knows the words for what is wrong.
            request = self.request
            self.odd = True
            self.stream = not isinstance(request, EmbedRequest) and request.stream
            return request.model
        if stream is not None:
            self.stream = stream and self._endpoint.encoder is not None
        return model

    @property
    def request(self) -> Request:
        """The canonical request, decoded when it is first needed."""
        if self._decoded is None:
            self._decoded = self._endpoint.decode(self._inbound.body)
        return self._decoded

    def replace(self, request: Request) -> None:
        """Say this instead of what the client said. What the model brings along is in it already."""
        self._decoded, self._needs, self._anew = request, None, True

    def furnished(self, offer: Offer) -> Request:
        """The canonical request with what the model of the offer brings along."""
        defaults = offer.card.defaults
        return self.request if defaults is None or self._anew else furnish(self.request, defaults)

    @property
    def needs(self) -> Needs | None:
        """What the request asks of a model; `None` where the dialect cannot read it: whoever is asked will say so."""
        if self._needs is None:
            try:
                self._needs = needs_of(self.request)
            except BadRequest:
                return None
        return self._needs

    def confirmed(self, model: str | None) -> Request:
        """The canonical request, where the peek read the model right. Raises `Misread`."""
        request = self.request
        if request.model != model:
            raise Misread(request.model)
        if not isinstance(request, EmbedRequest):
            self.stream = request.stream
        return request

    def look_closer(self) -> None:
        """A backend of the same dialect could read other keys than the peek did, where they come in another case; and
        it cannot read what arriero wrote for itself.
        """
        if self._dialect.folds_case and not self.odd and not self._looked:
            self._looked = True
            body, mark = self._inbound.body, self._endpoint.own_mark
            self.odd = has_other_case(body, b'"model"', b'"stream"') or (mark != b"" and mark in body)

    def changes(self, rules: tuple[Rule, ...], offer: Offer, model: str) -> Changes:
        """What the operator's rules change for this model, and what the model itself brings along in knobs."""
        covered = rules and any(rule.covers(offer.card.id, model) for rule in rules)
        if offer.card.defaults is None:
            return changes(rules, offer.card.id, self.request) if covered else NO_CHANGES
        request = self.furnished(offer)
        brought = filled(self.request, request)
        if not covered:
            return brought
        made = changes(rules, offer.card.id, request)
        kept = {name: value for name, value in brought.put.items() if name not in made.drop}
        return Changes({**kept, **made.put}, made.drop)
