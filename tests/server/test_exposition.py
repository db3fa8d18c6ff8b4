"""What the library makes of values: kinds, label values that are no text, what is not known."""

from prometheus_client.parser import text_string_to_metric_families as families

from arriero.gateway.counts import BOUNDS, Histogram
from arriero.server.exposition import counter, gauge, histogram, label, of_process, untyped, written


def text(*found: object) -> str:
    """In the text format, without what only says what it is."""
    lines = written(found, openmetrics=False).decode().splitlines()  # type: ignore[arg-type]
    return "\n".join(line for line in lines if not line.startswith("#"))


def test_what_is_not_known_leaves_no_sample() -> None:
    rows = [(("a",), 1.0), (("b",), None), (("c",), 0.0)]
    assert text(gauge("x", "X", rows, ("at",))) == 'x{at="a"} 1.0\nx{at="c"} 0.0'


def test_kinds() -> None:
    found = [counter("a_total", "A", [((), 1)]), gauge("b", "B", [((), 2)]), untyped("c", "C", [((), 3)])]
    assert written(found, openmetrics=False) == (
        b"# HELP a_total A\n# TYPE a_total counter\na_total 1.0\n"
        b"# HELP b B\n# TYPE b gauge\nb 2.0\n"
        b"# HELP c C\n# TYPE c untyped\nc 3.0\n"
    )
    assert written(found, openmetrics=True) == (
        b"# HELP a A\n# TYPE a counter\na_total 1.0\n"
        b"# HELP b B\n# TYPE b gauge\nb 2.0\n"
        b"# HELP c C\n# TYPE c unknown\nc 3.0\n"
        b"# EOF\n"
    )


def test_a_histogram_counts_from_below() -> None:
    times = Histogram()
    times.add([1, 0, 2] + [0] * (len(BOUNDS) - 2), 500.0)
    (family,) = families(written([histogram("x_seconds", "X", [(("a",), times)], ("at",))], openmetrics=False).decode())
    found = {(sample.name, sample.labels.get("le")): sample.value for sample in family.samples}
    assert [found["x_seconds_bucket", le] for le in ("0.05", "0.1", "0.25", "600.0", "+Inf")] == [1, 1, 3, 3, 3]
    assert (found["x_seconds_count", None], found["x_seconds_sum", None]) == (3, 0.5)


def test_a_name_that_is_no_text_becomes_one() -> None:
    assert label("a\ud800b") == "a\\ud800b"
    assert label("möglich") == "möglich"


def test_the_process_has_the_names_that_every_client_library_uses() -> None:
    told = {family.name: family.samples[0].value for family in of_process()}
    assert {"process_resident_memory_bytes", "process_cpu_seconds", "process_open_fds"} <= set(told)
    assert told["process_resident_memory_bytes"] > 1_000_000
