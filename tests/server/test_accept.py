"""Who gets Prometheus's text at `/metrics`, in which of its formats, and who gets JSON."""

import pytest

from arriero.server.accept import wants_openmetrics, wants_text

PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;"
    "q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
TELEGRAF = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,"
    "text/plain;version=0.0.4;q=0.3"
)
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.mark.parametrize(
    "accept",
    [
        PROMETHEUS,
        TELEGRAF,
        "text/plain",
        "text/plain;version=0.0.4;q=1,*/*;q=0.1",
        "application/openmetrics-text; version=1.0.0",
        "Text/Plain",
        "application/json;q=0.5, text/plain",
        "text/plain;q=0.5, application/json;q=0.1, */*",  # what is named counts before what is meant by a star
        "text/plain, application/json;q=0",
    ],
)
def test_text(accept: str) -> None:
    assert wants_text(accept.encode())


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "",
        "*/*",
        BROWSER,
        "application/json",
        "application/json, text/plain, */*",
        "text/plain, */*",
        "text/plain;q=0.2, */*;q=0.8",
        "text/plain;q=0.2, application/*;q=0.3, */*;q=0.1",
        "text/plain;q=0",
        "text/plain;q=high",
        "text/*",
        "text/html",
        ",;,",
        "\xff\xfe",
    ],
)
def test_json(accept: str | None) -> None:
    assert not wants_text(None if accept is None else accept.encode("latin-1"))


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (PROMETHEUS, True),
        ("Application/OpenMetrics-Text; version=1.0.0", True),
        (TELEGRAF, False),
        ("*/*", False),
        ("application/openmetrics-text;q=0, text/plain", False),
        (None, False),
    ],
)
def test_openmetrics_where_it_is_named(accept: str | None, wanted: bool) -> None:
    assert wants_openmetrics(None if accept is None else accept.encode()) is wanted
