"""Conversations as the values of a template."""

import pytest
from msgspec import Raw

from arriero.canonical.requests import Audio, Image, Message, Text, Thinking, Tool, ToolCall
from arriero.dialects.ollama.gotemplate.conversation import (
    Turn,
    chat_values,
    legacy,
    legacy_values,
    message_record,
    thinking_values,
    tool_record,
    turns,
    until_response,
)
from arriero.dialects.ollama.gotemplate.parse import parse
from arriero.dialects.ollama.gotemplate.render import render
from arriero.dialects.ollama.gotemplate.values import Names, to_json
from arriero.errors import BadRequest, UnsupportedContent
from support.prompts import said

UNSET = thinking_values(None)


def test_neighbours_of_one_role_are_one_message() -> None:
    messages = (
        said("system", "a"),
        said("user", "b"),
        said("user", "c"),
        said("assistant", Thinking("t"), ToolCall("f", "{}")),
        said("assistant", "d"),
        said("tool", "e", tool="f"),
        said("tool", "g", tool="h"),
        said("system", "i"),
    )
    assert turns(messages) == (
        "a\n\ni",
        [
            Turn("system", "a"),
            Turn("user", "b\n\nc"),
            Turn("assistant", "\n\nd", "t", (ToolCall("f", "{}"),)),
            Turn("tool", "e", tool_name="f", tool_call_id="call_1"),
            Turn("tool", "g", tool_name="h", tool_call_id="call_1"),
            Turn("system", "i"),
        ],
    )


def test_images_are_marks_with_a_number() -> None:
    picture = Image(data="AA==")
    messages = (Message("user", (Text("a"), picture, picture)), Message("user", (picture, Text("b"))))
    assert turns(messages)[1] == [Turn("user", "[img-0][img-1]a\n\n[img-2]b")]


def test_a_sound_has_no_place() -> None:
    with pytest.raises(UnsupportedContent) as caught:
        turns((Message("user", (Audio("AA==", "wav"),)),))
    assert caught.value.message == "a prompt template has no place for a part of type audio"


def test_a_message_in_gos_names() -> None:
    record = message_record(Turn("assistant", "hi", "hm", (ToolCall("f", '{"b":1,"a":[2.5]}', "7"),), "n", "c"))
    assert (record.fields["Role"], record.fields["Content"], record.fields["Thinking"]) == ("assistant", "hi", "hm")
    assert (record.fields["ToolName"], record.fields["ToolCallID"], record.fields["Images"]) == ("n", "c", ())
    assert to_json(record) == (
        '{"role":"assistant","content":"hi","thinking":"hm","tool_calls":[{"function":{"name":"f",'
        '"arguments":{"b":1,"a":[2.5]}}}],"tool_name":"n","tool_call_id":"c"}'
    )
    tree = parse("{{ range .ToolCalls }}{{ .ID }} {{ .Function.Index }} {{ .Function.Name }} {{ .Function }}{{ end }}")
    assert render(tree, tree.root, record.fields, "") == '7 0 f {"name":"f","arguments":{"b":1,"a":[2.5]}}'


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("[1]", "the arguments of the call of f: expected an object"),
        ("{", "the arguments of the call of f: Input data was truncated"),
    ],
)
def test_arguments_that_are_no_object(arguments: str, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        message_record(Turn("assistant", calls=(ToolCall("f", arguments),)))
    assert caught.value.message == message


def test_a_call_without_arguments_has_none() -> None:
    assert to_json(message_record(Turn("assistant", calls=(ToolCall("f", ""),)))).endswith('"arguments":{}}}]}')


def test_a_tool_in_gos_names() -> None:
    raw = (
        b'{"function":{"strict":true,"parameters":{"type":"object","$defs":{"d":1},"required":["p"],"properties":'
        b'{"p":{"type":["string","null"],"enum":["x"],"description":"P"},"a":{"anyOf":[{"type":"integer"}]}}},'
        b'"name":"f"},"type":"function"}'
    )
    record = tool_record(Tool("f", Raw(raw)))
    # Of the tool as sent, only what Ollama and llama.cpp know, in their order.
    parameters = raw[raw.index(b'{"type":"object"') : raw.index(b',"name"')].decode()
    assert to_json(record) == (
        f'{{"type":"function","function":{{"name":"f","description":"","parameters":{parameters}}}}}'
    )
    tree = parse(
        "{{ .Type }} {{ .Function.Name }} {{ with .Function.Parameters }}{{ .Type }} {{ .Required }} {{ json .Defs }} "
        "{{ range $n, $p := .Properties }}{{ $n }}:{{ .Type }}:{{ .Description }}:{{ .Enum }}:{{ json $p }};"
        "{{ end }}{{ end }}"
    )
    assert render(tree, tree.root, record.fields, "") == (
        'function f object [p] {"d":1} a:[]::[]:{"anyOf":[{"type":"integer"}]};'
        'p:[string null]:P:[x]:{"type":["string","null"],"enum":["x"],"description":"P"};'
    )
    (kind,) = (record.fields["Function"].fields["Parameters"].fields["Properties"]["p"].fields["Type"],)  # type: ignore[attr-defined]
    assert kind == Names(("string", "null"))


def test_a_tool_of_which_nothing_is_right() -> None:
    raw = b'{"function":{"name":1,"parameters":{"properties":{"p":1},"required":"p"}}}'
    assert to_json(tool_record(Tool("f", Raw(raw)))) == (
        '{"type":"function","function":{"name":"f","description":"","parameters":{"properties":{"p":1},"required":"p"}}}'
    )


@pytest.mark.parametrize(
    ("think", "values"),
    [
        (None, {"Think": False, "ThinkLevel": "", "IsThinkSet": False}),
        (False, {"Think": False, "ThinkLevel": "", "IsThinkSet": True}),
        (True, {"Think": True, "ThinkLevel": "medium", "IsThinkSet": True}),
        ("low", {"Think": True, "ThinkLevel": "low", "IsThinkSet": True}),
    ],
)
def test_thinking(think: bool | str | None, values: dict[str, object]) -> None:
    assert thinking_values(think) == values


def test_the_values_of_a_chat() -> None:
    values = chat_values((said("system", "s"), said("user", "u")), (), None)
    assert {name: value for name, value in values.items() if name != "Messages"} == {
        "System": "s",
        "Tools": (),
        "Response": "",
        **UNSET,
    }


def test_turns_of_the_old_kind() -> None:
    messages = [
        said("user", "a"),
        said("assistant", "b"),
        said("system", "c"),
        said("user", "d"),
        said("tool", "x"),
        said("assistant", "e"),
        said("user", "f"),
    ]
    assert legacy_values(messages, None) == [
        {"System": "", "Prompt": "a", "Response": "b", **UNSET},
        {"System": "c", "Prompt": "d", "Response": "e", **UNSET},
        {"System": "", "Prompt": "f", "Response": "", **UNSET},
    ]


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("{{ .Prompt }}|{{ .Response }}|end", "p|r"),
        ("{{ .Prompt }}{{ if .Response }}<{{ .Response }}>{{ end }}!", "p<r"),
        ("{{ if .Nothing }}{{ .Response }}{{ else }}[{{ .Response }}]{{ end }}!", "[r"),
        ("{{ with .Prompt }}{{ . }}{{ end }}{{ print (.Response | print) 1 }}!", "pr1"),
        ("{{ range 2 }}{{ $.Prompt }}{{ end }}{{ .Response }}", "ppr"),
        ("no response", "no response"),
    ],
)
def test_the_last_turn_ends_with_the_response(text: str, last: str) -> None:
    tree = parse(text)
    cut = until_response(tree.root)
    assert render(tree, cut, {"Prompt": "p", "Response": "r"}, "") == last


def test_every_round_but_the_last_is_whole() -> None:
    tree = parse("{{ .Prompt }}>{{ .Response }}.")
    rounds = [{"Prompt": "a", "Response": "b"}, {"Prompt": "c", "Response": ""}]
    assert legacy(tree.root, rounds, lambda root, values: render(tree, root, values, "")) == "a>b.c>"
