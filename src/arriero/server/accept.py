"""Which form of the metrics a client wants: JSON as ollama-proxy had it, or one of Prometheus's texts.

The rule: text where `Accept` names `text/plain` or `application/openmetrics-text` with a weight above that of JSON,
which is the weight of `application/json`, else of `application/*`, else of `*/*`. So every Prometheus scraper gets
text; a browser, curl's `*/*`, axios' `application/json, text/plain, */*` and a client that says nothing get JSON.
"""

from collections.abc import Mapping

_OPENMETRICS = "application/openmetrics-text"
_TEXTS = ("text/plain", _OPENMETRICS)
_JSONS = ("application/json", "application/*", "*/*")


def wants_text(accept: bytes | None) -> bool:
    """Whether text is wanted by this value of `Accept`."""
    weights = _weights((accept or b"").decode("latin-1"))
    text = max(weights.get(name, 0.0) for name in _TEXTS)
    return text > next((weights[name] for name in _JSONS if name in weights), 0.0)


def wants_openmetrics(accept: bytes | None) -> bool:
    """Whether it is named at all; else a text is in the format 0.0.4, which everybody reads."""
    return _weights((accept or b"").decode("latin-1")).get(_OPENMETRICS, 0.0) > 0


def _weights(accept: str) -> Mapping[str, float]:
    """The weight of each media range; of one that comes twice (versions of OpenMetrics) the greater."""
    found: dict[str, float] = {}
    for member in accept.split(","):
        name, *parameters = (part.strip().lower() for part in member.split(";"))
        found[name] = max(found.get(name, 0.0), _weight(parameters))
    return found


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
