"""How Olla writes numbers for people, and the short names it gives to endpoints.

Its own dashboard and scripts show these texts as they come, so each is the same to the letter. Times are unix seconds
and arrive as arguments. Nothing here knows a route or a backend.
"""

_UNITS = ("KB", "MB", "GB", "TB", "PB", "EB")
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_FNV = {32: (0x811C9DC5, 0x01000193), 64: (0xCBF29CE484222325, 0x00000100000001B3)}

MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def bytes_text(n: int) -> str:
    """`812 B`, `1.20 GB`: units of 1024, two decimals from the first unit on."""
    if n < 1024:
        return f"{n} B"
    power = min((n.bit_length() - 1) // 10, len(_UNITS))
    return f"{n / 1024**power:.2f} {_UNITS[power - 1]}"


def percent(ratio: float | None) -> str:
    """`99.6%`, `100%`, `0%` for a share between 0 and 1; `N/A` where there was nothing to share."""
    if ratio is None:
        return "N/A"
    if ratio in (0, 1):
        return f"{ratio:.0%}"
    return f"{ratio * 100:.1f}%"


def latency(ms: float | None) -> str:
    """`85ms`, `1.2s`; `0ms` where nothing was measured, which is Olla's word for it."""
    if ms is None:
        return "0ms"
    whole = round(ms)
    return f"{whole}ms" if whole < 1000 else f"{ms / 1000:.1f}s"


def ago(then: float | None, now: float) -> str:
    """`2s ago`, `5m ago`, `3h ago`, `4d ago`; `never`. A clock that was set back does not make it negative."""
    return "never" if then is None else f"{_span(now - then)} ago"


def until(then: float | None, now: float) -> str:
    """`in 3s`; `now` for what is due; `unknown`."""
    if then is None:
        return "unknown"
    return "now" if then <= now else f"in {_span(then - now)}"


def uptime(seconds: float) -> str:
    """`45s`, `12m`, `2h 30m`, `3d 4h`."""
    whole = max(0, int(seconds))
    if whole < MINUTE:
        return f"{whole}s"
    if whole < HOUR:
        return f"{whole // MINUTE}m"
    if whole < DAY:
        return f"{whole // HOUR}h {whole % HOUR // MINUTE}m"
    return f"{whole // DAY}d {whole % DAY // HOUR}h"


def system_word(healthy: int, endpoints: int, success: float | None) -> str:
    """`healthy`, `degraded` or `critical`, by the shares of healthy endpoints and of good answers (`None`: none)."""
    share = healthy / endpoints if endpoints else 0.0
    if share < 0.5 or (success is not None and success < 0.9):
        return "critical"
    if share < 0.8 or (success is not None and success < 0.95):
        return "degraded"
    return "healthy"


def security_word(violations: int, addresses: int) -> str:
    """`elevated` above 100 refused requests or 10 refused addresses, else `normal`."""
    return "elevated" if violations > 100 or addresses > 10 else "normal"


def _span(seconds: float) -> str:
    whole = max(0, int(seconds))
    for unit, letter in ((DAY, "d"), (HOUR, "h"), (MINUTE, "m")):
        if whole >= unit:
            return f"{whole // unit}{letter}"
    return f"{whole}s"


def base36(n: int) -> str:
    """A number that is not negative, in lower-case digits."""
    digits = ""
    while n >= 36:
        n, digit = divmod(n, 36)
        digits = _DIGITS[digit] + digits
    return _DIGITS[n] + digits


def fnv1a(data: bytes, bits: int = 32) -> int:
    """The FNV-1a hash of 32 or 64 bits."""
    value, prime = _FNV[bits]
    mask = (1 << bits) - 1
    for byte in data:
        value = ((value ^ byte) * prime) & mask
    return value


def plain_url(url: str) -> str:
    """The URL without what may be secret in it: its user, query and fragment."""
    for mark in "#?":
        url = url.partition(mark)[0]
    scheme, colon, rest = url.partition("://")
    if not colon:
        return url
    authority, slash, path = rest.partition("/")
    return scheme + colon + authority.rpartition("@")[2] + slash + path


def endpoint_id(url: str) -> str:
    """A short name that stays the same as long as the URL does. Two URLs may share one: the caller tells them apart."""
    return base36(fnv1a(plain_url(url).encode()))
