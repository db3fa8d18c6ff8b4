"""What the configuration asks of the vendor profiles: names, addresses, key variables. The table lives there."""

from difflib import get_close_matches
from urllib.parse import urlsplit

from arriero.dialects.profiles import PROFILES, guess

_LOCAL = ("localhost", "127.0.0.1", "::1")
OPENAI_KEY = "OPENAI_API_KEY"
"""Has rules of its own (see `environment`), and is the key variable of more than one profile."""

ALIASES = {"GEMINI_API_KEY": ("GOOGLE_API_KEY",)}
"""Other spellings of a vendor's key variable."""


def is_known(name: str) -> bool:
    """Whether a profile has this name."""
    return name in PROFILES


def names() -> list[str]:
    """The names of all profiles, in table order."""
    return list(PROFILES)


def base_url(name: str) -> str | None:
    """The vendor's own address, if it has one."""
    profile = PROFILES.get(name)
    return profile.base_url if profile else None


def guess_name(url: str) -> str:
    """The name of the profile that fits a base URL, `generic` where none does."""
    return guess(url).name


def nearest(name: str) -> str | None:
    """The profile name that is most like a mistyped one."""
    matches = get_close_matches(name.lower(), PROFILES, 1)
    return matches[0] if matches else None


def key_variables() -> dict[str, str]:
    """Profile name to the variable of its key, for every vendor with an address on the network, in table order.

    Profiles of local servers are left out: `OLLAMA_API_KEY`, for one, is what Ollama's clients send to arriero itself.
    """
    return {
        name: profile.key_variable
        for name, profile in PROFILES.items()
        if profile.key_variable and profile.base_url and urlsplit(profile.base_url).hostname not in _LOCAL
    }
