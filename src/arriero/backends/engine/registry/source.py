"""Where the bytes of one blob come from: the registry itself, or the place that it sends its clients to.

| the registry answers                     | what is done                                                      |
|------------------------------------------|-------------------------------------------------------------------|
| a redirect on its own host               | followed, with the token                                          |
| a redirect to another host               | that is the direct URL of all parts, asked without the token      |
| 200 with a `Location`                    | likewise                                                          |
| 206, or 200 where everything was asked   | these are the bytes                                               |
| 200 where a range was asked              | RangeIgnored                                                      |
| 416                                      | RangeRefused                                                      |

A direct URL that has expired (400, 401, 403, 404, 410) is asked anew.
"""

import re

from arriero.backends.engine.registry.address import Place
from arriero.backends.engine.registry.answer import Answer
from arriero.backends.engine.registry.session import REDIRECTS, Refused, Session, Unanswered, refusal
from arriero.backends.http.astray import is_plain
from arriero.backends.http.call import Head, Headers, Timeouts
from arriero.errors import BackendError, RegistryError

_EXPIRED = frozenset({400, 401, 403, 404, 410})
_PASSING = frozenset({408, 425, 429})
_CONTENT_RANGE = re.compile(rb"bytes\s+([0-9]{1,19})-([0-9]{1,19})/(?:([0-9]{1,19})|\*)")


class RangeIgnored(RegistryError):
    """The server answers with everything where a part was asked."""


class RangeRefused(RegistryError):
    """The server does not have the part that was asked."""


class Expired(RegistryError):
    """The place that the registry sends its clients to refuses them, even asked anew."""


class Source:
    """One blob of `total` bytes at a registry."""

    def __init__(self, session: Session, digest: str, total: int, timeouts: Timeouts) -> None:
        self.session = session
        self.digest = digest
        self.total = total
        self._timeouts = timeouts
        self._path = f"blobs/{digest}"
        self._direct: Place | None = None

    async def check(self) -> None:
        """Whether the registry has it, with this size, as far as it says. Raises RegistryError."""
        _, answer = await self.session.open("HEAD", self._path, timeouts=self._timeouts, abroad=False)
        try:
            status, length = answer.head.status, answer.head.get(b"content-length")
            if status == 404:
                raise self._missing()
            if status == 200 and length is not None and is_plain(answer.head):
                self._check_total(length)
            elif status in _PASSING or status >= 500:
                raise await refusal(answer)
        finally:
            answer.abort()

    async def open(self, start: int, stop: int, *, ranged: bool = True) -> Answer:
        """An answer whose body are the bytes from `start` to before `stop`. Raises RegistryError."""
        headers: Headers = ((b"range", b"bytes=%d-%d" % (start, stop - 1)),) if ranged else ()
        renewed = False
        while True:
            direct = self._direct
            where = self._path if direct is None else direct
            place, answer = await self.session.open(
                "GET", where, headers, timeouts=self._timeouts, abroad=direct is not None
            )
            try:
                status = answer.head.status
                if direct is None and (target := self._elsewhere(place, answer.head)) is not None:
                    self._direct = target
                    answer.abort()
                    continue
                if direct is not None and status in _EXPIRED and not renewed:
                    renewed = True
                    if self._direct is direct:
                        self._direct = None
                    answer.abort()
                    continue
                if status not in (200, 206):
                    raise await self._no_bytes(answer, direct)
                self._check(place, answer.head, start, stop, ranged)
            except BaseException:
                answer.abort()
                raise
            return answer

    def _elsewhere(self, place: Place, head: Head) -> Place | None:
        location = head.get(b"location")
        if location is None or not (head.status in REDIRECTS or head.status == 200):
            return None
        target = place.join(location.decode("latin-1"))
        return None if target == place else target

    def _check(self, place: Place, head: Head, start: int, stop: int, ranged: bool) -> None:
        if not is_plain(head):
            raise RegistryError(f"{place.origin.address} compresses a blob, though it was asked not to")
        if head.status == 200:
            if ranged and (start, stop) != (0, self.total):
                raise RangeIgnored(f"{place.origin.address} cannot give a part of a blob")
            length = head.get(b"content-length")
            if length is not None:
                self._check_total(length)
            return
        found = _CONTENT_RANGE.match(head.get(b"content-range") or b"")
        if found is None or int(found[1]) != start:
            raise RegistryError(f"{place.origin.address} gives another part of the blob than it was asked for")
        if found[3] is not None:
            self._check_total(found[3])

    async def _no_bytes(self, answer: Answer, direct: Place | None) -> RegistryError:
        refused = await refusal(answer)
        if refused.answered == 416:
            return RangeRefused(refused.message)
        if refused.answered in REDIRECTS:
            return RegistryError(
                f"the registry sends its clients elsewhere ({refused.answered}) and does not say where"
            )
        if direct is not None and refused.answered in _EXPIRED:
            return Expired(f"{direct.origin.address} refuses a blob: {refused.message}")
        return self._missing() if refused.answered == 404 else refused

    def _missing(self) -> Refused:
        return Refused(404, f"the registry does not have the blob {self.digest}")

    def _check_total(self, said: bytes) -> None:
        if not said.isdigit() or int(said[:20]) != self.total:
            said_bytes = said[:20].decode("latin-1")
            raise RegistryError(
                f"the registry has {said_bytes} bytes for the blob {self.digest}, and its manifest says {self.total}"
            )


def is_passing(error: BackendError) -> bool:
    """Whether the same may go well in a second."""
    if isinstance(error, Refused):
        return error.answered in _PASSING or error.answered >= 500
    return isinstance(error, (Unanswered, RangeRefused, Expired))
