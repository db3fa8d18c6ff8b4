"""What a request is called in logs and header fields: the client's own name for it, or a new one."""

import re
import secrets

from arriero.backends.http.call import Headers

_USABLE = re.compile(rb"[!-~]{1,128}")

_BEASTS = (
    *("alpaca", "brown", "cria", "curly", "dusty", "fluffy", "gentle", "golden", "grey", "guanaco", "happy", "hardy"),
    *("llama", "misty", "mountain", "noble", "patient", "proud", "quiet", "shaggy", "silver", "snowy", "spotted"),
    *("steady", "sunny", "swift", "vicuna", "white", "wild", "wise", "woolly", "young"),
)
_DEEDS = (
    *("browsing", "carrying", "chewing", "climbing", "crossing", "dancing", "dozing", "drinking", "galloping"),
    *("gazing", "grazing", "hauling", "hiking", "humming", "jumping", "leading", "leaping", "listening", "marching"),
    *("napping", "nodding", "pacing", "plodding", "prancing", "resting", "roaming", "running", "strolling"),
    *("trekking", "trotting", "walking", "wandering"),
)


class Ids:
    """Unique over this process's life and, as good as surely, over processes and time."""

    def __init__(self) -> None:
        self._start = secrets.token_hex(4)
        self._count = 0
        self._word_start = secrets.randbits(26)

    def plain(self) -> str:
        """Sixteen hexadecimal digits: short, for people read it in logs."""
        self._count += 1
        return f"{self._start}{self._count:08x}"

    def in_words(self) -> str:
        """In Olla's form, `word-word-hhhh`: different for 67 million requests in a row."""
        self._count += 1
        number = self._word_start + self._count
        return f"{_BEASTS[number % len(_BEASTS)]}-{_DEEDS[(number >> 5) % len(_DEEDS)]}-{(number >> 10) & 0xFFFF:04x}"

    def told(self, headers: Headers) -> str | None:
        """What the client calls it (`X-Request-ID`), if that is 1 to 128 printable characters without a space."""
        for name, value in headers:
            if name == b"x-request-id":
                return value.decode("ascii") if _USABLE.fullmatch(value) else None
        return None
