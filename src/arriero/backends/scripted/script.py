"""What a scripted server plays: the script's values, and its reading from YAML or JSON. No I/O but the reading."""

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec
import yaml
from msgspec import Meta, Struct, field

SENTENCE = "Hello! This is a scripted answer: no model has read your question."
"""What is said where the script says nothing."""

NAMED_SENTENCE = "Hello from {name}! This is a scripted answer: no model has read your question."
"""The same of an instance that has a name."""

MAX_RECORDING_BYTES = 64 * 1024 * 1024

Fault: TypeAlias = Literal[
    "refuse",
    "reset",
    "hang",
    "garbage",
    "cut_head",
    "huge_head",
    "empty",
    "cut_stream",
    "reset_stream",
    "hang_stream",
    "garbage_stream",
    "half_json",
    "wrong_length",
    "short_length",
    "bad_chunk",
    "slow",
]
Count: TypeAlias = Annotated[int, Meta(ge=1)]
Capability: TypeAlias = Literal["completion", "tools", "insert", "vision", "embedding", "thinking", "image", "audio"]

_T = TypeVar("_T")
_NAME = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_PIECE = re.compile(r"\s*\S+|\s+$")


class ScriptError(ValueError):
    """The script cannot be read; the text says where and why, for people."""


class Model(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model that the server lists. `size_bytes` is made up, and the same for everyone.

    `loaded` says that it is in memory from the start. Where it is not, the first request waits `load_ms`.
    """

    name: str
    capabilities: tuple[Capability, ...] = ("completion", "tools", "thinking", "vision")
    context_length: int = 8192
    embedding_length: int = 8
    size_bytes: int = 1_234_567
    loaded: bool = False
    load_ms: Annotated[float, Meta(ge=0)] = 0


class When(Struct, frozen=True, forbid_unknown_fields=True):
    """Which requests a rule is for; every word that is there has to fit. `path`, `query` and `model` are globs.

    `query` is what stands behind the question mark, as it came. Of several `path`s one has to fit. `contains` is looked
    for in the body as text. `call`, `every` and `times` count the requests that fit the other words, from 1: these
    calls, every n-th one, only so often.
    """

    method: str | None = None
    path: str | tuple[str, ...] | None = None
    model: str | None = None
    contains: str | None = None
    call: int | tuple[int, ...] | None = None
    every: Count = 1
    times: Count | None = None
    query: str | None = None

    def fits(self, method: str, path: str, model: str | None, body: str, query: str = "") -> bool:
        """Whether a request fits, its number aside."""
        return (
            (self.method is None or self.method.upper() == method)
            and (self.path is None or any(fnmatchcase(path, glob) for glob in _several(self.path)))
            and (self.query is None or fnmatchcase(query, self.query))
            and (self.model is None or (model is not None and fnmatchcase(model.casefold(), self.model.casefold())))
            and (self.contains is None or self.contains in body)
        )

    def counts(self, number: int) -> bool:
        """Whether the `number`-th request that fits is meant."""
        if number % self.every or (self.times is not None and number // self.every > self.times):
            return False
        match self.call:
            case None:
                return True
            case int() as one:
                return number == one
            case several:
                return number in several


class ToolCall(Struct, frozen=True, forbid_unknown_fields=True):
    """A call of a tool. `arguments` is an object; a text is sent as it is, be it JSON or not."""

    name: str
    arguments: dict[str, Any] | str = {}
    id: str | None = None


class Usage(Struct, frozen=True, forbid_unknown_fields=True):
    """Token counts. `completion_tokens` `None` counts the pieces."""

    prompt_tokens: int = 7
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class Delay(Struct, frozen=True, forbid_unknown_fields=True):
    """Milliseconds before the answer's head, and before each piece of its body after the first."""

    head: float = 0
    piece: float = 0


class Form(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an answer is written: what servers in the wild do differently.

    - `as`: `asked` is what the request asks for; `json` a whole answer, `stream` a stream, whatever it asks for.
    - `line_end`: of the messages of a stream.
    - `comments`: comment lines and empty events between the messages of an SSE stream.
    - `space`: the space behind `data:`. `done`: whether `[DONE]` ends a stream.
    - `usage`: `asked` follows `stream_options`; `always` sends it in a last chunk, `every` in every chunk.
    - `reasoning`: the field for thinking, or `tags` for `<think>` in the text.
    - `arguments`: of a streamed tool call, in pieces or whole; `object` sends an object instead of JSON text.
    - `index`, `ids`: whether tool calls have them.
    - `finish_chunk`: whether the finish reason has a chunk of its own, or stands with the last piece.
    - `framing`: of the HTTP body; `close` ends it with the connection.
    """

    shape: Literal["asked", "json", "stream"] = field(name="as", default="asked")
    line_end: Literal["lf", "crlf", "cr"] = "lf"
    comments: bool = False
    space: bool = True
    done: bool = True
    usage: Literal["asked", "always", "every", "never"] = "asked"
    reasoning: Literal["reasoning_content", "reasoning", "tags"] = "reasoning_content"
    arguments: Literal["pieces", "whole", "object"] = "pieces"
    index: bool = True
    ids: bool = True
    finish_chunk: bool = True
    framing: Literal["chunked", "length", "close"] | None = None


class Play(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is answered. What is not said is as the server would answer without a script.

    `say` and `think` are cut into words, or into the pieces of a list. `finish` replaces the finish reason, `none`
    leaves it out. `error` ends a stream with an error after what was said. `status`, `headers` and `body` are an answer
    of its own (a body that is no text is written as JSON). `bytes` (a file beside the script) and `raw` (a text) are
    the exact bytes of an answer, head and all; `exact` is what they come to, and no word of a script.
    """

    say: str | tuple[str, ...] | None = None
    think: str | tuple[str, ...] | None = None
    call: tuple[ToolCall, ...] = ()
    embed: int | None = None
    usage: Usage | bool = True
    finish: str | None = None
    error: str | None = None
    delay_ms: float | Delay = 0
    status: int | None = None
    headers: Mapping[str, str] = {}
    body: Any = None
    file: str | None = field(name="bytes", default=None)
    raw: str | None = None
    exact: bytes | None = None
    fault: Fault | None = None
    form: Form = Form()

    @property
    def delay(self) -> Delay:
        """Both delays; a bare number is the one before the head."""
        return self.delay_ms if isinstance(self.delay_ms, Delay) else Delay(self.delay_ms)

    @property
    def text(self) -> tuple[str, ...]:
        """The pieces of the text; the built-in sentence where nothing else is said either."""
        said = self.say
        if said is None:
            said = "" if self.call or self.think is not None else SENTENCE
        return pieces(said)

    @property
    def thinking(self) -> tuple[str, ...]:
        """The pieces of the thinking."""
        return pieces(self.think or "")


class Rule(Struct, frozen=True, forbid_unknown_fields=True):
    """The first rule that fits a request is played."""

    play: Play = Play()
    when: When = When()


class Script(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole script. `key` is the API key that a request must carry. `version` is the Ollama version it claims.

    `name` tells one instance from another: answers carry it in a header, and it stands for `{name}` in what is said.
    """

    name: str | None = None
    speaks: tuple[Literal["ollama", "openai"], ...] = ("ollama", "openai")
    version: str = "0.12.3"
    key: str | None = None
    models: tuple[Model, ...] = (Model(name="scripted"),)
    rules: tuple[Rule, ...] = ()


def pieces(said: str | tuple[str, ...]) -> tuple[str, ...]:
    """A text as words, each with the white space before it; joined they are the text again."""
    return tuple(_PIECE.findall(said)) if isinstance(said, str) else said


def named(play: Play, name: str | None) -> Play:
    """The play as the instance `name` says it; the same without a name."""
    if name is None:
        return play
    said = play.say
    if said is None:
        if play.call or play.think is not None:
            return play
        said = NAMED_SENTENCE
    if isinstance(said, str):
        return msgspec.structs.replace(play, say=said.replace("{name}", name))
    return msgspec.structs.replace(play, say=tuple(piece.replace("{name}", name) for piece in said))


# ---- reading -------------------------------------------------------------------------------------------------------


def read_script(path: Path) -> Script:
    """The script of a file (or of `script.yaml` in a folder), recordings and all. Raises `ScriptError`."""
    path = script_file(path)
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScriptError(f"the script {path} cannot be read: {_reason(error)}") from None
    return parse_script(text, path.parent, str(path))


def script_file(path: Path) -> Path:
    """The file that a path means; recordings lie in its folder."""
    return path / "script.yaml" if path.is_dir() else path


def parse_script(text: str, folder: Path | None = None, shown: str = "the script") -> Script:
    """The script of a YAML or JSON text. `folder` is where recordings lie. Raises `ScriptError`."""
    data = parse_yaml(text, shown)
    script = convert(data if data is not None else {}, Script, shown)
    if not script.speaks:
        raise ScriptError(f"{shown}: speaks names no dialect")
    if script.name is not None:
        check_name(script.name, shown)
    rules = tuple(_with_recording(rule, folder or Path(), shown) for rule in script.rules)
    return msgspec.structs.replace(script, rules=rules)


def parse_rules(text: str, folder: Path | None, shown: str) -> tuple[Rule, ...]:
    """The rules of a command: `{rules: [...]}`, or one `{when: ..., play: ...}`. Raises `ScriptError`.

    A command comes from outside: its recordings are files below `folder`, where there is one, and no others.
    """
    data = parse_yaml(text, shown)
    if not data:
        raise ScriptError(f"{shown}: says nothing; give rules, or a play with its when")
    if isinstance(data, dict) and "rules" in data:
        rules = convert(data, _Rules, shown).rules
    else:
        rules = (convert(data, Rule, shown),)
    for rule in rules:
        if rule.play.file is not None and not _lies_below(rule.play.file, folder):
            raise ScriptError(f"{shown}: the recording {rule.play.file} is not in the folder of the script; use raw")
    return tuple(_with_recording(rule, folder or Path(), shown) for rule in rules)


def parse_yaml(text: str, shown: str) -> Any:
    """The value of a YAML or JSON text, `None` for an empty one. Raises `ScriptError`."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # a ValueError is a date that is none
        raise ScriptError(f"{shown} is not YAML: {error}") from None
    except RecursionError:
        raise ScriptError(f"{shown} is not YAML: it is nested too deeply") from None


def convert(data: Any, kind: type[_T], shown: str, *, strict: bool = True) -> _T:
    """A value of `kind`; where not `strict`, numbers may be texts. Raises `ScriptError` that says where it is wrong."""
    try:
        return msgspec.convert(data, kind, strict=strict)
    except msgspec.ValidationError as error:
        raise ScriptError(f"{shown}: {error}") from None


def check_name(name: str, shown: str) -> None:
    """Raises `ScriptError` where an instance cannot have this name."""
    if _NAME.fullmatch(name) is None:
        raise ScriptError(f"{shown}: the name {name!r} has to be printable ASCII: it goes into a header")


class _Rules(Struct, frozen=True, forbid_unknown_fields=True):
    rules: tuple[Rule, ...]


def _lies_below(file: str, folder: Path | None) -> bool:
    try:
        return folder is not None and (folder / file).resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError):  # a loop of links; a zero byte
        return False


def _with_recording(rule: Rule, folder: Path, shown: str) -> Rule:
    play = rule.play
    if play.exact is not None:
        raise ScriptError(f"{shown}: Object contains unknown field `exact`")
    if play.raw is not None:
        recording = play.raw.encode("utf-8", "replace")
    elif play.file is not None:
        path = folder / play.file
        try:
            if path.stat().st_size > MAX_RECORDING_BYTES:
                raise ScriptError(f"{shown}: the recording {play.file} has more than {MAX_RECORDING_BYTES} bytes")
            recording = path.read_bytes()
        except (OSError, ValueError) as error:
            raise ScriptError(f"{shown}: the recording {play.file} cannot be read: {_reason(error)}") from None
    else:
        return rule
    return msgspec.structs.replace(rule, play=msgspec.structs.replace(play, exact=recording))


def _several(words: str | tuple[str, ...]) -> tuple[str, ...]:
    return (words,) if isinstance(words, str) else words


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
