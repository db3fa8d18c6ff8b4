"""A conversation as the values of a template, in Go's names; and how a template of either kind runs through it.

A template that mentions `.Messages` is executed once. One that does not is of the old kind: it is executed for every
turn of a system text, a prompt and a response, the last time only up to its `.Response`, where the model goes on.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from arriero.canonical.requests import Image, Message, Text, Think, Thinking, Tool, ToolCall
from arriero.dialects.ollama.gotemplate.nodes import Action, Block, Call, Field, If, Node, Pipe, Range, With, operands
from arriero.dialects.ollama.gotemplate.values import JsonList, JsonMap, Names, Record
from arriero.errors import BadRequest, UnsupportedContent


class Turn(Struct, frozen=True):
    """A message on its way into a template."""

    role: str
    content: str = ""
    thinking: str = ""
    calls: tuple[ToolCall, ...] = ()
    tool_name: str = ""
    tool_call_id: str = ""


# ---- messages ------------------------------------------------------------------------------------------------------


def turns(messages: Sequence[Message]) -> tuple[str, list[Turn]]:
    """The system texts, joined, and the messages, of which neighbours of one role are made one as Ollama does it:
    contents are joined by a blank line, and the first one's calls and thinking stay. Answers of tools are never joined.

    An image is `[img-N]` before its message's text, counted from 0. Raises `UnsupportedContent`.
    """
    system: list[str] = []
    collated: list[Turn] = []
    images = 0
    for message in messages:
        turn, images = _turn(message, images)
        if turn.role == "system":
            system.append(turn.content)
        if collated and collated[-1].role == turn.role and turn.role != "tool":
            last = collated[-1]
            collated[-1] = msgspec.structs.replace(last, content=f"{last.content}\n\n{turn.content}")
        else:
            collated.append(turn)
    return "\n\n".join(system), collated


def _turn(message: Message, images: int) -> tuple[Turn, int]:
    marks, text, thinking = "", "", ""
    calls: list[ToolCall] = []
    for part in message.parts:
        match part:
            case Text():
                text += part.text
            case Thinking():
                thinking += part.text
            case ToolCall():
                calls.append(part)
            case Image():
                marks += f"[img-{images}]"
                images += 1
            case _:
                raise UnsupportedContent(f"a prompt template has no place for a part of type {_kind(part)}")
    turn = Turn(
        message.role,
        marks + text,
        thinking,
        tuple(calls),
        message.tool_name or message.name or "",
        message.tool_call_id or "",
    )
    return turn, images


def _kind(part: Any) -> str:
    return str(getattr(part, "kind", None) or part.__struct_config__.tag)


def message_record(turn: Turn) -> Record:
    """A message with the fields `.Role`, `.Content`, `.Thinking`, `.ToolCalls`, `.ToolName`, `.ToolCallID`."""
    calls = tuple(_call_record(number, call) for number, call in enumerate(turn.calls))
    value: dict[str, object] = {"role": turn.role, "content": turn.content}
    if turn.thinking:
        value["thinking"] = turn.thinking
    if calls:
        value["tool_calls"] = [call.value for call in calls]
    if turn.tool_name:
        value["tool_name"] = turn.tool_name
    if turn.tool_call_id:
        value["tool_call_id"] = turn.tool_call_id
    fields = {
        "Role": turn.role,
        "Content": turn.content,
        "Thinking": turn.thinking,
        "Images": (),
        "ToolCalls": calls,
        "ToolName": turn.tool_name,
        "ToolCallID": turn.tool_call_id,
    }
    return Record("api.Message", fields, value)


def _call_record(number: int, call: ToolCall) -> Record:
    arguments = JsonMap(_object(call.arguments, f"the arguments of the call of {call.name}"))
    value = {"name": call.name, "arguments": dict(arguments)}
    function = Record(
        "api.ToolCallFunction", {"Index": number, "Name": call.name, "Arguments": arguments}, value, prints=True
    )
    return Record("api.ToolCall", {"ID": call.id or "", "Function": function}, {"function": value}, prints=True)


# ---- tools ---------------------------------------------------------------------------------------------------------


def tool_record(tool: Tool) -> Record:
    """A tool with the fields `.Type` and `.Function` (`.Name`, `.Description`, `.Parameters`). Prints as JSON, of
    which only these are part, since that is what Ollama and llama.cpp let a template see.
    """
    whole = _object(bytes(tool.raw), f"the tool {tool.name}")
    function = _mapping(whole.get("function"))
    parameters = _mapping(function.get("parameters"))
    description = _text(function.get("description"))
    value = {"name": _text(function.get("name")) or tool.name, "description": description, "parameters": parameters}
    inner = Record(
        "api.ToolFunction",
        {"Name": value["name"], "Description": description, "Parameters": _parameters(parameters)},
        value,
        prints=True,
    )
    kind = _text(whole.get("type")) or "function"
    return Record(
        "api.Tool", {"Type": kind, "Items": None, "Function": inner}, {"type": kind, "function": value}, prints=True
    )


def _parameters(schema: dict[str, object]) -> Record:
    fields = {
        "Type": _text(schema.get("type")),
        "Defs": schema.get("$defs"),
        "Items": schema.get("items"),
        "Required": _names(schema.get("required")),
        "Properties": _properties(schema),
    }
    return Record("api.ToolFunctionParameters", fields, schema, prints=True)


def _properties(schema: dict[str, object]) -> JsonMap:
    given = _mapping(schema.get("properties"))
    found = JsonMap((name, _property(value)) for name, value in given.items() if isinstance(value, dict))
    found.value = given
    return found


def _property(schema: dict[str, object]) -> Record:
    kinds = schema.get("type")
    options = schema.get("anyOf")
    fields = {
        "AnyOf": tuple(_property(item) for item in options if isinstance(item, dict))
        if isinstance(options, list)
        else (),
        "Type": Names((kinds,) if isinstance(kinds, str) else _names(kinds)),
        "Items": schema.get("items"),
        "Description": _text(schema.get("description")),
        "Enum": schema.get("enum") or (),
        "Properties": _properties(schema),
        "Required": _names(schema.get("required")),
    }
    return Record("api.ToolProperty", fields, schema)


def _object(text: str | bytes, what: str) -> dict[str, object]:
    try:
        value = msgspec.json.decode(text) if text else {}
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequest(f"{what}: {error}") from error
    if not isinstance(value, dict):
        raise BadRequest(f"{what}: expected an object")
    return value


def _mapping(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _names(value: object) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


# ---- a whole conversation ------------------------------------------------------------------------------------------


def thinking_values(think: Think | None) -> dict[str, object]:
    """`.Think`, `.ThinkLevel` and `.IsThinkSet`."""
    level = think if isinstance(think, str) else "medium" if think else ""
    return {"Think": bool(think), "ThinkLevel": level, "IsThinkSet": think is not None}


def chat_values(messages: Sequence[Message], tools: Sequence[Tool], think: Think | None) -> dict[str, object]:
    """The values of a template with `.Messages`."""
    system, collated = turns(messages)
    return {
        "System": system,
        "Messages": tuple(map(message_record, collated)),
        "Tools": JsonList(map(tool_record, tools)),
        "Response": "",
        **thinking_values(think),
    }


def legacy_values(messages: Sequence[Message], think: Think | None) -> list[dict[str, object]]:
    """The values of each execution of a template without `.Messages`; the last one is the turn to answer."""
    rounds: list[dict[str, object]] = []
    now = {"System": "", "Prompt": "", "Response": ""}

    def flush() -> None:
        rounds.append({**now, **thinking_values(think)})
        now.update(System="", Prompt="", Response="")

    for turn in turns(messages)[1]:
        match turn.role:
            case "system":
                if now["Prompt"] or now["Response"]:
                    flush()
                now["System"] = turn.content
            case "user":
                if now["Response"]:
                    flush()
                now["Prompt"] = turn.content
            case "assistant":
                now["Response"] = turn.content
    flush()
    return rounds


# ---- the last turn of the old kind ---------------------------------------------------------------------------------


def until_response(block: Block) -> Block:
    """The template up to its first `.Response`, that included."""
    return _cut(block)[0]


def _cut(block: Block) -> tuple[Block, bool]:
    kept: list[Node] = []
    for node in block:
        match node:
            case If() | With() | Range():
                body, one = _cut(node.body)
                otherwise, other = _cut(node.otherwise)
                kept.append(msgspec.structs.replace(node, body=body, otherwise=otherwise))
                if one or other:
                    return tuple(kept), True
            case Action(pipe=pipe) | Call(pipe=Pipe() as pipe):
                kept.append(node)
                if any(isinstance(word, Field) and "Response" in word.names for word in operands(pipe)):
                    return tuple(kept), True
            case _:
                kept.append(node)
    return tuple(kept), False


Execute = Callable[[Block, Mapping[str, object]], str]


def legacy(root: Block, rounds: Sequence[Mapping[str, object]], execute: Execute) -> str:
    """Every round through the whole template, the last through the cut one."""
    *done, last = rounds
    return "".join([*(execute(root, values) for values in done), execute(until_response(root), last)])
