"""What the configuration asks of the vendor profiles: names, addresses, key variables. The table lives there."""

from difflib import get_close_matches
from urllib.parse import urlsplit

from arriero.dialects.profiles import PROFILES, guess

_LOCAL = ("localhost", "127.0.0.1", "::1")


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


def has_list(name: str) -> bool:
    """Whether the vendor tells which models it has; of others the operator has to."""
    profile = PROFILES.get(name)
    return profile is None or profile.models_path is not None


def in_region(name: str, region: str) -> str | None:
    """The vendor's own address in another region, if it has regions."""
    profile = PROFILES.get(name)
    if profile is None or profile.base_url is None or profile.region is None:
        return None
    return profile.base_url.replace(profile.region, region)


def completed(url: str, name: str | None = None) -> str:
    """A URL at the vendor's own host that has only the beginning of the vendor's path, with the whole of it.

    Clients of a vendor's own API are given `https://api.anthropic.com`; the API of OpenAI stands below that. Any other
    URL, and any text that is none, comes back as it is. Without a name the vendor is guessed from the host.
    """
    profile = guess(url) if name is None else PROFILES.get(name)
    if profile is None or profile.base_url is None:
        return url
    try:
        parts, own = urlsplit(url.strip()), urlsplit(profile.base_url)
        host = parts.hostname or ""
    except ValueError:
        return url
    given, whole = parts.path.rstrip("/"), own.path
    if not profile.has_host(host) or not f"{whole}/".startswith(f"{given}/"):
        return url
    return parts._replace(path=whole).geturl()


def is_host_of(name: str, url: str) -> bool:
    """Whether a URL leads to the vendor's own host."""
    try:
        host = urlsplit(url.strip()).hostname or ""
    except ValueError:
        return False
    profile = PROFILES.get(name)
    return profile is not None and profile.has_host(host)
