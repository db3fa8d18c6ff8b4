"""Sizes in words."""


def file_size(size_bytes: int) -> str:
    """As Ollama's command has it, in powers of a thousand: `1.3 GB`, `358 B`."""
    number = float(size_bytes)
    unit = "B"
    for larger in ("KB", "MB", "GB", "TB"):
        if number < 999.5:
            break
        number, unit = number / 1000, larger
    return f"{number:.0f} {unit}" if unit == "B" or number >= 99.95 else f"{number:.1f} {unit}"
