"""How the commands put things to people: text that cannot steer a terminal, times, places of this machine."""

from pathlib import Path


def printable(text: str) -> str:
    """Without control characters: another program's words must not steer the terminal."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def duration(seconds: float) -> str:
    """Its two largest parts: `7s`, `4m05s`, `2h10m`, `3d01h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h{minutes:02}m"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours:02}h"


def place(path: Path, home: Path | None) -> str:
    """A path, with `~` for the home."""
    if home is not None and home != Path("/") and path.is_relative_to(home):
        return str(Path("~") / path.relative_to(home))
    return str(path)
