"""Answers of an Ollama server, from its bytes to canonical values: chat, generate and embeddings.

Chat and generate share one reader, since their frames differ only in where the text stands. Tool calls are taken
wherever they come: models with a parser of their own put them into frames before the last, the native path into the
last one.
"""

import msgspec
from msgspec import Raw, Struct

from arriero.canonical.events import (
    NO_TIMINGS,
    NO_USAGE,
    Embeddings,
    Event,
    Failed,
    Finished,
    Kind,
    Reason,
    Timings,
    TokenLogprob,
    Usage,
)
from arriero.canonical.requests import ToolCall
from arriero.canonical.stream import Bracketer, Folder
from arriero.dialects.backend_errors import NOBODY, error_of, event_of, owned, read_error
from arriero.dialects.base import WholeAnswer
from arriero.dialects.ollama.lenient import repaired
from arriero.dialects.quirks import Profile
from arriero.errors import BackendBroken
from arriero.wire.framing import MessageTooLong, NdjsonReader

CUT = "the backend's answer ended before it was done"


class _Function(Struct):
    name: str | None = None
    arguments: Raw = Raw()


class _Call(Struct):
    id: str | None = None
    function: _Function | None = None


class _Message(Struct):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[_Call] | None = None


class _Frame(Struct):
    """A frame of /api/chat or /api/generate: only what is read."""

    model: str | None = None
    message: _Message | None = None
    response: str | None = None
    thinking: str | None = None
    tool_calls: list[_Call] | None = None
    done: bool = False
    done_reason: str | None = None
    context: tuple[int, ...] | None = None
    logprobs: tuple[TokenLogprob, ...] | None = None
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_eval_count: int | None = None
    prompt_eval_duration: int | None = None
    eval_count: int | None = None
    eval_duration: int | None = None
    error: Raw = Raw()


class _Vectors(Struct):
    embeddings: tuple[tuple[float, ...], ...] | None = None
    embedding: tuple[float, ...] | None = None
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_eval_count: int | None = None
    error: Raw = Raw()


_frame = msgspec.json.Decoder(_Frame).decode
_vectors = msgspec.json.Decoder(_Vectors).decode
_string = msgspec.json.Decoder(str).decode

_FAULTS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_NO_ERROR = (b"", b"null", b'""')

_REASONS = {"length": Reason.LENGTH, "load": Reason.LOAD, "unload": Reason.UNLOAD, "tool_calls": Reason.TOOL_CALLS}
"""Every other word, and none, is an ordinary stop."""


def _read(line: bytes) -> _Frame:
    """A frame. Servers that stream token by token write half an emoji now and then: it becomes U+FFFD."""
    try:
        return _frame(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        mended = repaired(line)
        if mended == line:
            raise
        return _frame(mended)


class StreamReader:
    """An NDJSON stream to events. An error line fails it; so does an end without a `done` frame."""

    __slots__ = ("_bracketer", "_calls", "_lines", "_over", "_profile")

    def __init__(self, profile: Profile = NOBODY) -> None:
        self._profile = profile
        self._lines = NdjsonReader()
        self._bracketer = Bracketer()
        self._calls = False
        self._over = False

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes."""
        out: list[Event] = []
        try:
            lines = self._lines.feed(data)
        except MessageTooLong as error:
            self._fail(out, Failed(f"the backend broke its protocol: {error}"))
            return out
        for line in lines:
            self._line(line, out)
        return out

    def close(self) -> list[Event]:
        """The events of the last line, and `Failed(cut=True)` if the answer was not done."""
        out: list[Event] = []
        for line in self._lines.close():
            # Half a frame is not a broken one: the stream was cut inside of it.
            try:
                _read(line)
            except _FAULTS:
                break
            self._line(line, out)
        self._fail(out, Failed(CUT, cut=True))
        return out

    def whole(self, body: bytes) -> list[Event]:
        """The events of a body that is one object, done or not; of one that is lines after all, theirs."""
        out: list[Event] = []
        try:
            frame = _read(body)
        except _FAULTS:
            return self.feed(body) + self.close()
        self._take(frame, out)
        if not self._over:
            self._finish(frame, out)
        return out

    def _line(self, line: bytes, out: list[Event]) -> None:
        if self._over:
            return
        try:
            frame = _read(line)
        except _FAULTS as error:
            self._fail(out, Failed(f"the backend sent a line that is not a frame: {error}"))
            return
        self._take(frame, out)

    def _take(self, frame: _Frame, out: list[Event]) -> None:
        if bytes(frame.error) not in _NO_ERROR:
            self._fail(out, event_of(read_error(None, b'{"error":%b}' % bytes(frame.error), self._profile)))
            return
        bracketer = self._bracketer
        if not bracketer.started:
            bracketer.start(out, model=frame.model)
        message, logprobs = frame.message, frame.logprobs or ()
        calls = frame.tool_calls
        if message is not None:
            thinking, text, calls = message.thinking, message.content, message.tool_calls or calls
        else:
            thinking, text = frame.thinking, frame.response
        if thinking:
            bracketer.piece(out, Kind.THINKING, thinking, () if text else logprobs)
        if text or (logprobs and not thinking):
            bracketer.piece(out, Kind.TEXT, text or "", logprobs)
        if calls:
            self._calls = True
            for call in calls:
                bracketer.call(out, _tool_call(call))
        if frame.done:
            self._finish(frame, out)

    def _finish(self, frame: _Frame, out: list[Event]) -> None:
        self._over = True
        reason = _REASONS.get(frame.done_reason or "", Reason.STOP)
        if self._calls and reason is Reason.STOP:
            reason = Reason.TOOL_CALLS
        usage = NO_USAGE
        if frame.prompt_eval_count is not None or frame.eval_count is not None:
            usage = Usage(frame.prompt_eval_count, frame.eval_count)
        timings = Timings(frame.total_duration, frame.load_duration, frame.prompt_eval_duration, frame.eval_duration)
        self._bracketer.finish(out, Finished(reason, usage, timings, frame.context))

    def _fail(self, out: list[Event], failed: Failed) -> None:
        if not self._over:
            self._over = True
            self._bracketer.fail(out, owned(failed, self._profile))


def _tool_call(call: _Call) -> ToolCall:
    function = call.function or _Function()
    return ToolCall(function.name or "", _arguments(bytes(function.arguments)), call.id or None)


def _arguments(raw: bytes) -> str:
    text = raw.decode("utf-8", "replace")
    if text[:1] == '"':
        # Some servers in Ollama's clothes write the JSON text of the object, as OpenAI does.
        return _string(text) or "{}"
    return text if text not in ("", "null") else "{}"


def decode_whole(body: bytes, profile: Profile = NOBODY) -> WholeAnswer:
    """The answer of a `stream:false` request. Raises `BackendFailed` for an error in it, else `BackendBroken`."""
    folder = Folder()
    folder.feed(StreamReader(profile).whole(body))
    if folder.failed is not None:
        raise error_of(folder.failed) if _says_error(body) else BackendBroken(folder.failed.message)
    answer = folder.answer
    assert answer is not None, "a reader always ends in Finished or Failed"
    return answer


def _says_error(body: bytes) -> bool:
    try:
        return bytes(_read(body).error) not in _NO_ERROR
    except _FAULTS:
        return False


def decode_embeddings(body: bytes, profile: Profile = NOBODY) -> WholeAnswer:
    """The answer of /api/embed, or of /api/embeddings from servers that know only the old form."""
    try:
        told = _vectors(body)
    except _FAULTS as error:
        raise BackendBroken(f"the backend sent embeddings that cannot be read: {error}") from None
    if bytes(told.error) not in _NO_ERROR:
        raise read_error(None, body, profile)
    vectors = told.embeddings
    if vectors is None:
        if told.embedding is None:
            raise BackendBroken("the backend sent an answer without embeddings")
        vectors = (told.embedding,) if told.embedding else ()
    usage = Usage(told.prompt_eval_count) if told.prompt_eval_count is not None else NO_USAGE
    timings = Timings(told.total_duration, told.load_duration) if told.total_duration is not None else NO_TIMINGS
    return Embeddings(vectors, usage, timings)
