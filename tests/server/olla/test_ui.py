"""The dashboard: who may see it, what guards it, and that it reads nothing that the other pages do not say."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from arriero.backends.http.call import Headers
from arriero.compose import build
from arriero.config import Config
from arriero.gateway.counts import ModelCount
from arriero.gateway.lane import Inbound
from arriero.server.olla.stats import Stats
from arriero.server.olla.status import Facts, Status
from arriero.server.olla.ui import PAGE, PATH, SHOWN_CHARACTERS, Audience, Ui, policy
from arriero.server.routes import Table
from support.lanes import KeptLane
from support.olla_fleet import WALL, Site, fleet, tally

TEXT = PAGE.read_text()
SCRIPT = TEXT[TEXT.index("<script>") + 8 : TEXT.index("</script>")]


def asking(
    method: str = "GET", client: str | None = "127.0.0.1", host: str | None = "localhost:11434", **more: str
) -> Inbound:
    fields: Headers = tuple((name.replace("_", "-").encode(), value.encode()) for name, value in more.items())
    named: Headers = () if host is None else ((b"host", host.encode()),)
    return Inbound(method, PATH, (*named, *fields), b"", client, "req1", 0)


async def shown(request: Inbound, audience: Audience | None = None) -> KeptLane:
    lane = KeptLane()
    rest = Table(Ui(audience or Audience()).routes).find(request.path, request.method).handler(request, lane)
    assert rest is not None
    await rest
    return lane


# ---- the gate ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize(
    "host", ["localhost", "localhost:11434", "LOCALHOST.", "127.0.0.1", "127.0.0.1:40114", "[::1]", "[::1]:11434"]
)
async def test_this_machine_sees_it(client: str, host: str) -> None:
    lane = await shown(asking(client=client, host=host))
    assert (lane.status, lane.body) == (200, PAGE.read_bytes())


@pytest.mark.parametrize("client", ["10.0.0.9", "::ffff:10.0.0.9", "fe80::1%eth0", "testclient", None])
async def test_a_foreign_address_is_told_which_setting_lets_it_in(client: str | None) -> None:
    lane = await shown(asking(client=client))
    who = client or "an unknown address"
    text = f"403 the dashboard is not shown to {who}: server.dashboard.allowed_networks lists who may see it\n"
    assert (lane.status, lane.body.decode(), lane.field(b"content-type")) == (403, text, b"text/plain; charset=utf-8")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:11434",
        "localhost.evil.example",
        "10.0.0.1",
        "a@localhost",
        "[",
        "",
        "0.0.0.0",
        None,
    ],
)
async def test_a_foreign_host_name_is_told_which_setting_lets_it_in(host: str | None) -> None:
    lane = await shown(asking(host=host))
    text = (
        f"403 the dashboard is not shown under the host name '{host or ''}': server.dashboard.allowed_hosts lists its "
        "names\n"
    )
    assert (lane.status, lane.body.decode()) == (403, text)


@pytest.mark.parametrize(
    ("forwarded", "status"), [("127.0.0.1", 200), ("10.0.0.9", 403), ("127.0.0.1, 10.0.0.9", 403), ("x", 403)]
)
async def test_a_proxy_that_nobody_trusts_lends_nobody_its_address(forwarded: str, status: int) -> None:
    assert (await shown(asking(x_forwarded_for=forwarded))).status == status


async def test_the_operator_lets_others_in() -> None:
    audience = Audience(networks=("10.0.0.0/8",), hosts=("Gateway.Lan", "10.0.0.1", "fd00::1"))
    for host in ("gateway.lan", "10.0.0.1:40114", "[fd00::1]:40114", "127.0.0.1"):
        assert (await shown(asking(client="10.1.2.3", host=host), audience)).status == 200
    assert (await shown(asking(client="10.1.2.3", host="localhost"), audience)).status == 403
    assert (await shown(asking(client="127.0.0.1", host="gateway.lan"), audience)).status == 403


async def test_a_stranger_cannot_make_the_refusal_long() -> None:
    lane = await shown(asking(host="a" * 5000))
    assert len(lane.body) < 2 * SHOWN_CHARACTERS


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_it_can_only_be_read(method: str) -> None:
    lane = await shown(asking(method))
    assert (lane.status, lane.field(b"allow")) == (405, b"GET, HEAD")


async def test_head_and_the_missing_slash() -> None:
    assert (await shown(asking("HEAD"))).status == 200
    lane = KeptLane()
    rest = Table(Ui(Audience()).routes).find("/internal/ui", "GET").handler(asking(), lane)
    assert rest is not None
    await rest
    assert (lane.status, lane.field(b"location")) == (301, PATH.encode())


def test_switched_off_it_is_not_there() -> None:
    assert Ui(Audience(enabled=False)).routes == ()


def test_the_settings_reach_it() -> None:
    def paths(**dashboard: Any) -> list[str]:
        return [route.path for route in build(Config(server={"dashboard": dashboard})).table.routes]

    assert PATH in paths()
    assert PATH not in paths(enabled=False)


async def test_who_may_see_it_is_set_in_the_configuration() -> None:
    dashboard = {"allowed_networks": "10.0.0.0/8", "allowed_hosts": ["gw", "[fd00::1]"]}
    app = build(Config(server={"dashboard": dashboard}))
    for host, status in (("gw", 200), ("[fd00::1]", 200), ("localhost", 403)):
        lane, request = KeptLane(), asking(client="10.1.1.1", host=host)
        rest = app.begin(app.table.find(PATH, "GET"), request, lane)
        assert rest is not None
        await rest
        assert lane.status == status
    await app.roster.close()


# ---- what guards the page ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", ["127.0.0.1", "10.0.0.9"])
async def test_every_answer_is_guarded(client: str) -> None:
    lane = await shown(asking(client=client))
    guards = {name: value for name, value in lane.headers if name not in (b"content-type", b"content-security-policy")}
    assert guards == {
        b"x-content-type-options": b"nosniff",
        b"x-frame-options": b"DENY",
        b"referrer-policy": b"no-referrer",
        b"cache-control": b"no-store",
    }


async def test_only_its_own_script_runs() -> None:
    lane = await shown(asking())
    assert lane.field(b"content-type") == b"text/html; charset=utf-8"
    hashed = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    style = TEXT[TEXT.index("<style>") + 7 : TEXT.index("</style>")]
    styled = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert (lane.field(b"content-security-policy") or b"").decode() == (
        f"default-src 'none'; script-src 'sha256-{hashed}'; style-src 'sha256-{styled}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def test_another_script_has_another_hash() -> None:
    assert policy(b"<script>a</script><style></style>") != policy(b"<script>b</script><style></style>")


def test_the_page_holds_everything_it_needs() -> None:
    assert (TEXT.count("<script"), TEXT.count("<style")) == (1, 1)
    assert not re.search(r"https?://|//cdn|@import|url\(|\bsrc=|<iframe|<form", TEXT)
    assert re.findall(r'href="([^"]*)"', TEXT) == ["data:,"]


def test_what_it_shows_is_text_and_never_markup() -> None:
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function|\.href\s*=", SCRIPT)
    assert not re.search(r"\s(style|on\w+)=", TEXT), "the policy would not let it work"


# ---- what the page reads -------------------------------------------------------------------------------------------


def keys() -> Mapping[str, Mapping[str, Sequence[str]]]:
    """The page's own table of what it reads."""
    found = re.search(r"const KEYS = (\{.*?\n\});", SCRIPT, re.DOTALL)
    assert found is not None
    table: Mapping[str, Mapping[str, Sequence[str]]] = json.loads(found[1])
    return table


def under(value: Any, names: Sequence[str]) -> list[dict[str, Any]]:
    """All objects at a place: lists are gone through."""
    if isinstance(value, list):
        return [found for entry in value for found in under(entry, names)]
    return under(value[names[0]], names[1:]) if names else [value]


async def test_every_key_that_it_reads_is_in_the_answers() -> None:
    roster, counts = await fleet(), tally()
    model = counts.models["llama3.2"] = ModelCount()
    model.requests = 3
    status = Status(roster, counts, started=WALL - 9000, facts=Facts(policy="least-connections"))
    site = Site(*status.routes, *Stats(roster, counts, started=WALL - 9000).routes)
    asked = 0
    for page, places in keys().items():
        path, _, query = page.partition("?")
        body = await site.get(path.replace("../", "/internal/"), query)
        for place, names in places.items():
            objects = under(body, place.split(".") if place else [])
            assert objects, f"{page} has nothing at {place}"
            told = {name for one in objects for name in one}
            assert not set(names) - told, f"{page} does not say {sorted(set(names) - told)} at {place or 'its top'}"
            asked += len(names)
    assert asked > 30
    tokens = (await site.get("/internal/stats/models", "include_tokens=true"))["summary"]["tokens"]
    assert {"input", "output"} <= tokens.keys()
    await roster.close()


def test_the_script_reads_what_its_table_names() -> None:
    """Everything else is not picked, so that reading it would show nothing."""
    named = {name for places in keys().values() for listed in places.values() for name in listed}
    read = set(
        re.findall(r"\b(?:one|system|counts|model|top|page\.proxy|page\.security|stats\.summary)\.([a-z_]+)", SCRIPT)
    )
    assert read == named
