"""What is wrong with a configuration, in sentences that never repeat a value: any value may be a secret."""

from collections.abc import Callable, Iterable, Mapping
from difflib import SequenceMatcher
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from arriero.config.schema import Config
from arriero.errors import ArrieroError

Location = tuple[str | int, ...]
"""Where a value stands: keys and list positions from the top."""


class ConfigError(ArrieroError):
    """The configuration cannot be used. `problems` holds one sentence each; the text has one a line."""

    type = "configuration_error"

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


_SAY = {
    "missing": "is missing",
    "int_parsing": "is not a whole number",
    "int_type": "is not a whole number",
    "int_from_float": "is not a whole number",
    "float_parsing": "is not a number",
    "float_type": "is not a number",
    "finite_number": "is not a finite number",
    "bool_parsing": "is not true or false",
    "bool_type": "is not true or false",
    "string_type": "is not a text; a number needs quotes here",
    "path_type": "is not a path",
    "tuple_type": "is not a list",
    "list_type": "is not a list",
    "dict_type": "is not a mapping of keys to values",
    "model_type": "is not a mapping of keys to values",
    "model_attributes_type": "is not a mapping of keys to values",
    "union_tag_not_found": "has no kind; it is one of ollama, openai, engine, scripted",
}
_COMPARE = {
    "greater_than": ("must be greater than", "gt"),
    "greater_than_equal": ("must be at least", "ge"),
    "less_than": ("must be less than", "lt"),
    "less_than_equal": ("must be at most", "le"),
}
_LATER_KINDS = frozenset({"anthropic"})


def explain(
    error: ValidationError, place: Callable[[Location], str], faulty: frozenset[Location] = frozenset()
) -> list[str]:
    """One sentence for each error; `place` says how a location is named to the user (`arriero.yaml:3: server.port`).

    What is said of `faulty` locations is left out: their problem is known already.
    """
    sentences = []
    for detail in error.errors(include_url=False):
        location = without_tag(detail["loc"])
        if location in faulty:
            continue
        if detail["type"] == "extra_forbidden" or location[-1:] == ("[key]",):
            known = keys_at(detail["loc"][:-1])
            if location[-1] == "[key]":
                location = location[:-1]
                known = (
                    str(detail.get("ctx", {}).get("expected", "")).replace("'", "").replace(" or ", ", ").split(", ")
                )
            near = nearest(str(location[-1]), known)
            text = f"{place(location)}: unknown key"
            sentences.append(f"{text}; the nearest known one is {near!r}" if near else text)
        else:
            where = place(location) if location else ""
            sentences.append(": ".join(filter(None, (where, _sentence(detail)))))
    return list(dict.fromkeys(sentences))


def _sentence(detail: ErrorDetails) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in _SAY:
        return _SAY[kind]
    if kind in _COMPARE:
        words, key = _COMPARE[kind]
        limit = context[key]
        return f"{words} {int(limit) if isinstance(limit, float) and limit.is_integer() else limit}"
    if kind in ("literal_error", "enum"):
        expected = str(context["expected"]).replace("'", "").replace(" or ", ", ")
        return f"is not one of {expected}" + _suggestion(detail.get("input"), expected.split(", "))
    if kind == "union_tag_invalid":
        expected = str(context["expected_tags"]).replace("'", "")
        if context.get("tag") in _LATER_KINDS:
            return f"kind anthropic is not available in this version of arriero; the kinds are {expected}"
        return f"kind is not one of {expected}" + _suggestion(context.get("tag"), expected.split(", "))
    if kind == "value_error":
        return str(context["error"])
    return detail["msg"][:1].lower() + detail["msg"][1:]


def _suggestion(given: object, known: Iterable[str]) -> str:
    near = nearest(given, known, at_least=0.6) if isinstance(given, str) else None
    return f"; did you mean {near}?" if near else ""


def nearest(given: str, known: Iterable[str], at_least: float = 0.0) -> str | None:
    """The known word most like the given one, if any is like it to the degree (0 to 1) asked for."""
    scored = [(SequenceMatcher(None, given.lower(), word.lower()).ratio(), word) for word in known]
    best = max(scored, key=lambda pair: pair[0], default=None)
    return best[1] if best and best[0] >= at_least else None


def without_tag(location: Location) -> Location:
    """pydantic puts a backend's kind into the location, behind its position; people do not write it there."""
    if len(location) > 2 and location[0] == "backends":
        return (*location[:2], *location[3:])
    return location


def dotted(location: Location) -> str:
    """`backends[2].url`."""
    text = ""
    for item in location:
        text += f"[{item}]" if isinstance(item, int) else f".{item}" if text else item
    return text


def keys_at(location: Location) -> list[str]:
    """The keys that are known at a location (with pydantic's tag of the kind), in order; empty where any key goes."""
    annotation: Any = Config
    for item in location:
        annotation = _step(annotation, item)
    model = _bare(annotation)
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _bare(annotation: Any) -> Any:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation


def _step(annotation: Any, item: str | int) -> Any:
    bare = _bare(annotation)
    if isinstance(bare, type) and issubclass(bare, BaseModel):
        field = bare.model_fields.get(str(item))
        return field.annotation if field else None
    arguments = get_args(bare)
    if get_origin(bare) is tuple:
        return arguments[0]
    if get_origin(bare) in (dict, Mapping):
        return arguments[1]
    if get_origin(bare) is Union or type(bare).__name__ == "UnionType":
        for option in arguments:
            kind = option.model_fields.get("kind") if hasattr(option, "model_fields") else None
            if kind is not None and kind.default == item:
                return option
        return next((option for option in arguments if option is not type(None)), None)
    return None
