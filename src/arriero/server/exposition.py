"""Series in the library's shapes, and the text that Prometheus reads. What is told is the affair of `series`.

The library is imported at the first scrape: it takes as long as a hundred requests, and most processes are never asked.
"""

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from arriero.gateway.counts import BOUNDS, Histogram

if TYPE_CHECKING:
    from prometheus_client.core import Metric

TEXT = b"text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = b"application/openmetrics-text; version=1.0.0; charset=utf-8"

Rows = Iterable[tuple[Sequence[str], float | None]]
"""Label values and the value; `None` is not known, and leaves no sample."""

Times = Iterable[tuple[Sequence[str], Histogram]]
"""The same of a histogram."""


def load() -> None:
    """Import the library."""
    import prometheus_client  # noqa: F401


def gauge(name: str, text: str, rows: Rows, labels: Sequence[str] = ()) -> "Metric":
    """A value that goes up and down."""
    from prometheus_client.core import GaugeMetricFamily

    return _filled(GaugeMetricFamily(name, text, labels=labels), rows, labels, name)


def counter(name: str, text: str, rows: Rows, labels: Sequence[str] = ()) -> "Metric":
    """A count since the start. Its name ends in `_total`."""
    from prometheus_client.core import CounterMetricFamily

    return _filled(CounterMetricFamily(name, text, labels=labels), rows, labels, name)


def untyped(name: str, text: str, rows: Rows, labels: Sequence[str] = ()) -> "Metric":
    """Olla's counters whose names do not end in `_total`: OpenMetrics knows none, and the names have to stay."""
    from prometheus_client.core import UnknownMetricFamily

    return _filled(UnknownMetricFamily(name, text, labels=labels), rows, labels, name)


def histogram(name: str, text: str, rows: Times, labels: Sequence[str] = ()) -> "Metric":
    """Seconds in the buckets of `BOUNDS`."""
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(name, text, labels=labels)
    bounds = [*map(str, BOUNDS), "+Inf"]
    for values, times in rows:
        below = list(zip(bounds, accumulate(times.buckets), strict=True))
        family.add_metric(values, below, times.total)
    return family


def of_process() -> "list[Metric]":
    """What the kernel knows of this process under the names that every client library uses; nothing where it tells of
    none.
    """
    from prometheus_client import ProcessCollector

    return list(ProcessCollector(registry=None).collect())


def written(families: Iterable["Metric"], *, openmetrics: bool) -> bytes:
    """The text."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.openmetrics import exposition

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Gathered(families))
    if openmetrics:
        return bytes(exposition.generate_latest(registry))  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def label(name: str) -> str:
    """Names that are no text in UTF-8 have to be, here."""
    return name.encode("utf-8", "backslashreplace").decode()


def _filled(family: "Metric", rows: Rows, labels: Sequence[str], sample: str) -> "Metric":
    for values, value in rows:
        if value is not None:
            family.add_sample(sample, dict(zip(labels, values, strict=True)), float(value))
    return family


class _Gathered:
    """What was collected on the loop, before a thread writes it."""

    def __init__(self, families: Iterable["Metric"]) -> None:
        self._families = families

    def describe(self) -> Iterable["Metric"]:
        """Nothing: the registry is used once, and no name can meet another."""
        return ()

    def collect(self) -> Iterable["Metric"]:
        """All of it."""
        return self._families
