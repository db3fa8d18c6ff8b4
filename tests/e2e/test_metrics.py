"""The running program's series after some traffic: what promtool says of them, what the dashboard asks for, and what
the documentation tells.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families as families

from support.hosts import Host, chat
from support.program import Program, free_port, program

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "grafana" / "arriero.json").read_text())
PAGE = (ROOT / "docs" / "metrics.md").read_text()
PROMTOOL = shutil.which("promtool")
WITH_PROMTOOL = pytest.mark.skipif(PROMTOOL is None, reason="promtool of the Debian package prometheus is not there")

ABBREVIATED = "metric names should not contain abbreviated units"
COMPLAINTS = {
    "olla_avg_latency_ms": ABBREVIATED,
    "olla_endpoint_avg_latency_ms": ABBREVIATED,
    "olla_endpoint_models_count": 'non-histogram and non-summary metrics should not have "_count" suffix',
    "olla_endpoints_total": 'non-counter metrics should not have "_total" suffix',
    "olla_model_avg_latency_ms": ABBREVIATED,
    "olla_model_endpoint_avg_latency_ms": ABBREVIATED,
    "olla_model_p95_latency_ms": ABBREVIATED,
    "olla_model_p99_latency_ms": ABBREVIATED,
    "olla_models_total": 'non-counter metrics should not have "_total" suffix',
}
"""What a linter has against Olla's names, which stay: dashboards read them."""

SCRAPED = {"job", "instance"}
"""Labels that Prometheus adds to whatever it reads."""


class Family(NamedTuple):
    """What the text tells of one name."""

    kind: str
    meaning: str
    labels: frozenset[str]


class Scraped(NamedTuple):
    """Both texts, taken one after the other."""

    whole: str
    own: str


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    """After every kind of traffic that makes a series appear."""
    folder = tmp_path_factory.mktemp("metrics")
    alpha = Host("alpha", folder / "alpha", ["tiny:1b", "big:70b", "secret:1b"])
    beta = Host("beta", folder / "beta", ["tiny:1b", "vendor-x"])
    backends: list[Mapping[str, Any]] = [
        {"name": "alpha", "kind": "ollama", "url": alpha.url, "max_concurrency": 4, "priority": 1},
        {"name": "beta", "kind": "openai", "url": f"{beta.url}/v1", "profile": "generic", "priority": 2},
        {"name": "gone", "kind": "ollama", "url": f"http://127.0.0.1:{free_port()}"},
    ]
    routing = {"policy": "priority", "fallback": {"big:70b": ["tiny:1b"]}}
    try:
        for host in (alpha, beta):
            host.start()
        limits = {"max_body_bytes": 100_000}
        with program(folder, backends, routing=routing, models={"exclude": ["secret*"]}, limits=limits) as running:
            make_traffic(running, alpha)
            yield Scraped(text(running, "/internal/metrics"), text(running, "/metrics"))
    finally:
        for host in (alpha, beta):
            host.kill()


def make_traffic(running: Program, alpha: Host) -> None:
    """Relayed, translated, streamed, whole; refused, unknown, hidden, too large; failed and saved by another."""
    statuses = [
        running.ask("POST", path, chat(model, stream=stream))[0]
        for path in ("/api/chat", "/v1/chat/completions")
        for model in ("tiny:1b", "vendor-x")
        for stream in (True, False)
    ]
    assert statuses == [200] * 8
    assert running.ask("POST", "/api/chat", chat("nobody-has-it"))[0] == 404
    assert running.ask("POST", "/api/chat", chat("secret:1b"))[0] == 403
    assert running.ask("POST", "/api/chat", chat("tiny:1b", "x" * 200_000))[0] == 413
    alpha.fault("error", "/api/chat")
    assert running.ask("POST", "/api/chat", chat("tiny:1b"))[0] == 200
    assert running.ask("POST", "/api/chat", chat("big:70b"))[0] == 200


def text(running: Program, path: str) -> str:
    """The text form, as Prometheus asks for it where it does not know OpenMetrics."""
    status, headers, body = running.ask("GET", path, headers={"accept": "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"})
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    return body.decode()


def series(text: str) -> dict[str, set[str]]:
    """The names of all samples, each with the names of its labels."""
    found: dict[str, set[str]] = {}
    for family in families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


# ---- promtool ------------------------------------------------------------------------------------------------------


def promtool(*arguments: str, text: str) -> tuple[int, str]:
    """Its exit status, and all that it says."""
    done = subprocess.run([str(PROMTOOL), *arguments], input=text, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


@WITH_PROMTOOL
def test_promtool_accepts_the_text(scraped: Scraped) -> None:
    assert promtool("check", "metrics", text=scraped.own) == (0, "")


@WITH_PROMTOOL
def test_promtool_reads_ollas_names_and_finds_only_the_names_odd(scraped: Scraped) -> None:
    _, said = promtool("check", "metrics", text=scraped.whole)
    assert dict(line.split(" ", 1) for line in said.splitlines()) == COMPLAINTS


def test_both_texts_tell_the_same_under_our_names(scraped: Scraped) -> None:
    whole, own = series(scraped.whole), series(scraped.own)
    assert {name: labels for name, labels in whole.items() if not name.startswith("olla_")} == own
    assert whole.keys() - own.keys() != set()


# ---- the dashboard -------------------------------------------------------------------------------------------------


def panels() -> dict[str, list[str]]:
    """The queries of each panel, by its title."""
    titled = {panel["title"]: panel for panel in DASHBOARD["panels"] if panel["type"] != "row"}
    return {title: [target["expr"] for target in panel["targets"]] for title, panel in titled.items()}


PANELS = panels()
_SERIES = re.compile(r"\b([a-z_]+)\{([^}]*)\}")
_GROUPED = re.compile(r"\b(?:by|on|group_left) \(([^)]*)\)")
_LEGEND = re.compile(r"\{\{(\w+)\}\}")


def test_every_panel_has_a_title_of_its_own_and_a_query() -> None:
    drawn = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    assert len(PANELS) == len(drawn)
    assert all(PANELS.values())
    sources = {json.dumps(panel["datasource"]) for panel in drawn}
    assert sources == {json.dumps({"type": "prometheus", "uid": "${datasource}"})}, "whoever imports it chooses"
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_no_panel_lies_on_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


@pytest.mark.parametrize("title", PANELS)
def test_every_query_names_series_and_labels_of_the_text(title: str, scraped: Scraped) -> None:
    there = series(scraped.own)
    for expr in PANELS[title]:
        found = _SERIES.findall(expr)
        assert found, expr
        for name, matchers in found:
            assert name in there, expr
            labels = {matcher.group(1) for matcher in re.finditer(r"(\w+)(?:=~|!~|!=|=)", matchers)}
            assert labels <= there[name] | SCRAPED, (expr, there[name])
        known = set().union(*(there[name] for name, _ in found)) | SCRAPED
        for group in _GROUPED.findall(expr):
            assert set(group.split(", ")) <= known, expr


def test_every_legend_names_a_label_that_the_query_keeps() -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            kept = {label for group in _GROUPED.findall(target["expr"]) for label in group.split(", ")}
            assert set(_LEGEND.findall(target["legendFormat"])) <= kept, target


def test_every_variable_asks_for_a_series_that_is_there(scraped: Scraped) -> None:
    there = series(scraped.own)
    queries = [one["query"]["query"] for one in DASHBOARD["templating"]["list"] if one["type"] == "query"]
    assert len(queries) == 3
    for query in queries:
        matched = re.fullmatch(r"label_values\((\w+)(?:\{[^}]*\})?, (\w+)\)", query)
        assert matched is not None, query
        assert matched[2] in there[matched[1]] | SCRAPED


@WITH_PROMTOOL
def test_promtool_reads_every_query(tmp_path: Path) -> None:
    exprs = [expr for found in PANELS.values() for expr in found]
    rules = [
        {"record": f"panel:{n}", "expr": re.sub(r"\$\w+", "x", expr.replace("$__rate_interval", "5m"))}
        for n, expr in enumerate(exprs)
    ]
    path = tmp_path / "rules.json"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    status, said = promtool("check", "rules", str(path), text="")
    assert (status, f"{len(exprs)} rules found" in said) == (0, True), said


# ---- the documentation ---------------------------------------------------------------------------------------------


def documented() -> dict[str, Family]:
    """The rows of the page's tables."""
    found: dict[str, Family] = {}
    for line in PAGE.splitlines():
        if line.startswith(("| `arriero_", "| `olla_", "| `process_")):
            name, kind, labels, meaning = (cell.strip() for cell in line.strip("|").split("|"))
            found[name.strip("`")] = Family(kind, meaning, frozenset(re.findall(r"`(\w+)`", labels)))
    return found


def told(text: str) -> dict[str, Family]:
    """The same of a text."""
    found: dict[str, Family] = {}
    for family in families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = frozenset(label for sample in family.samples for label in sample.labels) - {"le"}
        found[name] = Family("untyped" if family.type == "unknown" else family.type, family.documentation, labels)
    return found


def test_the_documentation_tells_of_every_series_with_type_labels_and_meaning(scraped: Scraped) -> None:
    assert documented() == told(scraped.whole)
