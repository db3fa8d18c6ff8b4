"""Bring a model up: the last checks of its file, the child process, the connection pool, the first question to it."""

import asyncio
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

import msgspec
from msgspec import Struct

from arriero.backends.engine.card import TEMPLATE_KEY
from arriero.backends.engine.gguf import repeated_token
from arriero.backends.engine.instance import NOTHING_LEARNT, Learnt
from arriero.backends.engine.model import ModelFile
from arriero.backends.engine.process import Child, ChildSettings
from arriero.backends.http.call import Call, Timeouts
from arriero.backends.http.origin import Origin
from arriero.backends.http.pool import Pool
from arriero.errors import BackendError, EngineError, ModelBroken

PROPS_TIMEOUTS = Timeouts(connect=5.0, first_byte=10.0, idle=10.0, total=20.0)


PLAIN_TEMPLATE: Final = (
    "{% for m in messages %}{{ m.content }}"
    "{% if m.role == 'system' or (not loop.last and messages[loop.index].role == m.role) %}{{ '\\n\\n' }}{% endif %}"
    "{% endfor %}"
)
"""For a model without a template, which is none for conversations: its texts and nothing else, as Ollama's
`{{ .Prompt }}` has it. llama.cpp would put ChatML around them, which such a model has never seen.
"""


class Loaded(Struct, frozen=True):
    """A model that answers, and what it says of itself."""

    child: Child
    pool: Pool
    learnt: Learnt


class _TemplateCaps(Struct, frozen=True):
    supports_tools: bool | None = None


class _Modalities(Struct, frozen=True):
    vision: bool | None = None
    audio: bool | None = None


class _Props(Struct, frozen=True):
    """The part of llama.cpp's `/props` that is read."""

    chat_template_caps: _TemplateCaps = _TemplateCaps()
    modalities: _Modalities = _Modalities()


async def load(
    model: ModelFile,
    settings: ChildSettings,
    *,
    label: str,
    ready_seconds: float,
    timeouts: Timeouts,
    environment: Mapping[str, str],
) -> Loaded:
    """Load, and answer when the model is ready. Raises `EngineError` or `OSError`; then no process is left."""
    twice = await asyncio.to_thread(repeated_token, model.path, model.header)
    if twice is not None:
        raise ModelBroken(f"{model.id} cannot be loaded: the token {twice!r} stands twice in its vocabulary")
    child = await Child.start(settings, ready_seconds=ready_seconds, environment=environment)
    try:
        pool = Pool(
            Origin.parse(f"unix://{quote(str(child.socket))}"), timeouts=timeouts, label=f"{label} ({model.id})"
        )
        return Loaded(child, pool, NOTHING_LEARNT if settings.embedding else await _learnt(model, pool))
    except BackendError as error:
        # Nobody but a dying process leaves the first question without an answer; its own word says more.
        await child.settle()
        failure = child.failure()
        await child.end()
        raise failure or EngineError(f"{model.id} was loaded and does not answer: {error.message}") from error
    except BaseException:
        # Also when cancelled: the process belongs to nobody yet.
        await child.end()
        raise


def template_of(model: ModelFile) -> str | None:
    """The template that the process has to be told; `None` where the file's own holds."""
    return model.template or (None if model.header.text(TEMPLATE_KEY) else PLAIN_TEMPLATE)


async def _learnt(model: ModelFile, pool: Pool) -> Learnt:
    _, body = await pool.fetch(Call("GET", "/props", timeouts=PROPS_TIMEOUTS))
    try:
        props = msgspec.json.decode(body, type=_Props)
    except msgspec.DecodeError as error:
        raise EngineError(f"the engine's properties of {model.id} cannot be read: {error}") from error
    return Learnt(props.chat_template_caps.supports_tools, props.modalities.vision, props.modalities.audio)
