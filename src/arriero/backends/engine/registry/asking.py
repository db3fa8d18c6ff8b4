"""Asking a registry for one thing, and whether to ask again: what passes by itself is set apart from what does not."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from arriero.backends.engine.registry.address import Place
from arriero.backends.engine.registry.refusals import refused
from arriero.backends.engine.registry.session import Body, Unanswered
from arriero.backends.http.call import Head, Headers, Timeouts
from arriero.errors import RegistryError

TRIES = 6
TRIES_OF_A_STRANGER = 2
"""Of a registry that has not answered yet: most likely its name is wrong, or it is asked over https."""

LONGEST = 60.0
"""Seconds of a pause, also where the registry asks for a longer one; and of its silence."""

ANY = range(200, 600)

_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})

Sleep = Callable[[float], Awaitable[None]]


class Requests(Protocol):
    """What of a session is needed here."""

    @property
    def home(self) -> Place: ...

    async def request(
        self,
        method: str,
        path_or_url: str,
        headers: Headers = (),
        body: Body = b"",
        ok: range = ANY,
        *,
        timeouts: Timeouts | None = None,
        anonymous: bool = False,
    ) -> tuple[Head, bytes]: ...


class Passing(Exception):
    """It may go better next time. `error` is what it was, `pause` the seconds after which the registry wants to be
    asked again."""

    def __init__(self, error: RegistryError, *, pause: float | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.pause = pause


class Asking:
    """One operation's requests. `doing` completes "the registry does not ..."."""

    def __init__(self, requests: Requests, *, sleep: Sleep) -> None:
        self._requests = requests
        self._sleep = sleep
        self.home = requests.home
        self.address = requests.home.origin.address
        self._answered = False

    async def once(
        self,
        method: str,
        target: str,
        headers: Headers = (),
        body: Body = b"",
        *,
        doing: str,
        timeouts: Timeouts | None = None,
        anonymous: bool = False,
    ) -> tuple[Head, bytes]:
        """An answer of any status but those that ask to come again. `anonymous`: without the operation's token.

        Raises Passing for those and for none at all, and RegistryError.
        """
        try:
            head, said = await self._requests.request(
                method, target, headers, body, ANY, timeouts=timeouts, anonymous=anonymous
            )
        except Unanswered as error:
            raise Passing(error) from error
        self._answered = True
        if head.status in _AGAIN:
            raise Passing(self.refused(doing, head, said), pause=head.retry_after_s)
        return head, said

    async def surely(
        self, method: str, target: str, headers: Headers = (), body: bytes = b"", *, doing: str
    ) -> tuple[Head, bytes]:
        """The same, up to six times; twice if the registry never answers. Raises RegistryError."""
        failures = 0
        while True:
            try:
                return await self.once(method, target, headers, body, doing=doing)
            except Passing as passing:
                failures += 1
                if failures >= (TRIES if self._answered else TRIES_OF_A_STRANGER):
                    raise passing.error from passing
                await self._sleep(pause_after(failures, passing.pause))

    def refused(self, doing: str, head: Head, body: bytes) -> RegistryError:
        return refused(self.address, doing, head, body)


def pause_after(failures: int, wanted: float | None) -> float:
    """Seconds until the next try, after so many that failed."""
    return min(max(2.0 ** (failures - 1), wanted or 0.0), LONGEST)
