"""Model names as Ollama writes them: `[scheme://][host/][namespace/]model[:tag]`, and the suffixes `:cloud`, `:local`.

A gateway must not refuse a name that some backend may know (`@cf/meta/x`, `google/gemini-2.5-pro:free`), so
`check_name` refuses only what no backend can have. The grammar itself serves displays and the library operations on
Ollama stores.
"""

import re

from msgspec import Struct

from arriero.canonical.model_ids import CONTROL, MAX_ID_CHARACTERS
from arriero.dialects.ollama.golang import quote
from arriero.errors import BadRequest

DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}", re.ASCII)
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}", re.ASCII)
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}", re.ASCII)
_NO_NAME = re.compile(r"^[:/]|[:/]$|[:/][:/]|\s")


class Name(Struct, frozen=True):
    """The four parts of a name, defaults filled in, letter case kept."""

    model: str
    tag: str = DEFAULT_TAG
    namespace: str = DEFAULT_NAMESPACE
    host: str = DEFAULT_HOST

    @property
    def full(self) -> str:
        """All four parts, as capability errors print them."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"

    @property
    def shortest(self) -> str:
        """What listings show: default host and namespace left out, the tag always there."""
        if self.host != DEFAULT_HOST:
            return self.full
        if self.namespace != DEFAULT_NAMESPACE:
            return f"{self.namespace}/{self.model}:{self.tag}"
        return f"{self.model}:{self.tag}"

    @property
    def key(self) -> str:
        """Equal for two spellings of one model."""
        return self.full.casefold()


def parse(text: str) -> Name | None:
    """The name in `text` by Ollama's grammar, `None` if it is not one. Spaces around it are cut off."""
    rest = text.strip(" \t\r\n")
    host, namespace, tag = DEFAULT_HOST, DEFAULT_NAMESPACE, DEFAULT_TAG
    colon = rest.rfind(":")
    if colon > rest.rfind("/"):
        rest, tag = rest[:colon], rest[colon + 1 :]
    head, slash, model = rest.rpartition("/")
    if slash:
        head, slash, namespace = head.rpartition("/")
        if slash:
            host = head.rpartition("://")[2]
    fits = _HOST.fullmatch(host) and _NAMESPACE.fullmatch(namespace) and _WORD.fullmatch(model) and _WORD.fullmatch(tag)
    return Name(model, tag, namespace, host) if fits else None


def full(text: str) -> str:
    """The full form of a name, or the text itself where the grammar does not know it."""
    name = parse(text)
    return name.full if name else text


def shortest(text: str) -> str:
    """The shortest form with a tag, or the text itself where the grammar does not know it."""
    name = parse(text)
    return name.shortest if name else text


def source(text: str) -> tuple[str, str | None]:
    """The base of a name and its source, `cloud` or `local`. Raises `BadRequest` where it claims both."""
    rest = text.strip(" \t\r\n")
    found: str | None = None
    while True:
        base, colon, tag = rest.rpartition(":")
        word = tag.casefold()
        if colon and word in ("cloud", "local"):
            rest, said = base, word
        elif colon and "/" not in tag and word.endswith("-cloud"):
            rest, said = rest[: -len("-cloud")], "cloud"
        else:
            return rest, found
        if found is not None and said != found:
            raise BadRequest(f"use either :local or :cloud, not both: {quote(text)}")
        found = said


def check_unknown(text: str) -> None:
    """Raises `BadRequest` for a name that nobody lists and that is none: an empty part, a space inside, too long.

    It is stricter than `check_name`, and milder than the grammar: the backend that has `@cf/meta/x` may be away.
    """
    source(text)
    rest = text.strip(" \t\r\n").rpartition("://")[2]
    if not rest or len(rest) > MAX_ID_CHARACTERS or _NO_NAME.search(rest):
        raise BadRequest("invalid model name")


def check_name(text: str) -> None:
    """Raises `BadRequest` for a name that no backend can have. What an empty one means is each endpoint's affair."""
    if not text.strip() or len(text) > MAX_ID_CHARACTERS or CONTROL.search(text):
        raise BadRequest("invalid model name")
    if ":" in text:
        source(text)
