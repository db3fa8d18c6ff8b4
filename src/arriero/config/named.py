"""Backends that the environment and the flags name, and the keys that the environment adds to the file's."""

from typing import Any

from arriero.config import environment, vendors
from arriero.config.draft import Draft
from arriero.config.environment import Found, Origin, Variables
from arriero.config.flags import Flags
from arriero.config.problems import Location
from arriero.config.values import parse_list


def _entry(
    name: str, key: Found | None, url: Found | None, profile: str | None
) -> tuple[dict[str, Any], dict[str, Origin]]:
    entry: dict[str, Any] = {"name": name, "kind": "openai"}
    origins: dict[str, Origin] = {}
    if profile is not None:
        entry["profile"] = profile
    for field_name, found in (("api_key", key), ("url", url)):
        if found is not None:
            entry[field_name] = found.value
            origins[field_name] = found.origin
    return entry, origins


def add_vendors(draft: Draft, variables: Variables) -> None:
    """One backend for each vendor whose key variable is set."""
    for row in environment.vendors_named():
        if (key := variables.find(*row.keys)) is not None:
            draft.add(*_entry(row.backend, key, variables.find(*row.urls), row.profile))


def add_openai(draft: Draft, flags: Flags, variables: Variables, by_file: bool) -> None:
    """The backend `openai`: flags name it, and a URL in the environment; a key alone only where no file names backends.

    An entry of that name in the file is changed by the flags and otherwise left as it is.
    """
    long, short = environment.OPENAI, environment.OPENAI_SHORT
    key, url = variables.find(*long.keys, *short.keys), variables.find(*long.urls, *short.urls)
    if variables.find(*long.keys, *long.urls) is None and not (key and url):
        key = url = None
    flag_key = Found("--api-key", flags.api_key, Origin("flag", "--api-key")) if flags.api_key else None
    flag_url = Found("--base-url", flags.base_url, Origin("flag", "--base-url")) if flags.base_url else None
    existing = next((pair for pair in draft.entries("openai") if pair[1].get("name") == long.backend), None)
    if existing is not None:
        position, entry = existing
        for name, given in (("api_key", flag_key), ("url", flag_url)):
            if given is not None:
                draft.put(("backends", position), entry, name, given.value, given.origin)
        _set_models(draft, position, entry, flags, None)
        return
    if not (flag_key or flag_url or url or (key and not by_file)):
        for flag, value in (("--models", flags.models), ("--capabilities", flags.capabilities)):
            if value:
                draft.problems.append(
                    f"{flag}: needs a backend of the OpenAI API: give --base-url or --api-key as well"
                )
        return
    chosen = flag_url or url
    entry, origins = _entry(long.backend, flag_key or key, chosen, None)
    if chosen is None:
        entry["profile"] = "openai"
    draft.add(entry, origins)
    _set_models(draft, len(draft.backends()) - 1, entry, flags, variables)


def _set_models(draft: Draft, position: int, entry: dict[str, Any], flags: Flags, variables: Variables | None) -> None:
    """Extra models and capabilities of the backend `openai`, from flags, else from variables."""
    where: Location = ("backends", position)
    if listed := _texts(draft, "--models", flags.models, variables, environment.EXTRA_MODELS):
        draft.put(where, entry, "extra_models", listed[0], listed[1])
    if listed := _texts(draft, "--capabilities", flags.capabilities, variables, environment.CAPABILITIES):
        # oai2ollama's rule: every model can complete, and these come on top.
        words = ["completion", *(word for word in listed[0] if word != "completion")]
        models = entry.setdefault("models", {})
        if isinstance(models, dict):
            draft.put((*where, "models"), models, "capabilities", {"*": words}, listed[1])


def _texts(
    draft: Draft, flag: str, given: list[str] | None, variables: Variables | None, names: tuple[str, ...]
) -> tuple[list[str], Origin] | None:
    found = variables.find(*names) if variables is not None and not given else None
    if found is not None and (better := environment.DEPRECATED.get(found.name.upper())):
        draft.warnings.append(f"{found.origin} is deprecated: use {better}")
    texts, origin = ([found.value], found.origin) if found else (given or [], Origin("flag", flag))
    try:
        items = [item for text in texts for item in parse_list(text)]
    except ValueError as error:
        draft.problems.append(f"{origin}: {error}")
        return None
    return (list(dict.fromkeys(items)), origin) if items else None


def add_keys(draft: Draft, variables: Variables) -> None:
    """A vendor's backend without a key takes the vendor's variable, provided that it has the vendor's own address."""
    keys = {named.profile: named.keys for named in environment.vendors_named()} | {"openai": environment.OPENAI.keys}
    for position, entry in draft.entries("openai"):
        url, profile = entry.get("url"), entry.get("profile")
        if profile is None and isinstance(url, str):
            profile = vendors.guess_name(url)
        if "api_key" in entry or not isinstance(profile, str) or profile not in keys:
            continue
        own = vendors.base_url(profile)
        at_vendor = url is None or (isinstance(url, str) and url.strip().rstrip("/") == own)
        if at_vendor and (found := variables.find(*keys[profile])) is not None:
            draft.put(("backends", position), entry, "api_key", found.value, found.origin)
