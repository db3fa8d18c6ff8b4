"""What a backend is to the gateway: a name, the dialects it speaks, a catalog, and a place to send a request to.

Only protocols and values live here; each kind is one module beside this one.
"""

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from arriero.backends.http.call import Call, Head, Headers, Receiver, Rendered, Upstream
from arriero.backends.http.pool import Pool
from arriero.canonical.catalog import LoadedModel, ModelCard, ModelDetail
from arriero.canonical.requests import Request, Scalar
from arriero.dialects.quirks import Profile
from arriero.errors import BackendError


class Tuning(Struct, frozen=True):
    """How a model is to be loaded, where somebody says: threads, tokens in one batch, whether to map the file."""

    threads: int | None = None
    batch: int | None = None
    mmap: bool | None = None

    @classmethod
    def asked(cls, runner: Mapping[str, Scalar]) -> "Tuning":
        """Out of load-time options by Ollama's names. 0 and below leave the choice to the backend."""
        mmap = runner.get("use_mmap")
        return cls(
            whole(runner.get("num_thread")), whole(runner.get("num_batch")), None if mmap is None else bool(mmap)
        )

    def over(self, usual: "Tuning") -> "Tuning":
        """This, and `usual` where it says nothing."""
        return Tuning(
            usual.threads if self.threads is None else self.threads,
            usual.batch if self.batch is None else self.batch,
            usual.mmap if self.mmap is None else self.mmap,
        )


def whole(value: object) -> int | None:
    """A number of things, where it is one."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


class Want(Struct, frozen=True):
    """What a request needs of the place that runs it. `context_length` is the `num_ctx` the client asked for."""

    model: str
    context_length: int | None = None
    embedding: bool = False
    tuning: Tuning = Tuning()


class Place(Protocol):
    """Where one request goes, held from `Backend.reach` to `release`.

    `model` is the model's name there. `release` takes the `keep_alive` in seconds (`None`: the backend's default) and
    is called exactly once. `fit` gives the request as it can be sent here, the same object where nothing has to change;
    it raises `BadRequest` for what the place cannot take. `diagnose` says why a request that was cut here was
    cut, where the place knows more than the socket does.
    """

    pool: Pool
    model: str

    def release(self, keep_alive: float | None) -> None: ...

    async def fit(self, request: Request) -> Request: ...

    async def diagnose(self) -> BackendError | None: ...


class Courier(Protocol):
    """Carries the calls of library operations (pull, create, delete..) to a backend: its pool, or what answers in its
    place. All errors are of the tree.
    """

    def target(self, path: str) -> str:
        """What stands in the request line for this path."""
        ...

    def hide(self, text: str) -> str:
        """The text without the secrets of this backend."""
        ...

    async def open(self, call: Call, receiver: Receiver) -> Upstream:
        """Send a call. An error that is raised here the receiver does not hear."""
        ...

    async def fetch(self, call: Call) -> tuple[Head, bytes]:
        """The whole answer of a small call, of any status."""
        ...


class Backend(Protocol):
    """A place that runs models, under a name. `where` says for people where it is, without credentials.

    `roots` maps each dialect that the backend speaks to the path its routes stand behind (`{"ollama": "", "openai":
    "/v1"}` for an Ollama server).

    Four facts of the kind: `library`, it can pull, create and delete models; `has_memory`, it knows which models are
    loaded; `curated`, it runs nothing but the models it lists; `forwards_client`, it may learn the client's address.
    `headers` go out with every request, and `rendered` is what they look like; `private` are the names of those that
    carry secrets. `silent` says that it ignores what a model cannot do, so that arriero has to refuse it.
    """

    name: str
    kind: str
    where: str
    profile: Profile
    roots: Mapping[str, str]
    headers: Headers
    rendered: Rendered
    private: frozenset[bytes]
    error_type: str
    library: bool
    has_memory: bool
    curated: bool
    forwards_client: bool
    silent: bool

    @property
    def broken(self) -> Mapping[str, str]:
        """Models that are there and cannot be used, by id, each with the reason."""
        ...

    def at_hand(self, want: Want) -> Place | None:
        """A place that can answer at once, `None` where it has to be reached: the way without a task."""
        ...

    async def reach(self, want: Want) -> Place:
        """A place that can answer; loads the model where that is the backend's work. Raises `BackendError`."""
        ...

    async def check(self) -> None:
        """Ask as little as shows that the backend is well. Raises `BackendError`."""
        ...

    async def list_models(self) -> tuple[ModelCard, ...]:
        """Every model the backend offers. Raises `BackendError`."""
        ...

    async def list_loaded(self) -> tuple[LoadedModel, ...]:
        """The models in the backend's memory; empty where it cannot say."""
        ...

    async def show(self, card: ModelCard, verbose: bool) -> ModelDetail:
        """What is known of one model. Raises `BackendError`."""
        ...

    async def courier(self) -> Courier:
        """Who carries library operations; asked only of those whose `library` is true."""
        ...

    async def load(self, want: Want, keep_alive: float | None) -> None:
        """Bring a model into memory, where the backend has such a thing; `keep_alive` 0 takes it out."""
        ...

    async def close(self) -> None:
        """Close every connection and end every child process."""
        ...
