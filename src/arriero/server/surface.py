"""Every route of the server: arriero's front doors, Olla's doors, and what tells about the house, in Olla's words and
in ollama-proxy's.

One table. A door under `/olla/` has everything that the front has, for the backends behind it, and carries whatever it
has no words for to one of them.
"""

from collections.abc import Mapping, Sequence
from functools import partial

from msgspec.structs import replace

from arriero.dialects.base import Dialect
from arriero.gateway.door import Door
from arriero.gateway.exchange import Policy
from arriero.gateway.kinds import SCOPES
from arriero.gateway.passing import Passing
from arriero.server.app import App
from arriero.server.catalog import Catalog
from arriero.server.explain import Explain
from arriero.server.metrics import Metrics
from arriero.server.olla import anthropic
from arriero.server.olla.about import About
from arriero.server.olla.stats import Stats
from arriero.server.olla.status import Facts, Status
from arriero.server.olla.ui import Audience, Ui
from arriero.server.olla.unified import Unified
from arriero.server.providers.figures import Figures
from arriero.server.providers.health import Health
from arriero.server.providers.listing import Listing
from arriero.server.providers.shapes import Terms
from arriero.server.routes import Route, Table

LIBRARY_ROUTES: Sequence[tuple[str, tuple[str, ...]]] = (
    ("/api/pull", ("POST",)),
    ("/api/push", ("POST",)),
    ("/api/create", ("POST",)),
    ("/api/copy", ("POST",)),
    ("/api/delete", ("DELETE",)),
    ("/api/blobs/*", ("HEAD", "POST")),
)
"""What backends that manage models carry out; blobs are streamed, never gathered."""

PASSED_ROUTES: Sequence[str] = ("/v1/rerank", "/v1/audio/*", "/v1/images/*")
"""Carried to a backend that has the model, as they are."""

ELSEWHERE = Door("/olla", olla=True)
"""Paths under no door: nothing is there, and Olla's clients are told so under an id."""

HOUSE = Door(olla=True)
"""Where Olla's clients read about the house: all backends, and Olla's header fields."""

DOORS: Sequence[Door] = tuple(
    Door(f"/olla/{scope}", scope, olla=True) for scope in SCOPES if scope != anthropic.DOOR.scope
)
"""The doors that have what the front has."""


def table(
    app: App,
    dialects: Mapping[str, Dialect],
    *,
    catalog: Catalog,
    policy: Policy,
    started: float,
    terms: Terms,
    audience: Audience | None = None,
) -> Table:
    """All routes. `started` is unix time; `audience` may see the dashboard, this machine where nobody is named."""
    passing = {
        name: Passing(app.roster, policy.routing, dialect, policy.strategy) for name, dialect in dialects.items()
    }
    front = (
        *(
            Route(endpoint.path, ("POST",), partial(app.infer, dialect, endpoint), hot=True, limited=True)
            for dialect in dialects.values()
            for endpoint in dialect.endpoints
        ),
        *(
            Route(path, methods, app.library.run, streams_upload=path.endswith("*"), limited=True)
            for path, methods in LIBRARY_ROUTES
        ),
    )
    roster, tally, rules = app.roster, app.roster.tally, policy.routing.rules
    metrics = Metrics(roster, tally, started=started, policy=rules.policy)
    proxy = (
        *Health(roster, tally, started=started, environment=terms.environment).routes,
        *Listing(roster, tally, terms=terms, tagged=catalog.tagged).routes,
        *Figures(roster, tally, started=started, text=metrics.text).routes,
    )
    house = (
        *Status(roster, tally, started=started, facts=Facts(rules.policy)).routes,
        *Stats(roster, tally, started=started).routes,
        *metrics.routes,
        *Unified(roster).routes,
        *About().routes,
        *Ui(audience or Audience()).routes,
    )
    messages = anthropic.Anthropic(
        roster, policy.routing, catalog, strategy=policy.strategy, limit=lambda: app.max_body_bytes
    )
    passed = [
        Route("/v1/*", (), passing["openai"].run, limited=True),
        Route("/*", (), passing["ollama"].run, limited=True),
    ]
    return Table(
        [
            *front,
            *catalog.routes,
            *(Route(path, (), passing["openai"].run, limited=True) for path in PASSED_ROUTES),
            *Explain(roster, rules, policy.routing.fallback).routes,
            *proxy,
            *(replace(route, door=HOUSE) for route in house),
            *(route.behind(anthropic.DOOR) for route in messages.routes),
            *(route.behind(door) for door in DOORS for route in (*front, *catalog.behind_doors, *passed)),
        ],
        elsewhere=ELSEWHERE,
    )
