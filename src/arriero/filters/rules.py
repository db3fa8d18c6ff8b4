"""An operator's rules over requests: defaults, clamps, forced values and stripped parameters, for models by glob.

The outcome is a set of changes by name, so that a request which is relayed as bytes can be edited in exactly those
places and one which is transcoded can be replaced value by value; both say the same.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TypeAlias

import msgspec
from msgspec import Raw, Struct

from arriero.canonical.requests import ChatRequest, CompletionRequest, EmbedRequest, Request, Sampling

Knob: TypeAlias = int | float | str | bool | tuple[str, ...]
KNOBS = frozenset(Sampling.__struct_fields__)
"""The names that rules may use for sampling: the fields of `Sampling`."""


class Clamp(Struct, frozen=True):
    """Bounds of one knob, both inclusive; `None` is open."""

    min: float | None = None
    max: float | None = None


class Rule(Struct, frozen=True, kw_only=True):
    """What to change in requests for the models that match. No globs means every model.

    `defaults` fill what the client left out, `force` overwrites, `clamps` bound what is then there, `strip` removes
    (knobs of `Sampling`, or top-level fields of the client's dialect). `think_tags` says whether `<think>` tags at the
    start of an answer become thinking: `None` where they stand there, `True` even where the opening one is missing.
    """

    models: tuple[str, ...] = ()
    defaults: Mapping[str, Knob] = {}
    clamps: Mapping[str, Clamp] = {}
    force: Mapping[str, Knob] = {}
    strip: frozenset[str] = frozenset()
    think_tags: bool | None = None

    def covers(self, model: str) -> bool:
        """Whether the rule is for this model id."""
        folded = model.casefold()
        return not self.models or any(fnmatchcase(folded, glob.casefold()) for glob in self.models)


class Changes(Struct, frozen=True):
    """What the rules change in one request: knobs to set and names to remove. Empty changes leave the bytes alone."""

    put: Mapping[str, Knob] = {}
    drop: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.put or self.drop)


NO_CHANGES = Changes()


def changes(rules: Sequence[Rule], model: str, request: Request) -> Changes:
    """What the rules that cover `model` change in `request`; later rules see what earlier ones did."""
    if isinstance(request, EmbedRequest):
        return NO_CHANGES
    before = {name: value for name in KNOBS if (value := getattr(request.sampling, name)) is not None}
    after: dict[str, Knob] = dict(before)
    dropped: set[str] = set()
    for rule in rules:
        if not rule.covers(model):
            continue
        for name in rule.strip:
            after.pop(name, None)
            if name in before or name in request.extra:
                dropped.add(name)
        after = {**rule.defaults, **after, **rule.force}
        for name, clamp in rule.clamps.items():
            value = after.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                after[name] = _clamped(value, clamp)
    put = {name: value for name, value in after.items() if before.get(name) != value}
    if not put and not dropped:
        return NO_CHANGES
    return Changes(put, frozenset(dropped - after.keys()))


def apply(request: Request, made: Changes) -> Request:
    """The request with the changes in it."""
    if not made or isinstance(request, EmbedRequest):
        return request
    values: dict[str, object] = {name: value for name, value in made.put.items() if name in KNOBS}
    values.update(dict.fromkeys(made.drop & KNOBS))
    sampling = msgspec.structs.replace(request.sampling, **values)
    extra: dict[str, Raw] = {name: value for name, value in request.extra.items() if name not in made.drop}
    match request:
        case ChatRequest():
            return msgspec.structs.replace(request, sampling=sampling, extra=extra)
        case CompletionRequest():
            return msgspec.structs.replace(request, sampling=sampling, extra=extra)


def _clamped(value: int | float, clamp: Clamp) -> int | float:
    whole = isinstance(value, int)
    if clamp.min is not None and value < clamp.min:
        return int(clamp.min) if whole else clamp.min
    if clamp.max is not None and value > clamp.max:
        return int(clamp.max) if whole else clamp.max
    return value
