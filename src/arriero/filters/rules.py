"""An operator's rules over requests: defaults, clamps, forced values and stripped parameters, for models by glob.

The outcome is a set of changes by name, so that a request which is relayed as bytes can be edited in exactly those
places and one which is transcoded can be replaced value by value; both say the same.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from math import ceil, floor
from typing import TypeAlias

import msgspec
from msgspec import Struct

from arriero.canonical.requests import EmbedRequest, Request, Sampling

Knob: TypeAlias = int | float | str | bool | tuple[str, ...]
KNOBS = frozenset(Sampling.__struct_fields__)
"""The names that rules may use for sampling: the fields of `Sampling`."""

_WHOLE = frozenset({"max_tokens", "top_k", "seed", "repeat_last_n", "num_keep"})
_LATEST = ":latest"

# What a client's dialect calls a knob, where an operator may use that word to strip it.
_WORDS: Mapping[str | None, Mapping[str, str]] = {
    "openai": {"max_completion_tokens": "max_tokens", "repetition_penalty": "repeat_penalty"},
    "ollama": {"num_predict": "max_tokens"},
}

# Top-level fields of a dialect that have a place in the canonical request, and that place.
_FIELDS: Mapping[str | None, Mapping[str, str]] = {
    "openai": {
        "dimensions": "dimensions",
        "logprobs": "logprobs",
        "parallel_tool_calls": "parallel_tool_calls",
        "reasoning": "think",
        "reasoning_effort": "think",
        "response_format": "format",
        "stream_options": "include_usage",
        "tool_choice": "tool_choice",
        "tools": "tools",
        "top_logprobs": "top_logprobs",
    },
    "ollama": {
        "dimensions": "dimensions",
        "format": "format",
        "keep_alive": "keep_alive",
        "logprobs": "logprobs",
        "shift": "shift",
        "think": "think",
        "tools": "tools",
        "top_logprobs": "top_logprobs",
        "truncate": "truncate",
    },
}

# Fields that cannot go alone: the one says what the other is about.
_TOGETHER: Mapping[str, tuple[str, ...]] = {
    "logprobs": ("top_logprobs",),
    "reasoning": ("reasoning_effort",),
    "reasoning_effort": ("reasoning",),
    "tools": ("tool_choice",),
}


class Clamp(Struct, frozen=True):
    """Bounds of one knob, both inclusive; `None` is open."""

    min: float | None = None
    max: float | None = None


class Rule(Struct, frozen=True, kw_only=True):
    """What to change in requests for the models that match. No globs means every model.

    `defaults` fill what the client left out, `force` overwrites, `clamps` bound what is then there, `strip` removes
    (knobs of `Sampling`, and top-level fields of the client's dialect other than the content itself). `think_tags` says
    whether `<think>` tags at the start of an answer become thinking: `None` where they stand there, `True` even where
    the opening one is missing.
    """

    models: tuple[str, ...] = ()
    defaults: Mapping[str, Knob] = {}
    clamps: Mapping[str, Clamp] = {}
    force: Mapping[str, Knob] = {}
    strip: frozenset[str] = frozenset()
    think_tags: bool | None = None

    def covers(self, *models: str) -> bool:
        """Whether the rule is for one of these names of the model, with or without `:latest`."""
        return not self.models or any(
            fnmatchcase(spelling, glob.casefold())
            for model in models
            for spelling in _spellings(model.casefold())
            for glob in self.models
        )


class Changes(Struct, frozen=True):
    """What the rules change in one request: knobs to set and names to remove. Empty changes leave the bytes alone."""

    put: Mapping[str, Knob] = {}
    drop: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.put or self.drop)


NO_CHANGES = Changes()


def changes(rules: Sequence[Rule], model: str, request: Request) -> Changes:
    """What the rules for the backend's `model`, or for the client's name of it, change in `request`.

    Later rules see what earlier ones did.
    """
    words, fields = _WORDS.get(request.dialect, {}), _FIELDS.get(request.dialect, {})
    before = _knobs(request)
    after: dict[str, Knob] = dict(before)
    dropped: set[str] = set()
    for rule in rules:
        if not rule.covers(model, request.model):
            continue
        for name in (words.get(word, word) for word in rule.strip):
            if name in KNOBS:
                after.pop(name, None)
                dropped.add(name)
            elif name in fields or name in request.extra:
                dropped.update((name, *_TOGETHER.get(name, ())))
        if isinstance(request, EmbedRequest):
            continue
        after = {**rule.defaults, **after, **rule.force}
        for name, clamp in rule.clamps.items():
            value = after.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                after[name] = _clamped(name, value, clamp)
    put = {name: value for name, value in after.items() if before.get(name) != value}
    if not put and not dropped:
        return NO_CHANGES
    return Changes(put, frozenset(dropped - after.keys()))


def apply(request: Request, made: Changes) -> Request:
    """The request with the changes in it."""
    if not made:
        return request
    fields, usual = _FIELDS.get(request.dialect, {}), _defaults(request)
    places = {fields[name] for name in made.drop if name in fields}
    values: dict[str, object] = {place: usual[place] for place in places if place in usual}
    values["extra"] = {name: value for name, value in request.extra.items() if name not in made.drop}
    if not isinstance(request, EmbedRequest):
        knobs: dict[str, object] = {name: value for name, value in made.put.items() if name in KNOBS}
        knobs.update(dict.fromkeys(made.drop & KNOBS))
        values["sampling"] = msgspec.structs.replace(request.sampling, **knobs)
    return msgspec.structs.replace(request, **values)


def _spellings(model: str) -> tuple[str, ...]:
    if ":" in model.rsplit("/", 1)[-1]:
        return (model, model.removesuffix(_LATEST))
    return (model, model + _LATEST)


def _knobs(request: Request) -> dict[str, Knob]:
    if isinstance(request, EmbedRequest):
        return {}
    return {name: value for name in KNOBS if (value := getattr(request.sampling, name)) is not None}


def _defaults(request: Request) -> dict[str, object]:
    return {field.name: field.default for field in msgspec.structs.fields(request)}


def _clamped(name: str, value: int | float, clamp: Clamp) -> int | float:
    # A bound between two whole numbers is the whole number inside of it.
    whole = name in _WHOLE
    if clamp.min is not None and value < clamp.min:
        return ceil(clamp.min) if whole else clamp.min
    if clamp.max is not None and value > clamp.max:
        return floor(clamp.max) if whole else clamp.max
    return value
