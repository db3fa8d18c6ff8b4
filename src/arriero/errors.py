"""The error tree: every failure a client, an operator or another room can meet.

Each class answers three questions as data: `status` (the HTTP status a client sees), `retry` (may another backend be
tried) and `blame` (who has to act). No decision anywhere reads message text. Rendering into a client's envelope is the
dialects' work; mapping foreign exceptions into this tree happens at the edge that meets them. The first paragraph of a
class's docstring is what docs/errors.md says of it.
"""

from enum import Enum
from typing import ClassVar


class Retry(Enum):
    """Whether the same request may be tried on another backend."""

    NEVER = "never"
    ELSEWHERE = "elsewhere"


class Blame(Enum):
    """Who has to act so that the error does not come again."""

    CLIENT = "client"
    GATEWAY = "gateway"
    BACKEND = "backend"
    NOBODY = "nobody"


class ArrieroError(Exception):
    """The root. `message` is for people, `type` is the stable word beside it, `retry_after` is in seconds."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "internal_error"
    retry: ClassVar[Retry] = Retry.NEVER
    blame: ClassVar[Blame] = Blame.GATEWAY

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        type: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after
        # Instance values shadow the class's where a backend's own status travels on.
        if status is not None:
            self.status = status  # type: ignore[misc]
        if type is not None:
            self.type = type  # type: ignore[misc]


# ---- the client's own ----------------------------------------------------------------------------------------------


class BadRequest(ArrieroError):
    """The request cannot be understood, or asks for what cannot be."""

    status = 400
    type = "validation_error"
    blame = Blame.CLIENT


class InvalidOption(BadRequest):
    """A wrong option type or `format`: the Ollama API answers these with 500, and clients know it so."""

    status = 500


class UnsupportedCapability(BadRequest):
    """The model cannot do what the request needs (tools, thinking, insert, vision, chat)."""


class UnsupportedContent(BadRequest):
    """The request holds content that the chosen backend's wire has no place for."""


class Unauthorized(ArrieroError):
    """The client's own key is missing or wrong."""

    status = 401
    type = "unauthorized"
    blame = Blame.CLIENT


class Forbidden(ArrieroError):
    """The origin, the host name or the feature is not allowed here."""

    status = 403
    type = "forbidden"
    blame = Blame.CLIENT


class ModelForbidden(Forbidden):
    """The model exists and a filter hides it."""

    type = "model_forbidden"


class NotFound(ArrieroError):
    """No such route or object."""

    status = 404
    type = "not_found"
    blame = Blame.CLIENT


class ModelNotFound(NotFound):
    """No backend has a model of this name.

    `name` is as the client typed it, or as the endpoint prints it.
    """

    type = "model_not_found"

    def __init__(self, name: str, message: str | None = None) -> None:
        super().__init__(message or f"model '{name}' not found")
        self.name = name


class AmbiguousModel(ModelNotFound):
    """Several models answer to the name; the message lists them."""

    def __init__(self, name: str, candidates: tuple[str, ...]) -> None:
        super().__init__(name, f"model '{name}' not found: the name is ambiguous, it may mean {', '.join(candidates)}")
        self.candidates = candidates


class RequestTimeout(ArrieroError):
    """The client did not send its request in time."""

    status = 408
    type = "request_timeout"
    blame = Blame.CLIENT


class PayloadTooLarge(ArrieroError):
    """The request body is over `limits.max_body_bytes`."""

    status = 413
    type = "payload_too_large"
    blame = Blame.CLIENT


class HeadersTooLarge(ArrieroError):
    """The request head is over `limits.max_header_bytes` or holds too many fields."""

    status = 431
    type = "headers_too_large"
    blame = Blame.CLIENT


class RateLimited(ArrieroError):
    """The client sends more than its share."""

    status = 429
    type = "rate_limited"
    blame = Blame.CLIENT


class ClientGone(ArrieroError):
    """The client closed the connection. Nobody reads this answer; it ends the exchange."""

    status = 499
    type = "client_gone"
    blame = Blame.NOBODY


# ---- the gateway's -------------------------------------------------------------------------------------------------


class InternalError(ArrieroError):
    """A fault of arriero itself."""


class NotImplementedHere(ArrieroError):
    """A known operation that no configured backend can do."""

    status = 501
    type = "not_implemented"


class NoBackend(ArrieroError):
    """No backend can take the request now, or none has told which models it has."""

    status = 503
    type = "no_backend"


class Busy(ArrieroError):
    """Every place is taken and the queue is full; `Retry-After` says when to come again."""

    status = 503
    type = "rate_limited"

    def __init__(self, retry_after: float | None = 1.0) -> None:
        # The text, two spaces and all, is the one that Ollama's clients know.
        super().__init__("server busy, please try again.  maximum pending requests exceeded", retry_after=retry_after)


# ---- the backends' -------------------------------------------------------------------------------------------------


class BackendError(ArrieroError):
    """Something failed at or on the way to a backend. `type` becomes `<vendor>_error` where the backend is known.

    `verbatim` is the content type and body of the backend's own error answer, where the client reads its dialect.
    """

    status = 502
    type = "backend_error"
    retry = Retry.ELSEWHERE
    blame = Blame.BACKEND
    verbatim: tuple[bytes, bytes] | None = None


class BackendUnreachable(BackendError):
    """No connection: refused, no such host, no route, TLS failure, proxy refusal. At Olla's doors it is a 502."""

    status = 503
    type = "network_error"


class BackendTimeout(BackendError):
    """Connect, first byte, idle or total time ran out; the message names which."""

    status = 504
    type = "network_error"


class BackendBroken(BackendError):
    """The backend broke its own protocol: a cut answer, bytes that are not HTTP, an event that is not JSON."""


class BackendUnauthorized(BackendError):
    """The backend refused the gateway's credentials. Never a 401 to the client: it is not the client's to mend."""


class BackendUnconfigured(BackendError):
    """The backend lacks what only its operator can say: the models of a vendor that has no list of them."""

    status = 503
    type = "configuration_error"
    blame = Blame.GATEWAY


class BackendOverloaded(BackendError):
    """429 or 503 of a backend; its status and `Retry-After` travel on."""

    status = 503
    type = "rate_limited"


class BackendFailed(BackendError):
    """A 5xx of a backend; its status travels on."""


class BackendRefused(BackendError):
    """A 4xx of a backend about the request itself; its status travels on. Another backend would say the same."""

    status = 400
    retry = Retry.NEVER
    blame = Blame.CLIENT


class ModelMissing(BackendError):
    """The backend does not have a model that it listed, or was said to have. Another one may."""

    status = 404
    type = "model_not_found"


class ContextExceeded(BackendRefused):
    """The prompt or an input is longer than the model's context.

    `fits` is the share of it that has room, if said.
    """

    fits: float | None = None

    TEXT: ClassVar[str] = (
        "the prompt is longer than the context length currently available to the model; shorten the prompt, adjust the "
        "context length in settings, or use a model with a longer context length"
    )


class UsageRefused(BackendRefused):
    """The server does not know `stream_options`, by which it would count the tokens of a stream."""


class ToolsRefused(BackendRefused):
    """The model, or the server as it was started, takes no tools."""


# ---- the embedded engine's -----------------------------------------------------------------------------------------


class EngineError(BackendError):
    """Something failed in the embedded engine."""

    status = 500
    type = "engine_error"


class EngineMissing(EngineError):
    """The engine's package is not installed, or this CPU cannot run it."""

    status = 503
    type = "configuration_error"
    blame = Blame.GATEWAY


class ModelBroken(EngineError):
    """The model file cannot be used: damaged, truncated, or an architecture the engine does not know."""


class ModelTooLarge(EngineError):
    """The model does not fit into this machine's memory; the message says what would."""


class EngineCrashed(EngineError):
    """The engine's process ended while it was loading or answering."""


class RegistryError(EngineError):
    """A model registry could not be reached, does not have the model, or broke off; the message says which."""

    type = "registry_error"
    retry = Retry.NEVER


class StoreError(EngineError):
    """The model store cannot be read or written: no room left, no permission, a damaged file."""

    type = "store_error"
    retry = Retry.NEVER
    blame = Blame.GATEWAY


class StoreReadOnly(StoreError):
    """The model store is read-only: by the setting `read_only`, or because its files are somebody else's."""

    status = 403
