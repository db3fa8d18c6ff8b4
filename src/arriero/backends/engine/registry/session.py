"""Requests to registries: the pools towards them, the token of an operation, redirects.

`Registries` lives as long as the program, a `Session` as long as one pull or push of one repository. What is asked
for, and what an answer means, is known to `pull`, `push` and `download`.
"""

import asyncio
import secrets
import ssl
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable, Collection

from arriero.backends.engine.registry.address import Place, repository
from arriero.backends.engine.registry.answer import Answer
from arriero.backends.engine.registry.auth import Denied, Signer, challenge_of, text_to_sign, token_of, token_place
from arriero.backends.engine.registry.refusals import MAX_QUOTED, on_one_line
from arriero.backends.http.astray import is_plain
from arriero.backends.http.call import Call, Head, Headers, Timeouts
from arriero.backends.http.origin import Origin, tls_context
from arriero.backends.http.pool import Pool
from arriero.backends.http.proxy import ProxySettings, choose_proxy
from arriero.dialects.ollama.names import Name
from arriero.errors import BackendError, BackendTimeout, RegistryError

Body = bytes | Callable[[], AsyncIterator[bytes]]
"""A streamed body is made anew where the request has to be asked twice."""

TIMEOUTS = Timeouts(connect=15.0, first_byte=60.0, idle=60.0)
MAX_BODY_BYTES = 4 * 1024 * 1024
"""Of an answer that is read whole: manifests, tokens, errors. Registries take no larger manifest either."""

MAX_HOPS = 10
MAX_POOLS = 64

REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PLAIN_HTTP = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNEXPECTED_MESSAGE"})


class Refused(RegistryError):
    """The registry answered with an error. `answered` is its HTTP status; the message is `<status>: <body>`."""

    def __init__(self, answered: int, text: str, retry_after: float | None = None) -> None:
        super().__init__(f"{answered}: {text}" if text else f"{answered}", retry_after=retry_after)
        self.answered = answered


class Unanswered(RegistryError):
    """No connection, no answer, or half of one. `stalled`: the connection was there and silent for too long."""

    def __init__(self, message: str, *, stalled: bool = False) -> None:
        super().__init__(message)
        self.stalled = stalled


class Registries:
    """The connections to all registries and to the hosts they redirect to. Used from one event loop."""

    def __init__(
        self,
        *,
        user_agent: str,
        timeouts: Timeouts = TIMEOUTS,
        proxy: ProxySettings | None = None,
        ca_file: str | None = None,
        verify: bool = True,
        signer: Signer | None = None,
        clock: Callable[[], float] = time.time,
        nonce: Callable[[], bytes] = lambda: secrets.token_bytes(16),
    ) -> None:
        """`clock` gives unix seconds, `nonce` 16 random bytes: both go into requests for tokens."""
        self.user_agent = user_agent.encode("ascii", "replace")
        self.timeouts = timeouts
        self.signer = signer
        self.clock = clock
        self.nonce = nonce
        self._proxy = proxy or ProxySettings()
        self._ca_file = ca_file
        self._verify = verify
        self._tls: ssl.SSLContext | None = None
        self._pools: dict[Origin, Pool] = {}

    def session(self, name: Name, *, insecure: bool) -> "Session":
        """For one operation on the repository of a name: https, or plain http where it is `insecure`."""
        return Session(self, repository(name, insecure=insecure))

    async def pool(self, origin: Origin) -> Pool:
        """Raises RegistryError where the settings of a proxy or of TLS cannot be used."""
        if origin not in self._pools:
            try:
                proxy = choose_proxy(origin, self._proxy)
                if origin.secure and self._tls is None:
                    # In a thread: the authorities of the system are read from files.
                    self._tls = await asyncio.to_thread(tls_context, ca_file=self._ca_file, verify=self._verify)
            except ValueError as error:
                raise RegistryError(f"cannot reach {origin.address}: {error}") from None
        pool = self._pools.get(origin)
        if pool is None:
            if len(self._pools) >= MAX_POOLS:
                self._forget()
            pool = Pool(origin, timeouts=self.timeouts, tls=self._tls if origin.secure else None, proxy=proxy)
            self._pools[origin] = pool
        return pool

    async def close(self) -> None:
        """Operations that still run end by themselves."""
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()
        await asyncio.sleep(0)  # the loop closes sockets in its next step

    def _forget(self) -> None:
        for origin, pool in list(self._pools.items()):
            if not pool.in_flight:
                pool.close()
                del self._pools[origin]


class Session:
    """One operation on one repository. `home` is its root; the token of the operation goes nowhere else.

    Paths: `manifests/latest` is below the repository, `/v2/` at the root of the host; a whole URL may point anywhere.
    """

    def __init__(self, registries: Registries, home: Place) -> None:
        self.home = home
        self._registries = registries
        self._token = ""
        self._renewing = asyncio.Lock()

    def place(self, path_or_url: str) -> Place:
        """Raises RegistryError for a URL that nobody should go to."""
        return self.home.join(path_or_url)

    async def request(
        self,
        method: str,
        path_or_url: str,
        headers: Headers = (),
        body: Body = b"",
        ok: Collection[int] = (200,),
        *,
        timeouts: Timeouts | None = None,
        limit_bytes: int = MAX_BODY_BYTES,
        anonymous: bool = False,
    ) -> tuple[Head, bytes]:
        """The whole answer. Raises Refused for a status that is not `ok`, Denied, and Unanswered.

        Redirects of GET and HEAD are followed, those of other methods are answers as any other. `anonymous` is for a
        signed URL, which takes no token, even on the registry's own host.
        """
        _, answer = await self.open(method, path_or_url, headers, body, timeouts=timeouts, anonymous=anonymous)
        try:
            if answer.head.status not in ok:
                raise await refusal(answer)
            if not is_plain(answer.head):
                raise RegistryError(f"{self.home.origin.address} compresses its answer, though it was asked not to")
            try:
                return answer.head, await answer.read(limit_bytes)
            except BackendError as error:
                raise _unanswered(error, insecure_helps=False) from error
        finally:
            answer.abort()

    async def open(
        self,
        method: str,
        path_or_url: str | Place,
        headers: Headers = (),
        body: Body = b"",
        *,
        timeouts: Timeouts | None = None,
        abroad: bool = True,
        anonymous: bool = False,
    ) -> tuple[Place, Answer]:
        """The answer as soon as its head is there, and the place it came from; the caller aborts it at the end.

        A 401 of the registry is answered with a token, once. Redirects of GET and HEAD are followed; one to another
        host only if `abroad`, else it is the answer.
        """
        place = path_or_url if isinstance(path_or_url, Place) else self.place(path_or_url)
        tried = False
        for _ in range(MAX_HOPS):
            known = self.at_home(place) and not anonymous
            token = self._token if known else ""
            answer = await self._ask(method, place, headers, body, token, timeouts)
            status, location = answer.head.status, answer.head.get(b"location")
            if status == 401 and known:
                answer.abort()
                if not await self._renew(place, answer.head, token, tried):
                    tried = True
            elif status in REDIRECTS and location and method in ("GET", "HEAD"):
                try:
                    target = place.join(location.decode("latin-1"))
                except RegistryError:
                    answer.abort()
                    raise
                if not abroad and not target.same_host(self.home):
                    return place, answer
                answer.abort()
                place = target
            else:
                return place, answer
        raise RegistryError(f"{self.home.origin.address} redirects {MAX_HOPS} times: look at its configuration")

    def at_home(self, place: Place) -> bool:
        """Whether the token may go there: to the registry's own host."""
        return place.same_host(self.home) and (place.origin.secure or not self.home.origin.secure)

    # ---- inside ----------------------------------------------------------------------------------------------------

    async def _ask(
        self, method: str, place: Place, headers: Headers, body: Body, token: str, timeouts: Timeouts | None
    ) -> Answer:
        own: Headers = ((b"user-agent", self._registries.user_agent), (b"accept-encoding", b"identity"))
        if token:
            own += ((b"authorization", f"Bearer {token}".encode()),)
        content = body if isinstance(body, bytes) else body()
        call = Call(method, place.target, own + headers, content, timeouts)
        answer = Answer()
        pool = await self._registries.pool(place.origin)
        try:
            answer.upstream = await pool.open(call, answer)
        except BackendError as error:
            raise _unanswered(error, insecure_helps=place == self.home or self.at_home(place)) from error
        try:
            await answer.came
        except BackendError as error:
            raise _unanswered(error, stalled=isinstance(error, BackendTimeout)) from error
        except BaseException:
            answer.abort()
            raise
        return answer

    async def _renew(self, place: Place, head: Head, used: str, tried: bool) -> bool:
        """A token for what was asked. Whether another request of this operation had got one meanwhile."""
        async with self._renewing:
            if self._token != used:
                return True
            address = self.home.origin.address
            challenge = challenge_of(head)
            if challenge is None:
                raise Denied(address, "it wants a user and a password, or a key, in a way that is not supported")
            if tried:
                raise Denied(address, _WHAT_TO_DO[self._registries.signer is not None])
            nonce = urlsafe_b64encode(self._registries.nonce()).decode()
            asked = token_place(challenge, place, nonce=nonce, now=int(self._registries.clock()))
            signer = self._registries.signer
            headers: Headers = ()
            if signer is not None:
                headers = ((b"authorization", signer.authorization(text_to_sign(asked)).encode()),)
            answer = await self._ask("GET", asked, headers, b"", "", None)
            try:
                if answer.head.status in (401, 403):
                    raise Denied(address, _WHAT_TO_DO[signer is not None])
                if answer.head.status != 200:
                    raise await refusal(answer)
                token = token_of(await answer.read(MAX_BODY_BYTES))
            except BackendError as error:
                raise error if isinstance(error, RegistryError) else _unanswered(error) from error
            finally:
                answer.abort()
            if token is None:
                raise RegistryError(f"{address} answers the request for a token with something that is none")
            self._token = token
            return False


_WHAT_TO_DO = {
    True: "it does not know the key of this machine; add the public key to your account there, or check the model name",
    False: "it wants a key and this machine has none; what it gives to everybody needs none: check the model name",
}


async def refusal(answer: Answer) -> Refused:
    """What an error answer says."""
    try:
        body = await answer.read(MAX_BODY_BYTES)
    except BackendError:
        body = b""  # The status says enough.
    text = on_one_line(body[: 4 * MAX_QUOTED].decode("utf-8", "replace"))
    return Refused(answer.head.status, text, answer.head.retry_after_s)


def _unanswered(error: BackendError, *, stalled: bool = False, insecure_helps: bool = False) -> Unanswered:
    cause = error.__cause__
    if insecure_helps and isinstance(cause, ssl.SSLError) and cause.reason in _PLAIN_HTTP:
        return Unanswered(f"{error.message}; a registry without TLS is asked only with `insecure: true`")
    return Unanswered(error.message, stalled=stalled)
