"""What a relayed answer says of its tokens, read from its two ends when it is over. Pure.

Nobody reads a relayed answer on its way, and its counts stand at its end: in the last line of Ollama's, in one of the
last events of a stream, behind the text of a whole answer. Only Anthropic's streams, and the embeddings of some
servers, say a part of it at their beginning. What cannot be read is unknown, and nothing here raises.

Text is never taken for a count: a message that is there as a whole is decoded, and of one that is there in part only
the members of its outermost object are read, from the end that is there.
"""

import re
from collections.abc import Iterable

import msgspec
from msgspec import Struct

from arriero.canonical.events import Usage
from arriero.dialects.openai.chunks import UNREADABLE, WireTimings, WireUsage
from arriero.dialects.openai.stream import usage_of

HEAD_BYTES = 1024
"""How much is kept of the beginning of an answer."""

TAIL_BYTES = 4096
"""How much is looked at of its end."""

PIECES = 4
"""How many of the last pieces that is taken from: a server's last words, and the end of what stood before them."""

MAX_COUNT = 2**53
"""A number above this counts no tokens; neither does one below 0."""

_WORDS = (b'"usage"', b'eval_count"', b'"timings"')
_MEMBERS = frozenset({b'"usage"', b'"timings"', b'"prompt_eval_count"', b'"eval_count"'})

# A lone quote is the edge of a string that is not there as a whole: nothing beyond it can be told apart.
_FORWARDS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\]:,"]', re.DOTALL)
# The same for a text that runs backwards: a quote with an odd number of backslashes behind it is one of the text's.
# An atomic group, for a possessive one with such a body matches wrongly before CPython 3.11.5 (gh-106052).
_BACKWARDS = re.compile(rb'"[^"]*+(?>(?:"(?:\\\\)*+\\(?!\\)[^"]*+)*)"|[{}\[\]:,"]', re.DOTALL)


class _Counts(WireUsage, gc=False):
    """`usage` as OpenAI's chats have it, and as its responses and Anthropic's messages do."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


class _Said(Struct, gc=False):
    """What a message may say at its top; the last two are Ollama's."""

    usage: _Counts | None = None
    timings: WireTimings | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None


class _Opening(Struct, gc=False):
    """The first event of Anthropic's streams."""

    message: _Said | None = None


_said = msgspec.json.Decoder(_Said).decode
_opening = msgspec.json.Decoder(_Opening).decode


def read(head: bytes, pieces: Iterable[bytes]) -> Usage | None:
    """The counts of a whole answer. `head` is its beginning, `pieces` are its last ones."""
    found = read_tail(b"".join([piece[-TAIL_BYTES:] for piece in pieces])[-TAIL_BYTES:])
    if found is not None and found.prompt_tokens is not None:
        return found
    begun = read_head(head)
    if found is None or begun is None:
        return found or begun
    return Usage(begun.prompt_tokens, found.completion_tokens, begun.cached_tokens, found.reasoning_tokens)


def read_tail(tail: bytes) -> Usage | None:
    """The counts that stand last in the end of an answer; `None` where there are none."""
    if tail[:1] == b"{" and tail.find(b"\n", 0, -1) < 0 and (found := _read(tail)) is not None:
        return found  # a whole answer that is short, the usual one
    end = len(tail)
    at = _last_word(tail, end)
    if at < 0:
        return None
    while at >= 0:
        start = tail.rfind(b"\n", 0, at) + 1
        found = _of_line(tail[start:end])
        if found is not None:
            return found
        end = max(start - 1, 0)
        at = _last_word(tail, end)
    return _of_end(tail)


def read_head(head: bytes) -> Usage | None:
    """The counts in the beginning of an answer: of its first event, or of a whole answer that has them in front."""
    if head[:1] == b"{":
        return _of_beginning(head) if b'"usage"' in head else None
    at = head.find(b'"message_start"')
    if at < 0:
        return None
    line = head[head.rfind(b"\n", 0, at) + 1 :].partition(b"\n")[0]
    try:
        opening = _opening(line.removeprefix(b"data:"))
    except UNREADABLE:
        return None
    begun = None if opening.message is None else _counted(opening.message)
    # How long the answer is nobody knows at its beginning, whatever number stands there.
    return begun and Usage(begun.prompt_tokens, None, begun.cached_tokens)


def _last_word(tail: bytes, end: int) -> int:
    return max([tail.rfind(word, 0, end) for word in _WORDS])


def _of_line(lines: bytes) -> Usage | None:
    """Of the first of these lines, where it is a whole message."""
    line = lines.partition(b"\n")[0]
    if line[:1] == b"{":
        return _read(line)
    return _read(line[5:]) if line[:5] == b"data:" else None


def _of_end(tail: bytes) -> Usage | None:
    """Of the message that ends here and may have begun before."""
    text = tail.rstrip()
    if text.endswith(b"[DONE]"):
        text = text[:-6].rstrip().removesuffix(b"data:").rstrip()
    members: dict[bytes, bytes] = {}
    depth, end, value = 0, len(text), b""
    for token in _BACKWARDS.finditer(text[::-1]):
        at, sign = len(text) - token.start(), token.group()
        if sign == b'"' or (depth == 0 and sign != b"}"):
            break
        if sign in (b"}", b"]"):
            depth += 1
            end = at - 1 if depth == 1 else end
        elif sign in (b"{", b"["):
            depth -= 1
            if depth == 0:
                break
        elif depth != 1:
            continue
        elif sign == b",":
            end, value = at - 1, b""
        elif sign == b":":
            value = text[at:end]
        elif value:
            key = sign[::-1]
            if key in _MEMBERS:
                members.setdefault(key, value)
    return _read(b"{" + b",".join([key + b":" + value for key, value in members.items()]) + b"}")


def _of_beginning(head: bytes) -> Usage | None:
    """Of the message that begins here and may end later: its `usage` alone, which the vectors follow."""
    depth, start, key = 0, -1, b""
    for token in _FORWARDS.finditer(head):
        sign = token.group()
        if sign == b'"':
            break
        if depth == 1 and start >= 0 and sign in (b",", b"}"):
            if key == b'"usage"':
                return _read(b'{"usage":' + head[start : token.start()] + b"}")
            start, key = -1, b""
        if sign in (b"{", b"["):
            depth += 1
        elif sign in (b"}", b"]"):
            depth -= 1
            if depth == 0:
                break
        elif depth != 1 or sign == b",":
            continue
        elif sign == b":":
            start = token.end()
        elif start < 0:
            key = sign
    return None


def _read(message: bytes) -> Usage | None:
    try:
        return _counted(_said(message))
    except UNREADABLE:
        return None


def _counted(said: _Said) -> Usage | None:
    if said.usage is None and _count(said.prompt_eval_count) is not None:  # Ollama's, the shortest way
        return Usage(said.prompt_eval_count, _count(said.eval_count))
    told, wire = usage_of(said.usage, said.timings), said.usage
    prompt, completion, cached = told.prompt_tokens, told.completion_tokens, told.cached_tokens
    if wire is not None and (wire.input_tokens is not None or wire.output_tokens is not None):
        if wire.input_tokens is not None:
            # Anthropic counts what its cache knew apart from the rest.
            prompt = wire.input_tokens + (wire.cache_read_input_tokens or 0) + (wire.cache_creation_input_tokens or 0)
            cached = wire.cache_read_input_tokens if cached is None else cached
        completion = wire.output_tokens if wire.output_tokens is not None else completion
    if said.prompt_eval_count is not None or said.eval_count is not None:
        prompt, completion = said.prompt_eval_count, said.eval_count
    found = Usage(_count(prompt), _count(completion), _count(cached), _count(told.reasoning_tokens))
    return None if found.prompt_tokens is None and found.completion_tokens is None else found


def _count(number: int | None) -> int | None:
    return number if number is not None and 0 <= number <= MAX_COUNT else None
