"""Counts as Ollama prints them."""


def parameter_size(count: int | None) -> str:
    """A rounded count of parameters: `8B`, `1.2B`, `494.03M`, `12K`, `12`; `""` where unknown."""
    if not count:
        return ""
    for unit, letter, decimals in ((10**9, "B", 1), (10**6, "M", 2), (10**3, "K", 0)):
        if count >= unit:
            return f"{count // unit}{letter}" if count % unit == 0 else f"{count / unit:.{decimals}f}{letter}"
    return str(count)
