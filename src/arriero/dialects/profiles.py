"""The profiles by name and by host. What a profile is stands in `quirks`, the entries in `vendors` and `servers`."""

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

from arriero.dialects.quirks import Profile
from arriero.dialects.servers import GENERIC, SERVERS
from arriero.dialects.vendors import VENDORS

PROFILES: Mapping[str, Profile] = MappingProxyType({profile.name: profile for profile in (*VENDORS, *SERVERS)})
"""Every profile by name, the vendors first."""


def profile_of(name: str) -> Profile:
    """The profile of a name as configured. Raises `ValueError` that names the nearest ones."""
    try:
        return PROFILES[name]
    except KeyError:
        near = difflib.get_close_matches(name.lower(), PROFILES, n=3, cutoff=0.5) or sorted(PROFILES)
        raise ValueError(f"unknown profile {name!r}; did you mean {' or '.join(near)}?") from None


def guess(base_url: str) -> Profile:
    """The profile of the vendor whose host name the URL has, else `generic`. A scheme may be missing."""
    try:
        parts = urlsplit(base_url if "//" in base_url else f"//{base_url}")
        host, path = parts.hostname or "", parts.path.rstrip("/")
    except ValueError:
        return GENERIC
    for profile in PROFILES.values():
        if profile.has_host(host) and path.endswith(profile.base_path):
            return profile
    return GENERIC
